"""The file of predictions is whole or continued, and never of two settings."""

import json

import pytest
from refusals import refused

from medcls.data.reading.decoded import UnreadableImage
from medcls.inference.model import Prediction
from medcls.inference.stream import Row
from medcls.workflow import prediction_files
from medcls.workflow.prediction_files import PredictionFile, check_format, row_format

CLASSES = ("a", "=b")
FORM = row_format("csv", CLASSES, "abc", ())


def row(path: str, **changed) -> Row:
    given = {"decision": "a", "prediction_set": ("a", "=b"), "out_of_distribution": True, "ood": -1.5}
    return Row(path, Prediction(1, "=b", {"a": 0.25, "=b": 0.75}, **(given | changed), logits=(0.0, 1.0)))


BAD = Row("bad.png", None, UnreadableImage("garbage", kind="not_an_image"))


@pytest.fixture(autouse=True)
def each_chunk_at_once(monkeypatch):
    monkeypatch.setattr(prediction_files, "CHUNK_S", -1.0)


def test_a_table_has_a_line_for_each_row():
    lines = [FORM.header, FORM.line(row("x.png")), FORM.line(BAD)]
    none = FORM.line(row("y.png", decision=None, prediction_set=None, out_of_distribution=None))
    empty = FORM.line(row("y.png", prediction_set=(), out_of_distribution=False))
    assert [*lines, none, empty] == [
        "path,predicted,prob_a,prob_=b,decision,prediction_set,out_of_distribution,ood,seen_in,error,error_kind,"
        "checkpoint\n",
        'x.png,\'=b,0.25,0.75,a,"[""a"", ""=b""]",true,-1.5,,,,abc\n',
        "bad.png,,,,,,,,,garbage,not_an_image,abc\n",
        "y.png,'=b,0.25,0.75,,,,-1.5,,,,abc\n",
        "y.png,'=b,0.25,0.75,a,[],false,-1.5,,,,abc\n",
    ]


def test_watermarks_stand_in_each_row():
    form = row_format("csv", CLASSES, "abc", ("SYNTHETIC",))
    assert form.header.endswith(",stamp,checkpoint\n") and form.line(BAD).endswith(",SYNTHETIC,abc\n")
    line = json.loads(row_format("jsonl", CLASSES, "abc", ("SYNTHETIC",)).line(row("x.png")))
    assert line["stamp"] == "SYNTHETIC" and line["probabilities"] == {"a": 0.25, "=b": 0.75}


def test_names_that_are_no_text_can_be_written(tmp_path):
    with PredictionFile(tmp_path / "out.csv", {}, FORM) as file:
        file.append([row("a\udcff,\n.png")])
        file.finish()
    assert b'"a\\udcff,\n.png"' in (tmp_path / "out.csv").read_bytes()


def stop(path, rows) -> KeyboardInterrupt:
    """Stop a command with views=1 after these rows."""

    def command() -> None:
        with PredictionFile(path, {"views": 1}, FORM) as file:
            file.append(rows)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as raised:
        command()
    return raised.value


def test_it_is_continued_where_it_stopped(tmp_path):
    out = tmp_path / "out.csv"
    stop(out, [row("1.png"), BAD])
    with PredictionFile(out, {"views": 1}, FORM) as file:
        assert file.done == 2 and file.counts == {"unreadable": 1, "predicted =b": 1, "decided a": 1, "flagged": 1}
        file.append([row("2.png")])
        file.finish()
    assert out.read_text(encoding="utf-8") == FORM.header + "".join(map(FORM.line, [row("1.png"), BAD, row("2.png")]))
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
    with refused("output_exists"):
        PredictionFile(out, {"views": 1}, FORM)


@pytest.mark.parametrize("cut", [0, 1, 20])
def test_what_a_killed_process_wrote_after_its_last_record_is_written_again(tmp_path, cut):
    out = tmp_path / "out.csv"
    stop(out, [row("1.png")])
    with (tmp_path / "out.csv.part").open("ab") as part:
        part.write(FORM.line(row("2.png")).encode()[:cut])
    with PredictionFile(out, {"views": 1}, FORM) as file:
        file.append([row("3.png")])
        file.finish()
    assert out.read_text(encoding="utf-8") == FORM.header + FORM.line(row("1.png")) + FORM.line(row("3.png"))


def test_a_file_of_other_settings_is_not_continued(tmp_path):
    out = tmp_path / "out.csv"
    stop(out, [row("1.png")])
    before = (tmp_path / "out.csv.part").read_bytes()
    with refused("other_settings", "views"):
        PredictionFile(out, {"views": 3}, FORM)
    assert (tmp_path / "out.csv.part").read_bytes() == before


@pytest.mark.parametrize("damage", ["{", "[]", '{"settings": {}, "done": "x", "bytes": 1, "counts": {}}'])
def test_a_damaged_record_is_refused(tmp_path, damage):
    out = tmp_path / "out.csv"
    stop(out, [row("1.png")])
    (tmp_path / "out.csv.part.json").write_text(damage)
    with refused("damaged_file"):
        PredictionFile(out, {"views": 1}, FORM)


def test_a_file_that_lost_its_end_is_refused(tmp_path):
    out = tmp_path / "out.csv"
    stop(out, [row("1.png")])
    with (tmp_path / "out.csv.part").open("r+b") as part:
        part.truncate(10)
    with refused("damaged_file"):
        PredictionFile(out, {"views": 1}, FORM)


def test_two_commands_do_not_write_one_file(tmp_path):
    with PredictionFile(tmp_path / "out.csv", {}, FORM) as file, refused("run_in_progress"):
        PredictionFile(tmp_path / "out.csv", {}, FORM)
    assert file.done == 0


def test_one_that_never_had_a_row_leaves_nothing(tmp_path):
    stop(tmp_path / "new" / "out.csv", [])
    assert not list((tmp_path / "new").iterdir())


def test_the_note_of_an_error_says_what_is_there(tmp_path):
    error = stop(tmp_path / "out.csv", [row("1.png")])
    assert any("out.csv.part" in note for note in error.__notes__)


def test_another_format_is_refused():
    with refused("bad_value"):
        check_format("parquet")
