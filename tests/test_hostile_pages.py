"""Names of classes, files, groups, runs and periods that are HTML, scripts or formulas are text in each page."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from entry_points import run_main
from html_pages import read
from made_study import EMPTY, predictions

from medcls import monitor
from medcls.evaluation.label_errors import label_errors
from medcls.report.label_page import label_page
from medcls.report.pages.layout import environment, markdown_environment

KEPT = Path(__file__).parent / "earlier_runs" / "2026-11-30" / "run"

SCRIPT = "<script>alert(1)</script>"
IMAGE = "<img src=x onerror=alert(1)>"
ATTRIBUTE = '" onmouseover="alert(1)" x=\''
FORMULA = '=HYPERLINK("http://a.example","b")'


def check_harmless(page: str) -> str:
    """The text of a page, in which nothing runs and nothing is loaded."""
    reader = read(page)
    tags = {tag for tag, _ in reader.tags}
    assert tags.isdisjoint({"script", "iframe", "object", "embed", "form", "base", "input", "foreignobject"}), tags
    for tag, attributes in reader.tags:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("data:image/", "data:,", "#")), (tag, attributes)
    assert "default-src 'none'" in page
    return reader.text


@pytest.fixture
def run(tmp_path, monkeypatch) -> Path:
    """A finished run with a hostile watermark, in the current folder."""
    run = Path(shutil.copytree(KEPT, tmp_path / "run"))
    config = run / "config.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace("@HERE@", str(tmp_path)), encoding="utf-8")
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    (run / "metrics.json").write_text(json.dumps(metrics | {"stamps": [IMAGE]}), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return run


def test_a_monitoring_of_hostile_tables(run, tmp_path):
    new = pd.read_csv(run / "predictions" / "test.csv", dtype=str).drop(columns=["label", "split"])
    new = pd.concat([new] * 6, ignore_index=True)  # enough for a row of each period
    names = [SCRIPT, IMAGE, ATTRIBUTE, FORMULA, "@SUM(A1)"]
    new["path"] = [f"{names[number % len(names)]}{number}.png" for number in range(len(new))]
    new["group"] = [f"{names[number % len(names)]}{number}" for number in range(len(new))]
    (tmp_path / "new").mkdir()
    # The period is the name of the table.
    periods = [name.replace("/", "") for name in (SCRIPT, IMAGE, FORMULA)]
    for number, period in enumerate(periods):
        new.iloc[number::3].to_csv(tmp_path / "new" / f"{period}.csv", index=False)
    run_main(monitor.main, "run=run", "predictions=new", "resamples=100", "hydra.run.dir=out")
    text = check_harmless((tmp_path / "out" / "monitor.html").read_text(encoding="utf-8"))
    assert IMAGE in text and periods[0] in text
    table = pd.read_csv(tmp_path / "out" / "periods.csv", dtype=str, keep_default_na=False)
    cells = [*table.to_numpy().ravel(), *table.columns]
    assert not any(cell.startswith(("=", "@", "+", "\t")) for cell in cells)
    assert any(cell.startswith("'=") for cell in cells)


def test_a_page_of_suspected_labels_with_hostile_names():
    classes = (SCRIPT, "ill")
    table = predictions("out_of_fold", n=400, seed=1, signal=2.5, classes=classes)
    other = table.rows["label"].map(dict(zip(classes, classes[::-1], strict=True)))
    label = table.rows["label"].where(table.rows.index % 10 != 0, other)
    paths = [f"{(IMAGE, ATTRIBUTE, FORMULA)[number % 3]}{number}" for number in range(len(label))]
    found = label_errors(dataclasses.replace(table, rows=table.rows.assign(label=label, path=paths)))
    sources = dataclasses.replace(EMPTY, name=SCRIPT, watermarks=(IMAGE,))
    text = check_harmless(label_page(found, sources, paths=True))
    assert SCRIPT in text and IMAGE in text and found.rows["path"].iloc[0] in text


@pytest.mark.parametrize("text", [SCRIPT, IMAGE, ATTRIBUTE, "[a](javascript:alert(1))", "<a href='javascript:x'>"])
def test_what_every_page_does_with_a_text(tmp_path, text):
    (tmp_path / "page.html").write_text('<p title="{{ text }}">{{ text }} {{ text | settings }}</p>')
    (tmp_path / "page.md").write_text("{{ text }}")
    page = read(environment(tmp_path).get_template("page.html").render(text=text))
    assert page.tags == [("p", {"title": text})]
    card = markdown_environment(tmp_path).get_template("page.md").render(text=text)
    assert "<script" not in card and "<img" not in card and "<a" not in card and not re.search(r"(?<!\\)\]\(", card)
