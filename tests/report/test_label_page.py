import dataclasses
import datetime

from html_pages import read
from made_study import EMPTY, predictions

from medcls.evaluation.label_errors import label_errors
from medcls.report.label_page import SHOWN, label_list, label_page
from medcls.report.pages.parts import Thumbnail

SOURCES = dataclasses.replace(
    EMPTY,
    name="phantoms",
    made=datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.UTC),
    thumbnail=lambda path: Thumbnail(reason=f"looked for {path}"),
)


def suspects(n=400):
    """One label in ten is the other class."""
    table = predictions("out_of_fold", n=n, seed=1, signal=2.5)
    flipped = table.rows["label"].map({"ill": "other", "other": "ill"}).where(table.rows.index % 10 == 0)
    return label_errors(dataclasses.replace(table, rows=table.rows.assign(label=flipped.fillna(table.rows["label"]))))


def test_each_suspect_has_its_image_and_both_labels():
    found = suspects()
    text = read(label_page(found, SOURCES, paths=True)).text
    first = found.rows.iloc[0]
    assert 0 < len(found.rows) <= SHOWN and f"looked for {first['path']}" in text
    assert all(path in text for path in found.rows["path"])


def test_without_paths_suspects_are_numbered():
    found = suspects()
    page = label_page(found, dataclasses.replace(SOURCES, thumbnail=None), paths=False)
    assert not any(path in page for path in found.rows["path"]) and "image 1 of label_errors.csv" in page


def test_the_list_has_one_path_a_line_below_its_reason():
    found = suspects()
    lines = label_list(found).splitlines()
    assert [line for line in lines if not line.startswith("# ")] == found.rows["path"].tolist()
    odd = dataclasses.replace(found, rows=found.rows.iloc[:2].assign(path=["a\nb.png", "# c.png"]))
    assert all(line.startswith("# ") for line in label_list(odd).splitlines()), "no path that a list cannot hold"
