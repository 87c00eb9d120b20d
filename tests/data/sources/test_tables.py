"""Tables to manifest: what they may look like, how a row finds its file, and everything a user can get wrong."""

import dataclasses
import os
import random
import shlex
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from made_sets import named_files
from refusals import noted, refused

from medcls.cli.building import build
from medcls.cli.shipped import configurations
from medcls.data.sources import file_search, phantoms
from medcls.data.sources.folders import from_folders
from medcls.data.sources.tables import Columns, from_csv, read_table, rows_from_csv
from medcls.errors import MedclsError
from medcls.evaluation.predictions import from_logits


@pytest.fixture
def root(tmp_path: Path, picture) -> Path:
    """Four images `a1.png` to `b2.png`."""
    for seed, name in enumerate(("a1", "a2", "b1", "b2")):
        picture(tmp_path / "images" / f"{name}.png", seed)
    return tmp_path / "images"


GOOD = "path,label\na1.png,a\na2.png,a\nb1.png,b\nb2.png,b\n"


def table(root: Path, text: str | bytes = GOOD, name: str = "table.csv") -> Path:
    path = root.parent / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def rows_of(root: Path, text: str | bytes = GOOD, **settings) -> tuple[pd.DataFrame, list[str]]:
    cells, unusual = read_table(table(root, text))
    strict = settings.pop("strict", True)
    rows, notes = rows_from_csv(cells, root, Columns(**settings), strict=strict)
    return rows, [*unusual, *notes]


def test_a_table_becomes_a_manifest(root):
    text = "image_id,dx,patient,age\nb2,mel,p2,\nb1,bcc,p2,40\na2,nv,p1,50\na1,nv,p1,50\n"
    manifest = from_csv(
        table(root, text),
        root,
        path_template="{image_id}.png",
        label_column="dx",
        group_column="patient",
        label_map={"malignant": ["mel", "bcc"], "benign": ["nv"]},
        positive="malignant",
    )
    assert manifest.classes == ("benign", "malignant")
    assert manifest.rows["path"].tolist() == ["a1.png", "a2.png", "b1.png", "b2.png"]
    assert manifest.rows["label"].tolist() == ["benign", "benign", "malignant", "malignant"]
    assert manifest.rows["group"].tolist() == ["p1", "p1", "p2", "p2"]
    assert manifest.rows["given_split"].eq("").all()
    assert manifest.rows["content"].nunique() == 4
    assert manifest.read_from == ("dx", "patient")


def test_a_saved_manifest_is_a_table_that_gives_the_same_manifest(folder, tmp_path):
    first = from_folders(folder({"train/a": 3, "train/b": 2, "test/a": 2, "test/b": 2}), positive="b")
    (tmp_path / "manifest.csv").write_text(first.to_csv())
    again = from_csv(tmp_path / "manifest.csv", first.root, split_column="given_split", positive="b")
    assert again.fingerprint() == first.fingerprint()
    assert again.rows["given_split"].tolist() == first.rows["given_split"].tolist()


def test_the_tables_own_columns_reach_the_predictions_in_their_order(root):
    text = "site,image_id,label,sex\nnorth,a1,a,f\nsouth,a2,a,m\nnorth,b1,b,\nsouth,b2,b,m\n"
    manifest = from_csv(table(root, text), root, path_template="{image_id}.png", positive="b")
    assert list(manifest.rows.columns[-3:]) == ["site", "image_id", "sex"]
    rows = manifest.rows.assign(split="test")
    predictions = from_logits(rows, np.arange(4), np.zeros((4, 2)), manifest.classes, "b", "hash").rows
    assert predictions["sex"].tolist() == ["f", "m", "", "m"]
    order = [name for name in predictions.columns if name in ("site", "image_id", "sex")]
    assert order == ["site", "image_id", "sex"]


