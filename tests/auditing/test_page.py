"""The audit's page: it says everything, carries everything, and lets nothing through that a name could smuggle in."""

import dataclasses
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from html_pages import read

from medcls.auditing.exclusions import exclusions
from medcls.auditing.findings import LEVELS, Finding, Pair
from medcls.auditing.page import ROWS_SHOWN, PageSettings, page
from medcls.auditing.record import record
from medcls.data.manifest import Manifest, read_exclusions
from medcls.data.reading.decoded import UnreadableImage
from medcls.data.reading.thumbnails import thumbnail
from medcls.data.sources.folders import from_folders
from medcls.data.splits.split import split
from medcls.preprocessing import Decoding
from medcls.runs.run_folder import without_nan

ODD = "恶性 🙂 <script>alert(\"x\")<script>&amp; 'q'.png"


@pytest.fixture
def manifest(folder, picture) -> Manifest:
    root = folder({"benign": 12, "malignant": 12})
    picture(root / "malignant" / ODD, 999)
    return split(from_folders(root, positive="malignant", group_pattern="(b|m)[a-z]+/00[0-3]"))


def finding(level="error", check="exact_copies", **values) -> Finding:
    return Finding(check, level, f"3 of 25 images are {check}", "Leave them out: data.exclude_file.", **values)


def laid_out(manifest: Manifest, findings: list[Finding], **settings: bool) -> str:
    made = datetime(2026, 3, 1, 9, 5, tzinfo=UTC)
    command = f"python -m medcls.audit data.root={manifest.root}"
    about = PageSettings(name="lungs", command=command, made=made, decoding=Decoding(), **settings)
    return page(manifest, findings, about)


def test_every_finding_is_there_with_its_level_under_an_anchor_of_its_own(manifest):
    findings = [finding(level, f"check_{level}") for level in reversed(LEVELS)] + [finding(check="check_error")]
    reader = read(laid_out(manifest, findings))
    anchors = [values["id"] for tag, values in reader.tags if tag == "section"]
    assert anchors == ["check_error", "check_error.2", "check_warning", "check_information", "check_good"]
    links = [values["href"] for tag, values in reader.tags if tag == "a"]
    assert links == [f"#{anchor}" for anchor in anchors]
    identities = [values["id"] for _, values in reader.tags if "id" in values]
    assert len(identities) == len(set(identities))
    for item in findings:
        assert item.title in reader.text
    assert "2 errors and 1 warning" in reader.text


@pytest.mark.wording
def test_the_page_says_what_medcls_is_for(manifest):
    text = read(laid_out(manifest, [])).text
    assert "research" in text and "not a medical device" in text


def test_names_cannot_become_tags(manifest):
    path = f"malignant/{ODD}"
    pairs = (Pair(path, "benign/000.png", f"{path} again"),)
    table = pd.DataFrame({"<b>column</b>": [path], "share": [0.5]})
    reader = read(laid_out(manifest, [Finding("<i>", "error", path, path, table=table, pairs=pairs, images=(path,))]))
    assert {tag for tag, _ in reader.tags}.isdisjoint({"script", "b", "i"})
    assert reader.text.count(path) >= 6
    assert any(values.get("alt") == path for tag, values in reader.tags if tag == "img")


def test_the_page_needs_nothing_from_outside(manifest):
    text = laid_out(manifest, [finding(pairs=(Pair("benign/000.png", "benign/001.png", "same"),))])
    assert not re.search(r"https?://|@import|url\(|<script|src=\"(?!data:)|href=\"(?!#|data:)", text)
    assert "default-src 'none'" in text


def test_pairs_stand_side_by_side_with_their_paths(manifest):
    reader = read(laid_out(manifest, [finding(pairs=(Pair("benign/000.png", "malignant/001.png", "2 bits apart"),))]))
    assert [values["alt"] for tag, values in reader.tags if tag == "img"] == ["benign/000.png", "malignant/001.png"]
    assert "2 bits apart" in reader.text


def test_a_picture_keeps_its_aspect_and_is_small(manifest, picture):
    picture(manifest.root / "wide.png", 1, size=(100, 400))
    reader = read(laid_out(manifest, [finding(images=("wide.png", "benign/000.png"))]))
    sizes = [(values["width"], values["height"]) for tag, values in reader.tags if tag == "img"]
    assert sizes == [("160", "40"), ("20", "24")]


