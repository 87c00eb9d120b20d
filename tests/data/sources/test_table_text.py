"""A table as text: encodings, separators and line ends are read; what is no table is named with its line."""

import pandas as pd
import pytest
from refusals import noted, refused

from medcls.data.sources.table_text import check_column, header_width, read_table, read_text, shown


@pytest.fixture
def write(tmp_path):
    """Write a table, and give its path."""

    def write(text: str | bytes):
        path = tmp_path / "table.csv"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


GOOD = "path,label\na1.png,a\na2.png,a\nb1.png,b\nb2.png,b\n"


@pytest.mark.parametrize(
    ("text", "note"),
    [
        (GOOD, None),
        ("\ufeff" + GOOD, None),
        (GOOD.replace("\n", "\r\n"), None),
        (GOOD.replace(",", " , "), None),
        (GOOD + "\n\n", None),
        (GOOD.rstrip("\n"), None),
        (GOOD.replace("a1.png", '"a1.png"'), None),
        (GOOD.replace(",", ";"), "semicolons"),
        (GOOD.replace(",", "\t"), "tabs"),
        (GOOD.replace("\n", ",\n"), " 1 column"),
        (GOOD.encode("utf-16"), None),
    ],
    ids=["plain", "BOM", "CRLF", "blanks", "empty lines", "no last newline", "quotes", ";", "tab", "index", "UTF-16"],
)
def test_tables_in_every_dress(write, text, note):
    cells, notes = read_table(write(text))
    assert cells.to_numpy().tolist() == [[f"{x}.png", x[0]] for x in ("a1", "a2", "b1", "b2")]
    assert list(cells.columns) == ["path", "label"] and cells.index.tolist() == [2, 3, 4, 5]
    assert len(notes) == (note is not None)
    assert note is None or (note in notes[0] and "table.csv" in notes[0])


def test_quoted_cells_hold_separators_and_newlines_and_the_lines_are_those_of_the_file(write):
    text = 'path,label,note\na1.png,a,"x, y\nz"\na2.png,a,\nb1.png,b,"say ""no"""\nb2.png,,\n'
    cells, _ = read_table(write(text))
    assert cells["note"].tolist() == ["x, y\nz", "", 'say "no"', ""]
    assert cells.index.tolist() == [3, 4, 5, 6], "the line on which each row ends, as an editor counts"


@pytest.mark.parametrize(
    ("text", "kind", "names"),
    [
        ("", "unreadable_table", ("commas, semicolons, tabs",)),
        ("path\na1.png\n", "unreadable_table", ("1 column", ": path.")),
        ("path|label\na1.png|a\n", "unreadable_table", ("path|label", "commas, semicolons, tabs")),
        ("path,label\n", "no_rows", ()),
        (GOOD.replace("b1.png,b", "b1.png,b,c"), "ragged_rows", ("(path, label)", "line 4: 3")),
        (GOOD.replace("b1.png,b", "b1.png"), "ragged_rows", ("line 4: 1",)),
        (GOOD.replace("\n", ",x\n").replace("label,x", "label,label"), "column_twice", ("label",)),
        (GOOD.replace("b1.png", '"b1.png'), "unreadable_table", ("line 5",)),
        (GOOD.replace(",a", ",bösartig").encode("latin-1"), "not_utf8", ("data.csv", "line 2")),
        (b"PK\x03\x04 and so on", "unreadable_table", ("data.csv",)),
        (GOOD.replace("b1.png", "b1\0.png"), "unreadable_table", ("data.csv", "line 4")),
        (GOOD.encode("utf-16")[2:], "unreadable_table", ("data.csv", "line 1")),
        (GOOD + "\ufeff" + GOOD, "unreadable_table", ("line 6",)),
        (GOOD.replace("b1.png", "x" * 200_000), "unreadable_table", ("line 4", "131072")),
        ("x" * 200_000 + "," + GOOD, "unreadable_table", ("line 1", "131072")),
        (GOOD.replace("a1.png", 'a1"x".png').replace("b2", '"b2'), "unreadable_table", ("line 5",)),
        (GOOD.replace("b1.png,b", "b1.png\rx,b"), "ragged_rows", ("(path, label)", "line 4: 1")),
    ],
)
def test_what_is_no_table_is_named(write, text, kind, names):
    with refused(kind, "table.csv", *names):
        read_table(write(text))


@pytest.mark.parametrize("line", ["sep=;\n", '"sep=;"\r\n', "SEP=;\n"])
def test_excels_line_of_the_separator_is_no_row(write, line):
    text = line + "path;label;note\na1.png;a;x,y,z,v\na2.png;a;\nb1.png;b;\nb2.png;b;1\n"
    cells, notes = read_table(write(text))
    assert cells["label"].tolist() == ["a", "a", "b", "b"]
    assert cells.index.tolist() == [3, 4, 5, 6], "as an editor counts"
    assert noted(notes, "table.csv", "semicolons")
    assert read_table(write(text.replace(";", "|")))[0]["label"].tolist() == ["a", "a", "b", "b"]
    with refused("unreadable_table", "0 column"):
        read_table(write(line))


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_lines_end_as_any_system_ends_them(write, ending):
    same = read_table(write(GOOD.replace("\n", ending)))[0]
    assert same.equals(read_table(write(GOOD))[0]) and same.index.tolist() == [2, 3, 4, 5]


def test_a_table_of_one_column_is_read_where_it_is_enough(write):
    text = "path\na1.png\na2.png\n"
    assert read_table(write(text), fewest_columns=1)[0]["path"].tolist() == ["a1.png", "a2.png"]
    with refused("unreadable_table", "1 column"):
        read_table(write(text))
    for empty in ("", "\n\n"):
        with refused("unreadable_table"):
            read_table(write(empty), fewest_columns=1)


def test_a_text_that_cannot_be_opened_is_named_with_its_setting(tmp_path, write):
    for path, names in ((tmp_path, ()), (tmp_path / "none.csv", ("none.csv",))):
        with refused("unreadable_file", "data.labels", *names):
            read_text(path, "data.labels")
    with refused("unreadable_table", "data.labels"):
        read_text(write(b"\xd0\xcf\x11\xe0 and so on"), "data.labels")  # an old .xls
    assert read_text(write("\ufeffé\n"), "data.labels") == "é\n"


def test_the_width_of_a_header_counts_quoted_cells_once():
    assert header_width('"a,b",c\nd', ",") == 2
    assert header_width("", ",") == 0
    assert header_width("x" * 200_000, ",") == 0


def test_a_column_is_one_that_the_table_has():
    cells = pd.DataFrame({"age": ["1"], "sex": ["f"]})
    check_column(cells, "age", "data.group_column")
    with refused("unknown_column", "data.group_column", "'agee'", "age, sex", "age?"):
        check_column(cells, "agee", "data.group_column")
    for name in (["age"], None, 3):
        with refused("bad_value", "data.group_column"):
            check_column(cells, name, "data.group_column")


def test_long_and_odd_names_of_columns_are_shown_shortened_on_one_line():
    text = shown(["a\nb", "x" * 100, *map(str, range(100))])
    assert "\n" not in text and "x" * 60 in text and "x" * 61 not in text
    assert "99" not in text