def test_columns_that_medcls_writes_itself_are_kept_under_another_name(root):
    text = "image_id,dx,label,split,content,checkpoint,prob_a,csvs\n" + "".join(
        f"{name},{name[0]},x,odd,c,h,0.5,1\n" for name in ("a1", "a2", "b1", "b2")
    )
    rows, notes = rows_of(root, text, path_template="{image_id}.png", label_column="dx")
    kept = ["image_id", "dx", "csv_label", "csv_split", "csv_content", "csv_checkpoint", "csv_prob_a", "csvs"]
    assert list(rows.columns) == ["path", "label", "given_split", *kept]
    assert rows["label"].tolist() == ["a", "a", "b", "b"]
    assert rows["given_split"].eq("").all()
    assert "csv_label, csv_split, csv_content, csv_checkpoint, csv_prob_a" in notes[-1]
    with refused("column_twice", "csv_split"):
        rows_of(
            root, GOOD.replace("label", "label,split,csv_split", 1).replace(".png,", ".png,1,2,"), label_column="label"
        )


def test_no_cell_is_read_as_a_number_or_as_missing(root):
    text = "path,label,code\na1.png,NA,007\na2.png,NA,1e3\nb1.png,null,NaN\nb2.png,null,1.0\n"
    rows, _ = rows_of(root, text)
    assert rows["label"].tolist() == ["NA", "NA", "null", "null"]
    assert rows["code"].tolist() == ["007", "1e3", "NaN", "1.0"]


ODD_CELLS = [
    "nan", "inf", "-inf", "None", "1e999", "0.0", "", "\0", "a\0b", '"', "'", "x" * 200_000, "\ufeff", "\u200b", "a\nb",
    "a\rb", "../a1.png", "/etc/passwd", "C:\\a.png", "💥", "\x1b[31m", "=1+1", ",", ";", "\t", "a" * 300 + "/b.png",
    "b1.png/", ".", "..", "//", "~", "{path}", "%s", "\u202e", "1;2", "\x85", "\u2028", "path", "label",
]  # fmt: skip
NO_TABLES = [
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\x1f\x8b\x08", b"GIF89a,b\nc,d", b"PK\3\4", b"\0" * 50, b"\n" * 50, b",,,\n,,,",
    b"\xef\xbb\xbf", b'"', b"", b"\xff\xfe", b"\r\r", b"path,label", b"path,label\n",
]  # fmt: skip


def odd_table(draw: random.Random) -> bytes:
    """A table of which something is odd: a cell, a row's length, its quotes, its bytes, or all of it."""
    rows = [["path", "label", "patient", "split"]]
    rows += [[f"{name}.png", name[0], f"p{name}", draw.choice(["train", "test"])] for name in ("a1", "a2", "b1", "b2")]
    for _ in range(draw.choice([0, 1, 1, 2, 3])):
        row = rows[draw.randrange(5)]
        if draw.random() < 0.2:
            row.append(draw.choice(ODD_CELLS))
        else:
            row[draw.randrange(len(row))] = draw.choice(ODD_CELLS)
    quoted = draw.random() < 0.5
    separator = draw.choice([",", ",", ";", "\t"])
    lines = [separator.join('"' + cell.replace('"', '""') + '"' if quoted else cell for cell in row) for row in rows]
    text = "\n".join(lines) + "\n"
    data, chance = text.encode(), draw.random()
    if chance < 0.1:
        at = draw.randrange(len(data))
        odd = draw.choice([b"\0", b"\xff", b"\xef\xbb\xbf", b'"', b"\r", b"\x80", b"\xed\xa0\x80"])
        return data[:at] + odd + data[at:]
    if chance < 0.15:
        return data[: draw.randrange(len(data))]
    if chance < 0.2:
        return draw.randbytes(200)
    return text.encode("utf-16")[draw.choice([0, 2]) :] if chance < 0.25 else data


