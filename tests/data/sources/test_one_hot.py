"""A column for each class is one label."""

import io

import pandas as pd
import pytest
from refusals import refused

from medcls.data.sources.one_hot import looks_one_hot, one_hot_labels

ISIC = "image,MEL,NV,BCC\na1.png,1.0,0.0,0.0\na2.png,0.0,1.0,0.0\nb1.png,0,1,0\nb2.png,0.0,0.0,1.0\n"
CLASSES = ["MEL", "NV", "BCC"]


def cells_of(text: str) -> pd.DataFrame:
    """A table as `read_table` gives it: text, indexed by line."""
    cells = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    return cells.set_axis(pd.RangeIndex(2, 2 + len(cells)))


def test_the_one_column_with_1_is_the_class():
    labels = one_hot_labels(cells_of(ISIC), CLASSES)
    assert labels.to_dict() == {2: "MEL", 3: "NV", 4: "NV", 5: "BCC"}
    assert one_hot_labels(cells_of('x,y\n1.,0\n0,"1,0"\n'), ["x", "y"]).tolist() == ["x", "y"]
    assert one_hot_labels(cells_of(ISIC)[:0], CLASSES).tolist() == []


@pytest.mark.parametrize(
    ("text", "columns", "kind", "names"),
    [
        (ISIC, ["MEL", "NVV"], "unknown_column", ("'NVV'", "image, MEL, NV, BCC", "NV?")),
        (ISIC, ["MEL", 5], "bad_value", ("5",)),
        (ISIC, ["MEL", "NV"], "no_label", ("MEL, NV ", "line 5")),
        (
            ISIC.replace("a1.png,1.0,0.0", "a1.png,1.0,1.0"),
            CLASSES,
            "out_of_scope",
            ("line 2", "MEL and NV", "multi-label"),
        ),
        (ISIC.replace("a2.png,0.0", "a2.png,0.3"), CLASSES, "bad_cell", ("MEL", "\n  line 3: '0.3'")),
        (ISIC.replace("a2.png,0.0", "a2.png,"), CLASSES, "bad_cell", ("MEL", "\n  line 3: ''")),
        (ISIC, ["MEL"], "bad_value", ("['MEL']",)),
        (ISIC, ["MEL", "MEL"], "bad_value", ("['MEL', 'MEL']",)),
        (ISIC, [], "bad_value", ("[]",)),
    ],
)
def test_columns_that_are_no_class_each_are_named(text, columns, kind, names):
    with refused(kind, "data.label_column", *names):
        one_hot_labels(cells_of(text), columns)


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        (ISIC, CLASSES),
        (ISIC.replace("b2.png,0.0,0.0,1.0", "b2.png,0.0,0.0,0.0"), []),
        (ISIC.replace("b2.png,0.0,0.0,1.0", "b2.png,0.0,1.0,1.0"), []),
        ("image,label\na.png,1\nb.png,1\n", []),  # one column is not one for each class
        ("image,label\na.png,x\n", []),
    ],
)
def test_columns_look_one_hot_if_each_row_has_exactly_one_1(text, columns):
    assert looks_one_hot(cells_of(text)) == columns
