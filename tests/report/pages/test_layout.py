"""What the pages share: colours that can be read, tables that say what their rows are, names that stay hidden."""

import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medcls.report.pages import layout
from medcls.report.pages.layout import day_and_time, environment, mark_settings
from medcls.report.pages.names import Names
from medcls.report.pages.parts import Cell, Sheet, Thumbnail, numeric_sheet, splits_sheet

STYLE = (Path(layout.__file__).parent / "style.css").read_text(encoding="utf-8")


def made(source: str, **values: object) -> str:
    template = '{% from "macros.html.jinja" import badge, thumbnail, table %}' + source
    return environment(Path(layout.__file__).parent).from_string(template).render(**values)


def contrast(first: str, second: str) -> float:
    """WCAG 2.2: (L1 + 0.05) / (L2 + 0.05) of the relative luminances."""

    def luminance(colour: str) -> float:
        digits = "".join(2 * digit for digit in colour) if len(colour) == 3 else colour
        parts = np.array([int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)])
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_stands_out_from_its_ground(scheme):
    colours = dict(
        re.findall(r"--([\w-]+): #(\w+);", STYLE.split("@media screen and (prefers-color-scheme: dark)")[scheme])
    )
    pairs = [(name, f"on-{name}") for name in ("watermark", "error", "warning", "information", "good")]
    pairs += [(ground, ink) for ground in ("ground", "faint") for ink in ("ink", "soft", "link")]
    for ground, ink in pairs:
        assert contrast(colours[ground], colours[ink]) >= 7, (ground, ink)  # level AAA
    assert contrast(colours["bar"], colours["trough"]) >= 3  # a graphic


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("Set data.copies=drop_from_train.", "Set <code>data.copies=drop_from_train</code>."),
        (r"by data.group_pattern='(a \d+)'.", r"by <code>data.group_pattern=&#39;(a \d+)&#39;</code>."),
        ("data.locked_test=<its manifest.csv>", "<code>data.locked_test=&lt;its manifest.csv&gt;</code>"),
        ("loss.class_weights=balanced or", "<code>loss.class_weights=balanced</code> or"),
        ("(audit.fix=exclude)", "(<code>audit.fix=exclude</code>)"),
        ("<b>data.root=/x&y", "&lt;b&gt;<code>data.root=/x&amp;y</code>"),
        ("data.calibration_fraction cuts", "<code>data.calibration_fraction</code> cuts"),
        ("no setting, p = 0.5", "no setting, p = 0.5"),
    ],
)
def test_settings_are_set_as_what_is_typed(text, marked):
    assert mark_settings(text) == marked


def test_rows_and_columns_have_headings():
    sheet = numeric_sheet(["", "n"], [["<i>", "7"], [Cell("b", note="<why>"), Cell("0.5", 0.5)]])
    text = made('{{ table(sheet, "counts") }}', sheet=sheet)
    assert text.count('<th scope="row"') == 2
    assert '<th scope=col class="number"><bdi>n</bdi></th>' in text
    assert "<td></td>" in text  # an empty heading is none
    assert "&lt;i&gt;" in text and "&lt;why&gt;" in text and "<i>" not in text
    assert '<td class="number"><bdi>7</bdi></td>' in text
    assert "--share: 0.5000" in text
    assert "more" not in text


def test_a_cut_table_says_what_is_left():
    sheet = Sheet(("a",), (True,), ((Cell("1"),),), left=1234)
    assert "1,234 more" in made('{{ table(sheet, "x", "in audit.json") }}', sheet=sheet)
    assert "<th scope=row" not in made('{{ table(sheet, "x") }}', sheet=sheet)


def test_a_picture_that_cannot_be_shown_says_why():
    text = made("{{ thumbnail(one, name) }}", one=Thumbnail(reason="<empty>"), name='a"b')
    assert "&lt;empty&gt;" in text and "<img" not in text
    assert 'alt="a&#34;b"' in made("{{ thumbnail(one, name) }}", one=Thumbnail("data:,", 3, 4), name='a"b')


def test_splits_side_by_side():
    table = pd.DataFrame(
        {
            "split": ["train", "held_out"],
            "images": [1200, 10],
            "groups": [600, 10],
            "a: images": [300, 5],
            "a: share": [0.25, 0.5],
            "b: images": [900, 5],
            "b: share": [0.75, 0.5],
        }
    )
    sheet = splits_sheet(table, ["a", "b"], "b", groups=True)
    assert sheet.columns == ("", "train", "held out")
    assert [row[0].text for row in sheet.rows] == ["Images", "Groups", "a", "b (positive)"]
    assert sheet.rows[0][1].text == "1,200" and sheet.rows[3][1] == Cell("900 (75.0%)", 0.75)
    assert [row[0].text for row in splits_sheet(table, ["a", "b"], None, groups=False).rows] == ["Images", "a", "b"]
    table = table.assign(share=[0.99, 0.01], asked=[0.8, np.nan], independent=[550, 10])
    sheet = splits_sheet(table, ["a", "b"], "b", groups=True)
    assert [cell.text for cell in sheet.rows[1]][1:] == ["99.0% (80.0%)", "1.0% (–)"]
    assert [cell.text for cell in sheet.rows[3]][1:] == ["550", "10"]


@pytest.mark.wording
def test_hidden_names_stand_nowhere():
    files = {"/x/a.png": "image 1", "a.png": "image 1", "/x": "the folder"}
    names = Names(files | {"7": "group 1", "1044": "group 2", "p12a": "group 3"})
    assert [names.of(name) for name in ("7", "1044", "p12a")] == ["group 1", "group 2", "group 3"]
    assert names.within("n = 1044 images of p12a, 7 of them") == "n = 1044 images of group 3, 7 of them"
    assert names.within("/x/a.png, a.png and /x/b of 77") == "image 1, image 1 and the folder/b of 77"
    # A number or a short word is known by its quotation marks.
    short = Names({"7": "group 1", "ab1": "group 2", "a,b": "group 3"})
    assert short.within("7 images of '7', and \"ab1\" of ab1") == "7 images of 'group 1', and \"group 2\" of ab1"
    assert short.within("'77' 'ab12' a,b") == "'77' 'ab12' group 3"
    assert Names({}).of("a\nb") == r"'a\nb'"
    assert Names({}).within("a\nb") == "a\nb"


def test_the_day_is_written_out():
    assert day_and_time(datetime(2026, 3, 1, 9, 5, tzinfo=UTC)) == "1 March 2026, 09:05 UTC"