def test_whatever_stands_in_a_table_becomes_a_manifest_or_a_sentence(root, picture):
    draw = random.Random(0)
    ends = Counter()
    for data in [*NO_TABLES, *(odd_table(draw) for _ in range(120))]:
        path = table(root, data)
        settings = {
            "group_column": draw.choice([None, "patient"]),
            "split_column": draw.choice([None, "split"]),
            "where": draw.choice([None, None, {"label": ["a", "b"]}, {"patient": float("nan")}, {"label": None}]),
            "strict": draw.choice([True, False]),
            "path_template": draw.choice(["{path}", "{path}", "{label}/{path}"]),
        }
        try:
            manifest = from_csv(path, root, positive="b", remember=False, **settings)
            assert len(manifest.to_csv().splitlines()) >= len(manifest)
            ends["manifest"] += 1
        except MedclsError as error:
            said = str(error)
            said.encode()
            assert all(line.isprintable() for line in said.split("\n")) and len(said) < 5000, said[:500]
            ends["sentence"] += 1
    assert min(ends["manifest"], ends["sentence"]) > 10, ends


ISIC = "image,MEL,NV,BCC\na1.png,1.0,0.0,0.0\na2.png,0.0,1.0,0.0\nb1.png,0,1,0\nb2.png,0.0,0.0,1.0\n"


@pytest.mark.parametrize("start", ["", "sep=,\r\n"])
def test_a_column_for_each_class_is_one_label(root, start):
    """As ISIC 2018 gives its truth out."""
    settings = {"path_template": "{image}", "label_column": ["MEL", "NV", "BCC"]}
    manifest = from_csv(table(root, start + ISIC), root, **settings)
    assert dict(manifest.rows[["path", "label"]].to_numpy()) == {
        "a1.png": "MEL", "a2.png": "NV", "b1.png": "NV", "b2.png": "BCC"
    }  # fmt: skip
    # They would tell the label to whoever looks for shortcuts, or for subgroups.
    assert not {"MEL", "NV", "BCC"} & set(manifest.rows) and manifest.read_from == ("MEL", "NV", "BCC")
    merged = {"ill": ["MEL", "BCC"], "well": ["NV"]}
    assert from_csv(table(root, ISIC), root, positive="ill", label_map=merged, **settings).classes == ("ill", "well")


def test_a_label_column_that_is_not_there_is_named_with_those_of_the_classes(root):
    with refused("unknown_column", "data.label_column", "'label'", '\n  "data.label_column=[MEL, NV, BCC]"'):
        rows_of(root, ISIC, path_template="{image}", label_column="label")
    with refused("unknown_column", "data.label_column", "'5'"):
        rows_of(root, ISIC, path_template="{image}", label_column=5)


def test_groups_come_from_one_column(root):
    with refused("bad_value", "data.group_column", "['path', 'label']"):
        rows_of(root, group_column=["path", "label"])


def test_labels_that_are_whole_numbers_are_taken_for_them(root):
    text = GOOD.replace(",a", ",0.0").replace(",b", ",1.0")
    for positive in ("1", "1.0"):
        manifest = from_csv(table(root, text), root, positive=positive)
        assert manifest.classes == ("0", "1") and manifest.positive == "1"
    assert noted(manifest.notes, "'0.0', '1.0'", "'0', '1'")
    assert "source_label" not in manifest.rows
    named = from_csv(table(root, text), root, positive="ill", label_map={"well": [0.0], "ill": "1"})
    assert named.classes == ("ill", "well")
    with refused("out_of_scope", "regression", "'0.5'"):
        from_csv(table(root, text.replace("0.0", "0.5")), root)


@pytest.mark.parametrize("spelt", ["./b/c/1.png", "b//c/1.png", "b\\c\\1.png", "ROOT/b/c/1.png", "b/x/../c/1.png"])
def test_paths_to_be_left_out_may_be_spelt_as_in_a_table(tmp_path, picture, spelt):
    for number, path in enumerate(("a/1.png", "a/2.png", "b/c/1.png", "b/c/2.png")):
        picture(tmp_path / "images" / path, number)
    spelt = spelt.replace("ROOT", str(tmp_path / "images"))
    (tmp_path / "list.txt").write_text(f"# why\n{spelt}\n")
    for named in ({"exclude_paths": [spelt]}, {"exclude_file": tmp_path / "list.txt"}):
        manifest = from_folders(tmp_path / "images", positive="a", **named)
        assert manifest.rows["path"].tolist() == ["a/1.png", "a/2.png", "b/c/2.png"]
        assert noted(manifest.notes, "1", "b/c/1.png")


