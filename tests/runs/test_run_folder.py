"""The folder of a command: claimed, refused, written atomically, and removed if nothing was begun."""

import errno
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from refusals import refused

from medcls.errors import MedclsError
from medcls.runs.run_folder import LogFile, RunFolder, read_json, without_nan


@pytest.mark.parametrize("name", ["report.html", "metrics.json", "evaluate.log", "audit.html", "predictions"])
def test_only_what_a_training_left_is_written_over(tmp_path, name):
    folder = RunFolder(tmp_path)
    for made in ("config.yaml", "figures", "manifest.csv"):
        (tmp_path / made).mkdir()
    folder.refuse_if_taken(by_training=True)
    with refused("folder_taken", str(tmp_path), "hydra.run.dir"):
        folder.refuse_if_taken()
    (tmp_path / name).mkdir()
    with refused("folder_taken", str(tmp_path), "hydra.run.dir"):
        folder.refuse_if_taken(by_training=True)
    folder.close()


def test_unfinished_files_are_removed_only_from_a_locked_folder(tmp_path):
    (tmp_path / ".config.12.yaml").touch()
    folder = RunFolder(tmp_path)
    folder.begin()
    assert (tmp_path / ".config.12.yaml").exists()
    folder.claim()
    folder.remove_unfinished()
    folder.close()
    assert {path.name for path in tmp_path.iterdir()} == {"train.log"}


@pytest.mark.wording
@pytest.mark.parametrize(
    ("error", "how"),
    [(KeyError("mean"), "Continue with:"), (MedclsError("No."), "After correcting this, continue with:")],
)
def test_a_mistake_of_the_users_is_to_be_mended_before_the_same_command_goes_on(tmp_path, error, how):
    folder = RunFolder(tmp_path / "run")
    folder.begin()
    folder.write_text("metrics.json", "{}")
    assert f" {how}\n  python again" in folder.what_is_there("python again", error)
    folder.close()


@pytest.fixture
def begun(tmp_path) -> Iterator[RunFolder]:
    """A folder into which a command writes."""
    folder = RunFolder(tmp_path / "run")
    folder.begin()
    yield folder
    folder.close()


def test_the_folder_of_a_run_that_did_not_begin_is_removed_with_its_empty_parent(tmp_path):
    for parent, others, left in (("runs", (), False), ("runs", ("other",), True), ("mine", (), True)):
        path = tmp_path / parent / "run"
        for made in (path, *(path.parent / other for other in others)):
            made.mkdir(parents=True)
        folder = RunFolder(path)
        folder.close()
        assert not path.exists() and path.parent.exists() is left
    kept = tmp_path / "mine" / "notes"
    kept.mkdir()
    (kept / "note.txt").touch()
    RunFolder(kept).close()
    RunFolder(tmp_path / "nowhere").close()
    assert (kept / "note.txt").exists() and not (tmp_path / "nowhere").exists()


def test_what_was_logged_before_the_folder_is_in_the_log_from_its_first_line_on(tmp_path):
    log = logging.getLogger("medcls")
    before = list(log.handlers)
    folder = RunFolder(tmp_path / "run")
    log.warning("earlier 正常")
    assert not folder.path.exists()
    folder.begin("evaluate.log")
    log.warning("later")
    folder.close()
    log.warning("too late")
    lines = (tmp_path / "run" / "evaluate.log").read_text(encoding="utf-8").splitlines()
    assert [line.split("WARNING ")[1] for line in lines] == ["earlier 正常", "later"]
    assert log.handlers == before


@pytest.mark.parametrize(
    "name",
    [
        "checkpoints/last.ckpt", "monitor.html", "config.yaml", "checkpoints", "figures", "audit.html", "comparison.md",
        "heat_maps",
    ],
)  # fmt: skip
def test_a_folder_with_the_work_of_any_command_is_taken(tmp_path, name):
    folder = RunFolder(tmp_path / "run")
    folder.refuse_if_taken()
    (tmp_path / "run" / name).mkdir(parents=True)
    with refused("folder_taken", str(tmp_path / "run"), "hydra.run.dir"):
        folder.refuse_if_taken()
    folder.close()


def test_only_a_log_without_a_report_is_an_unfinished_evaluation(begun):
    assert not begun.holds_unfinished_evaluation()
    begun.write_text("evaluate.log", "")
    assert begun.holds_unfinished_evaluation()
    for name in ("config.yaml", "report.html"):
        path = begun.write_text(name, "")
        assert not begun.holds_unfinished_evaluation()
        path.unlink()


def test_a_folder_among_the_images_is_refused_however_it_is_written(tmp_path, monkeypatch):
    images = tmp_path / "images"
    images.mkdir()
    (tmp_path / "link").symlink_to(images)
    monkeypatch.chdir(tmp_path)
    for path in (images, images / "runs" / "x", Path("link/x"), Path("other/../images/x")):
        folder = RunFolder(path)
        folder.refuse_within(None)
        with refused("run_folder_among_images", "images=images", str(path)):
            folder.refuse_within("images", "images")
        folder.close()
    beside = RunFolder(tmp_path / "images of mine")
    beside.refuse_within(str(images))
    beside.close()