def test_a_file_that_cannot_be_shown_says_why(manifest):
    (manifest.root / "cut.png").write_bytes(b"")
    with pytest.raises(UnreadableImage) as refused:
        thumbnail(manifest.root / "cut.png", Decoding())
    assert refused.value.reason in read(laid_out(manifest, [finding(images=("cut.png",))])).text


def test_without_pictures(manifest):
    reader = read(laid_out(manifest, [finding(images=("benign/000.png",))], pictures=False))
    assert not any(tag == "img" for tag, _ in reader.tags)
    assert "benign/000.png" in reader.text


def test_without_names(manifest):
    group = manifest.rows["group"].max()
    table = pd.DataFrame({"path": ["benign/000.png"], "group": [group]})
    shown = Finding(
        "x",
        "error",
        "benign/001.png is odd",
        f"{manifest.root}/benign/002.png too",
        table=table,
        pairs=(Pair("benign/003.png", f"malignant/{ODD}", "benign/003.png again"),),
    )
    noted = manifest.with_rows(manifest.rows, "left out benign/gone.png")
    text = laid_out(noted, [shown], paths=False)
    reader = read(text)
    for secret in (".png", str(manifest.root), ODD):
        assert secret not in text
    assert "image 2 is odd" in reader.text
    assert f">{group}<" not in text and re.search(r"group \d", reader.text)
    assert next(values["alt"] for tag, values in reader.tags if tag == "img") == "image 4"
    assert list(noted.rows["path"]).index("benign/003.png") == 3  # row 4 of manifest.csv


def test_long_tables_say_how_much_is_left(manifest):
    table = pd.DataFrame({"n": range(ROWS_SHOWN + 7)})
    assert "7 more" in read(laid_out(manifest, [finding(table=table)])).text


def test_cells_read_as_figures(manifest):
    table = pd.DataFrame({"n": [1234567], "share": [0.98765], "none": [np.nan], "yes": [True]})
    assert all(cell in read(laid_out(manifest, [finding(table=table)])).text for cell in ("1,234,567", "0.988", "–"))


def test_split_table_counts_every_image(manifest):
    text = read(laid_out(manifest, [])).text
    for name in ("train", "val", "test"):
        assert name in text
    assert "malignant (positive)" in text
    unsplit = manifest.with_rows(manifest.rows.assign(split=""))
    assert "13 (52.0%)" in read(laid_out(unsplit, [])).text


def test_stamps_stand_on_top(manifest):
    stamped = dataclasses.replace(manifest, watermarks=("SYNTHETIC: made by medcls",))
    text = laid_out(stamped, [])
    assert text.index("SYNTHETIC") < text.index("<h1>")
    assert "SYNTHETIC" in read(text).text


def test_the_record_is_json_without_nan(manifest):
    table = pd.DataFrame({"a": [1.5, np.nan], "b": ["x", None], "c": np.array([1, 2], dtype=np.uint64)})
    table["d"] = pd.array([7, pd.NA], dtype="Int64")
    values = {"n": np.int64(3), "share": np.float32(0.5), "nothing": float("nan"), "none": None}
    found = finding(table=table.rename_axis("row"), values=values, pairs=(Pair("a", "b", "c"),), exclude=("a",))
    text = json.dumps(without_nan(record(manifest, [found])), allow_nan=False)
    (entry,) = json.loads(text)["findings"]
    assert entry["values"] == {"n": 3, "share": 0.5, "nothing": None, "none": None}
    assert entry["table"] == [
        {"row": 0, "a": 1.5, "b": "x", "c": 1, "d": 7},
        {"row": 1, "a": None, "b": None, "c": 2, "d": None},
    ]
    assert entry["pairs"] == [{"first": "a", "second": "b", "caption": "c"}]
    assert entry["exclude"] == ["a"]


def test_the_list_of_exclusions_is_read_back(tmp_path):
    findings = [
        finding(check="first", exclude=("a/1.png", "#2.png", " spaced .png")),
        finding(check="second", exclude=("a/1.png", "乳/🙂.png", "two\nlines.png", "# comment.png")),
        finding(level="good", check="third"),
    ]
    text, listed, unlisted = exclusions(findings, before=["old.png", "a/1.png"])
    (tmp_path / "exclude.txt").write_text(text, encoding="utf-8")
    kept = ["old.png", "a/1.png", "#2.png", " spaced .png", "乳/🙂.png"]
    assert read_exclusions(Path(tmp_path / "exclude.txt")) == kept
    assert listed == len(kept)
    assert unlisted == ["two\nlines.png", "# comment.png"]
    assert f"# second: {findings[1].title}" in text
    assert exclusions([finding()]) == ("", 0, [])