@pytest.mark.parametrize("label", ["a;c", "a|b", "a, b and c", "b+"])
def test_a_label_that_reads_as_several_is_asked_about(root, label):
    path = table(root, GOOD.replace("b2.png,b", f'b2.png,"{label}"'))
    if label == "b+":  # a sign, not a second label
        assert from_csv(path, root).classes == ("a", "b", "b+")
        return
    with refused("out_of_scope", "multi-label", repr(label), "'a'") as caught:
        from_csv(path, root)
    out, other = [line for line in str(caught.value).split("\n") if line.startswith("  ")]
    for line, classes in ((out, 2), (other, 3)):
        words = shlex.split(line)
        mapping = OverridesParser.create().parse_override(words[0]).value()
        positive = "a" if classes == 2 else None
        taken = from_csv(path, root, label_map=mapping, leave_out_unmapped=len(words) == 2, positive=positive)
        assert (len(taken), len(taken.classes)) == (classes + 1, classes)


@pytest.mark.parametrize(
    ("settings", "kind", "names"),
    [
        ({"label_column": "labels"}, "unknown_column", ("'labels'", "path, label.", "label?")),
        ({"group_column": "patient"}, "unknown_column", ("'patient'",)),
        ({"split_column": "fold"}, "unknown_column", ("'fold'",)),
        ({"path_template": "{paht}.png"}, "unknown_column", ("'paht'", "path?")),
        ({"path_template": "{path.__class__}"}, "unknown_column", ("'path.__class__'",)),
        ({"path_template": "{path[0]}"}, "unknown_column", ("'path[0]'",)),
        ({"path_template": "{path:>9}"}, "bad_value", ("{path:>9}",)),
        ({"path_template": "{path!r}"}, "bad_value", ("{path!r}",)),
        ({"path_template": "{}.png"}, "bad_value", ("{}.png",)),
        ({"path_template": "{path.png"}, "bad_value", ("{path.png", "'}'")),
        ({"path_template": "a1.png"}, "bad_value", ("a1.png",)),
        ({"where": ["label"]}, "bad_value", ("['label']",)),
        ({"where": {"lable": "a"}}, "unknown_column", ("'lable'", "label?")),
        ({"where": {"label": ["a", "aa"]}}, "unknown_value", ("'aa'", "label", "a, b.", "a?")),
        ({"where": {"label": "a", "path": "b1.png"}}, "no_rows", (" 4.", "label a: 2; path b1.png: 0")),
    ],
)
def test_a_setting_that_does_not_fit_the_table_is_named(root, settings, kind, names):
    with refused(kind, f"data.{next(iter(settings))}", *names):
        rows_of(root, **settings)


@pytest.mark.parametrize(
    ("settings", "kind", "names"),
    [
        ({"csv": None}, "missing_setting", ("data.csv=",)),
        ({"root": None}, "missing_setting", ("data.root=",)),
        ({"csv": "none.csv"}, "no_such_file", ("none.csv", "data.csv")),
        ({"csv": ["none.csv", "neither.csv"]}, "no_such_file", ("none.csv or neither.csv", "data.csv")),
        ({"root": "nowhere"}, "no_such_folder", ("nowhere", "data.root")),
        (
            {"group_column": "label", "group_pattern": "a"},
            "conflicting_settings",
            ("data.group_column=label", "data.group_pattern"),
        ),
        ({"leave_out_unmapped": True}, "missing_setting", ("data.leave_out_unmapped=true", "data.label_map")),
        ({"label_map": {"x": ["a"]}}, "unmapped_class", ("data.label_map", "'b'", "data.leave_out_unmapped=true")),
        ({"label_map": {"x": ["a"], "y": ["bb"]}}, "unknown_class", ("data.label_map", "'bb'", "b?")),
        ({"positive": None}, "missing_setting", ("positive_class=a",)),
    ],
)
def test_the_door_of_the_source_refuses_what_it_cannot_know(root, settings, kind, names):
    with refused(kind, *names):
        from_csv(**{"csv": table(root), "root": root, "positive": "b"} | settings)