def test_another_command_may_not_write_at_the_same_time(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    first, second = RunFolder(path), RunFolder(path)
    first.claim()
    with refused("run_in_progress", str(path), "hydra.run.dir"):
        second.claim()
    second.discard()
    second.close()
    assert path.is_dir(), "it is the first one's"
    first.close()
    third = RunFolder(tmp_path / "nowhere")
    third.claim()  # there is nothing to lock
    third.close()


def test_a_command_that_writes_elsewhere_leaves_no_empty_folder(tmp_path):
    made, other = tmp_path / "runs" / "new", tmp_path / "other"
    made.mkdir(parents=True)
    other.mkdir()
    (other / "config.yaml").touch()
    folder = RunFolder(made)
    folder.write_into(other)
    assert folder.report == other / "report.html" and not (tmp_path / "runs").exists()
    with refused("run_in_progress", str(other)):
        RunFolder(other).claim()
    folder.begin()
    folder.discard()
    folder.close()
    assert (other / "config.yaml").exists()


def test_what_a_command_wrote_into_an_empty_folder_is_discarded_and_nothing_else(tmp_path):
    new, filled = tmp_path / "runs" / "new", tmp_path / "filled"
    for path in (new, filled):
        path.mkdir(parents=True)
    (filled / "note.txt").touch()
    for path in (new, filled):
        folder = RunFolder(path)
        folder.begin()
        folder.write_text("a.txt", "a")
        folder.discard()
        folder.close()
    assert not (tmp_path / "runs").exists()
    assert {path.name for path in filled.iterdir()} == {"note.txt", "train.log", "a.txt"}


def test_only_unfinished_files_of_killed_commands_are_removed(begun):
    gone = [".metrics.12.json", ".notes.7", "checkpoints/best.ckpt.tmp", "checkpoints/last.ckpt.tmp", "a/.x.y.3.csv"]
    kept = [".gitignore", "metrics.json", "a.12.json", "other.ckpt.tmp", ".x.csv", ".12.json"]
    for name in (*gone, *kept):
        (begun.path / name).parent.mkdir(exist_ok=True)
        (begun.path / name).touch()
    (begun.path / ".link.1.csv").symlink_to(begun.path / "metrics.json")
    begun.claim()
    begun.remove_unfinished()
    left = {path.relative_to(begun.path).as_posix() for path in begun.path.rglob("*") if not path.is_dir()}
    assert left == {*kept, ".link.1.csv", "train.log"}


def test_what_is_written_is_named_once_in_its_order(begun):
    begun.write_json("metrics.json", {"auroc": float("nan"), "名": [1.5, (2, float("inf"))]})
    begun.write_json("metrics.json", {"auroc": float("nan"), "名": [1.5, (2, float("-inf"))]})
    assert read_json(begun.path / "metrics.json") == {"auroc": None, "名": [1.5, [2, None]]}
    assert "名" in (begun.path / "metrics.json").read_text(encoding="utf-8")
    begun.write_text("sub/notes.txt", "é")
    assert list(begun.written) == ["metrics.json", "sub/notes.txt"]
    assert "metrics.json, sub/notes.txt" in begun.what_is_there("python -m medcls.train", KeyError())
    begun.write_text("report.html", "")
    assert "python -m medcls.train" not in begun.what_is_there("python -m medcls.train", KeyError())


def test_a_log_that_cannot_be_written_ends_with_one_warning_and_other_logs_lose_nothing(begun, monkeypatch):
    def full(_: logging.Handler) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    log, records = logging.getLogger("medcls"), []
    other = logging.Handler()
    other.emit = lambda record: records.append(record.getMessage())
    log.addHandler(other)
    monkeypatch.setattr(LogFile, "flush", full)
    log.warning("one")
    log.warning("two")
    log.removeHandler(other)
    warning, *rest = records
    assert str(begun.path / "train.log") in warning and rest == ["one", "two"]


def test_a_json_file_is_read_or_missing_or_damaged(tmp_path):
    path = tmp_path / "x.json"
    assert read_json(path) is None and read_json(tmp_path) is None
    path.write_text("[1]")
    assert read_json(path) == [1]
    for content in (b"", b"{", b"\xff"):
        path.write_bytes(content)
        with refused("unreadable_file", str(path)):
            read_json(path)


def test_plain_data_has_none_where_json_has_no_number():
    nan, inf = float("nan"), float("inf")
    assert without_nan({1: nan, "a": (inf, [-inf, 0.5]), "b": {"c": True}}) == {
        "1": None, "a": [None, [None, 0.5]], "b": {"c": True}
    }  # fmt: skip
    assert without_nan(nan) is None and without_nan("nan") == "nan" and without_nan([]) == []