def test_a_table_is_looked_for_here_and_then_among_the_images(root, monkeypatch):
    shutil.move(table(root), root / "table.csv")
    monkeypatch.chdir(root.parent)
    manifest = from_csv("table.csv", "images", positive="b")
    assert len(manifest.notes) == 1 and noted(manifest.notes, "table.csv", "data.root")
    table(root, GOOD.replace("b2.png,b\n", ""))
    assert len(from_csv("table.csv", "images", positive="b")) == 3
    assert len(from_csv(["none.csv", "images/table.csv"], "images", positive="b")) == 4


def test_p13_a_class_without_a_new_name_is_left_out_only_when_asked_and_counted(root):
    text = GOOD.replace("a2.png,a", "a2.png,c")
    with refused("unmapped_class", "data.label_map", "'c'"):
        from_csv(table(root, text), root, label_map={"x": ["a"], "y": ["b"]}, positive="y")
    kept = from_csv(table(root, text), root, label_map={"x": ["a"], "y": ["b"]}, positive="y", leave_out_unmapped=True)
    assert kept.rows["path"].tolist() == ["a1.png", "b1.png", "b2.png"]
    assert noted(kept.notes, "1", "data.label_map", "'c' 1")


def test_where_keeps_rows_and_counts_them(root):
    text = "path,label,sex\na1.png,a,f\na2.png,a,m\nb1.png,b,\nb2.png,b,80\nnowhere.png,,x\n"
    rows, notes = rows_of(root, text, where={"sex": ["f", "", 80]})
    assert rows["path"].tolist() == ["a1.png", "b1.png", "b2.png"]
    assert noted(notes[:1], "data.where", "3", "5", "(sex f or (empty) or 80: 3)")


def test_a_class_that_where_takes_away_may_stay_in_the_label_map(root):
    text = "path,label,sex\na1.png,a,f\na2.png,c,m\nb1.png,b,f\nb2.png,b,f\n"
    settings = {"label_map": {"x": ["a"], "y": ["b", "c"]}, "positive": "y"}
    manifest = from_csv(table(root, text), root, where={"sex": "f"}, **settings)
    assert manifest.rows["label"].tolist() == ["x", "y", "y"]
    with refused("unknown_class", "data.label_map", "'d'"):  # a class that the table never had may not
        from_csv(table(root, text), root, where={"sex": "f"}, positive="y", label_map={"x": ["a"], "y": ["b", "d"]})


def test_splits_in_any_spelling(root):
    text = "path,label,fold\na1.png,a,Train\na2.png,a,TESTING\nb1.png,b,training\nb2.png,b,valid\n"
    rows, _ = rows_of(root, text, split_column="fold")
    assert rows["given_split"].tolist() == ["train", "test", "train", "val"]
    assert rows["fold"].tolist() == ["Train", "TESTING", "training", "valid"]


@pytest.mark.parametrize(
    ("cells", "kind", "names"),
    [
        (("train", "test", "train", ""), "empty_cell", ("fold: line 5",)),
        (("train", "test", "train", "holdout"), "unknown_split", ("fold", "holdout 1", "train, training")),
        (("test", "test", "val", "val"), "no_train_split", ("fold", "test, val")),
    ],
)
def test_splits_that_cannot_be_read_are_named(root, cells, kind, names):
    rows = zip(("a1.png", "a2.png", "b1.png", "b2.png"), cells, strict=True)
    text = "path,label,fold\n" + "".join(f"{name},{name[0]},{fold}\n" for name, fold in rows)
    with refused(kind, *names):
        rows_of(root, text, split_column="fold")


def test_p03_rows_without_a_group_are_counted(root):
    text = "path,label,who\na1.png,a,p\na2.png,a,p\nb1.png,b,\nb2.png,b,q\n"
    rows, notes = rows_of(root, text, group_column="who")
    assert rows["group"].tolist() == ["p", "p", "", "q"]
    assert len(notes) == 1 and noted(notes, "1", "who")
    with refused("no_groups", "who", "data.group_column"):
        rows_of(root, text.replace(",p", ",").replace(",q", ","), group_column="who")


def test_one_row_an_image_else_the_lines_are_named(root):
    with refused("image_twice", "1 image", "\n  a1.png: lines 2, 6", " a\n"):
        rows_of(root, GOOD + "a1.png,a\n")
    with refused("image_twice", "2 image", "\n  b1.png: lines 4, 7", "(b, a)\n  a1.png"):
        rows_of(root, GOOD + "./a1.png,a\nb1.png,a\n")
    with refused("image_twice", "lines 2, 6"):  # two spellings, one file
        rows_of(root, GOOD + "A1.PNG,b\n")


@pytest.mark.parametrize("path", ["../x.png", "a/../../x.png", "/etc/x.png", "C:\\images\\x.png", "..\\x.png"])
def test_no_row_leads_out_of_the_root(root, path):
    (root.parent / "x.png").touch()
    with refused("file_outside_root", "data.root", f"line 6: {path}"):
        rows_of(root, GOOD + f"{path},a\n")


def test_paths_within_the_root_may_be_written_in_any_way(root):
    named_files(root, "deep/c1.png", "deep/c2.png")
    os.symlink(root.parent / "elsewhere.png", root / "link.png")
    named_files(root.parent, "elsewhere.png")
    text = GOOD + f"{root}/deep/c1.png,a\ndeep\\c2.png,a\nlink.png,b\n"
    rows, notes = rows_of(root, text.replace("a1.png", "./a1.png"))
    assert set(rows["path"]) >= {"a1.png", "deep/c1.png", "deep/c2.png", "link.png"}
    assert notes == []


def test_an_empty_file_name_is_no_file(root):
    with refused("empty_cell", "path: line 6"):
        rows_of(root, GOOD + ",a\n")


def test_a_template_takes_several_columns(root):
    named_files(root, "p1/x.png", "p2/x.png")
    text = "who,id,label\np1,x,a\np2,x,b\n"
    rows, _ = rows_of(root, text, path_template="{who}/{id}.png")
    assert rows["path"].tolist() == ["p1/x.png", "p2/x.png"]


def test_rows_without_a_file_are_listed_with_what_was_tried(root):
    gone = "".join(f"gone{n}.png,a\n" for n in range(7))
    tried = [way.words for way in (*file_search.SEARCHES, file_search.BY_NUMBER)]
    with refused(
        "no_such_file", "7 row", "line 6: gone0.png", "line 10: gone4.png", "data.path_template", *tried
    ) as no:
        rows_of(root, GOOD + gone)
    assert "gone5" not in str(no.value)


def test_a_missing_file_that_is_excluded_stops_nothing(root):
    text = GOOD + "gone.png,a\n"
    manifest = from_csv(table(root, text), root, exclude_paths=["gone.png"], positive="b")
    assert len(manifest) == 4
    assert noted(manifest.notes, "1", "gone.png")


def test_an_audit_lists_missing_files_with_the_unreadable_ones(root):
    manifest = from_csv(table(root, GOOD + "gone.png,a\n"), root, strict=False)
    assert [Path(str(failure.path)).name for failure in manifest.unreadable] == ["gone.png"]
    assert len(manifest) == 4
    with refused("no_such_file", "4 row", "a1.png/a"):  # the template is wrong, not the data
        from_csv(table(root), root, path_template="{path}/{label}", strict=False)


def test_files_that_no_row_names_are_counted(root):
    rows, notes = rows_of(named_files(root, "c1.png", "c2.png", "notes.txt"))
    assert len(rows) == 4
    assert len(notes) == 1 and noted(notes, "2", "images")


def test_the_order_of_the_rows_changes_nothing(root):
    rows, _ = rows_of(root)
    other, _ = rows_of(root, "path,label\nb2.png,b\na1.png,a\nb1.png,b\na2.png,a\n")
    assert rows.equals(other)


def test_phantoms_in_a_table_say_that_they_are_phantoms(tmp_path):
    phantoms.ensure_phantoms(tmp_path / "set", images=6)
    names = [path.relative_to(tmp_path / "set").as_posix() for path in sorted((tmp_path / "set").rglob("*.png"))]
    text = "path,label\n" + "".join(f"{name},{name.split('/')[0]}\n" for name in names)
    (tmp_path / "table.csv").write_text(text)
    manifest = from_csv(tmp_path / "table.csv", tmp_path / "set", strict=False)
    assert manifest.watermarks == (phantoms.PHANTOM_WATERMARK,)


SKIN = Columns("{image_id}.jpg", label_column="dx", group_column="lesion_id")


@pytest.mark.slow
@pytest.mark.real
def test_skin_cancer_lists_as_it_lies(real_data):
    root = real_data / "skin_cancer"
    rows, notes = rows_from_csv(read_table(root / "metadata.csv")[0], root, SKIN)
    assert len(rows) == 10_015
    assert rows["label"].isin(["mel", "bcc", "akiec"]).sum() == 1_954
    assert rows["group"].nunique() == 7_470
    assert (rows["group"].value_counts() > 1).sum() == 1_956
    assert (rows["age"] == "").sum() == 57
    assert len(notes) == 1 and noted(notes, "10,015", file_search.SEARCHES[2].words)


HAM = {
    "as reduced": ("metadata.csv", ["images"]),
    "as on Kaggle": ("HAM10000_metadata.csv", ["HAM10000_images_part_1", "HAM10000_images_part_2"]),
    "as on Dataverse": ("HAM10000_metadata", ["HAM10000_images_part_1", "HAM10000_images_part_2"]),
    "as a tab file": ("HAM10000_metadata.tab", ["."]),
}


@pytest.mark.slow
@pytest.mark.parametrize("layout", HAM)
def test_the_shipped_skin_cancer_configuration_reads_every_layout(tmp_path, picture, layout):
    name, folders = HAM[layout]
    diagnoses = ["mel", "bcc", "akiec", "nv", "bkl", "df", "vasc"]
    lines = ["lesion_id,image_id,dx,dx_type,age,sex,localization"]
    for number in range(14):
        image = f"ISIC_{24306 + number:07d}"
        picture(tmp_path / folders[number * len(folders) // 14] / f"{image}.jpg", number)
        lines.append(f"HAM_{number // 2:07d},{image},{diagnoses[number // 2]},histo,45.0,male,trunk")
    separator = "\t" if name.endswith(".tab") else ","
    (tmp_path / name).write_text("\n".join(lines).replace(",", separator))
    with initialize_config_dir(str(configurations() / "conf"), version_base="1.3"):
        cfg = compose("train", ["data=skin_cancer", f"data.root='{tmp_path}'"])
    manifest = build(cfg.data.source, positive=cfg.positive_class)
    assert manifest.class_counts("") == (8, 6)
    assert manifest.rows["group"].nunique() == 7
    assert manifest.positive == "malignant"


@pytest.mark.real
def test_skin_cancer_finds_the_identical_pairs_under_one_label(real_data):
    pairs = ["ISIC_0024366", "ISIC_0024777", "ISIC_0029861", "ISIC_0029938"]
    root = real_data / "skin_cancer"
    rows, _ = rows_from_csv(
        read_table(root / "metadata.csv")[0], root, dataclasses.replace(SKIN, where={"image_id": pairs})
    )
    assert rows["group"].nunique() == 2
    contents = [(root / path).read_bytes() for path in rows["path"]]
    assert len(set(contents)) == 2
    assert set(rows["dx"]) == {"nv"}  # copies, and no conflict: nothing to exclude
