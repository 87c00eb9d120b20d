"""A row's file is where the row says, found by a stated rule, or missing."""

import os
import shutil
from pathlib import Path

import pandas as pd
import pytest
from made_sets import named_files
from refusals import noted, refused

from medcls.data.sources import file_search
from medcls.data.sources.file_search import find_files


def found(root: Path, *wanted: str) -> tuple[list[str | None], list[str]]:
    paths = pd.Series(wanted, index=range(2, 2 + len(wanted)))
    digits = paths.str.fullmatch(r"\d+(\.\w+)?")
    places, notes = find_files(root, paths, digits)
    return [places.get(path) for path in wanted], notes


SPELLING, ENDING, SUB_FOLDER = file_search.SEARCHES


@pytest.mark.parametrize(
    ("there", "wanted", "taken", "way"),
    [
        ("x.JPG", "x.jpg", "x.JPG", SPELLING),
        ("X.jpg", "x.jpg", "X.jpg", SPELLING),
        ("x.jpg", "x", "x.jpg", SPELLING),
        ("x.Jpeg", "X", "x.Jpeg", SPELLING),
        ("x.png", "x.png.jpg", "x.png", SPELLING),
        ("v1.2.png", "v1.2", "v1.2.png", SPELLING),
        ("x.png", "x.jpg", "x.png", ENDING),
        ("part_2/x.jpg", "x.jpg", "part_2/x.jpg", SUB_FOLDER),
        ("part_2/X.JPG", "x.jpg", "part_2/X.JPG", SUB_FOLDER),
        ("part_2/x.png", "x", "part_2/x.png", SUB_FOLDER),
        ("set/p1/x.jpg", "p1/x.jpg", "set/p1/x.jpg", SUB_FOLDER),
        ("0007.jpg", "7.jpg", "0007.jpg", file_search.BY_NUMBER),
        ("part_2/0007.JPG", "7", "part_2/0007.JPG", file_search.BY_NUMBER),
    ],
)
def test_a_file_that_is_not_where_its_row_says_is_found_and_said(tmp_path, there, wanted, taken, way):
    named_files(tmp_path, there)
    places, notes = found(tmp_path, wanted)
    assert places == [taken]
    assert len(notes) == 1 and noted(notes, "1", way.words, f"{taken} for {wanted}")


@pytest.mark.parametrize(
    ("there", "wanted"),
    [
        ("p2/1.png", "p1/1.png"),  # another patient's
        ("masks/x.png", "x.jpg"),  # elsewhere and of another kind
        ("x_mask.png", "x.png"),
        ("x.txt", "x.jpg"),
        ("a0007.jpg", "a7.jpg"),  # an id with letters has lost no zeros
        ("17.jpg", "7.jpg"),
        (".hidden/x.jpg", "x.jpg"),
        ("__MACOSX/x.jpg", "x.jpg"),
    ],
)
def test_another_picture_is_never_taken(tmp_path, there, wanted):
    named_files(tmp_path, there)
    assert found(tmp_path, wanted)[0] == [None]


def test_zeros_are_lost_by_all_or_by_none(tmp_path):
    named_files(tmp_path, "0007.jpg", "0008.jpg", "0009.jpg")
    assert found(tmp_path, "7.jpg", "8.jpg", "0009.jpg")[0] == ["0007.jpg", "0008.jpg", "0009.jpg"]
    assert found(tmp_path, "7.jpg", "x8.jpg")[0] == [None, None]


def test_several_files_for_one_row_are_an_error_that_names_them(tmp_path):
    named_files(tmp_path, "one/x.jpg", "two/x.jpg", "y.png", "y.gif", "007.jpg", "07.jpg")
    for wanted, names in (("x.jpg", "one/x.jpg, two/x.jpg"), ("y", "y.gif, y.png"), ("7.jpg", "007.jpg, 07.jpg")):
        with refused("ambiguous_file", f"line 2: {wanted} ", f" {names}\n", "data.path_template"):
            found(tmp_path, wanted)


def test_of_copies_the_first_is_taken_and_said(tmp_path):
    named_files(tmp_path, "one/x.jpg")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    places, notes = found(tmp_path, "x.jpg")
    assert places == ["one/x.jpg"]
    assert len(notes) == 3 and noted(notes[1:2], "1", "one/x.jpg", "two/x.jpg")
    assert noted(notes[2:], "1 image file", tmp_path.name)


def test_a_link_that_leads_back_up_ends(tmp_path):
    named_files(tmp_path, "a1.png", "b/A2.JPG", "b/notes.txt", "b/.half.png", ".cache/x.png")
    os.symlink(tmp_path, tmp_path / "again")
    assert file_search.images_below(tmp_path) == ["a1.png", "b/A2.JPG"]


def test_ham10000_on_kaggle_has_every_folder_twice(tmp_path):
    named_files(tmp_path, *(f"HAM10000_images_part_{1 + number % 2}/ISIC_{number}.jpg" for number in range(6)))
    for part in (1, 2):
        shutil.copytree(tmp_path / f"HAM10000_images_part_{part}", tmp_path / f"ham10000_images_part_{part}")
    places, notes = found(tmp_path, *(f"ISIC_{number}.jpg" for number in range(6)))
    assert places[:2] == ["HAM10000_images_part_1/ISIC_0.jpg", "HAM10000_images_part_2/ISIC_1.jpg"]
    assert len(notes) == 3


def test_each_row_is_looked_for_where_it_says_before_anywhere_else(tmp_path):
    named_files(tmp_path, "x.jpg", "part/x.jpg", "X.jpg", "table.txt")
    assert found(tmp_path, "x.jpg", "part/x.jpg", "x.jpg", "table.txt")[0] == [
        "x.jpg",
        "part/x.jpg",
        "x.jpg",
        "table.txt",
    ]
    assert found(tmp_path)[0] == []


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("a//b/./c.png", "a/b/c.png"),
        ("a\\b.png", "a/b.png"),
        ("ROOT/a.png", "a.png"),
        ("a/../b.png", "b.png"),
        ("..a/b.png", "..a/b.png"),
        ("C.png", "C.png"),
    ],
)
def test_paths_below_the_root_get_one_form(tmp_path, path, form):
    paths = pd.Series([path.replace("ROOT", str(tmp_path))], index=[7])
    below = file_search.below_root(paths, tmp_path)
    assert below.tolist() == [form] and below.index.tolist() == [7]


def test_paths_outside_the_root_are_named_with_their_lines(tmp_path):
    paths = pd.Series(["a.png", "../b.png", "/c.png", "D:\\d.png", ".."], index=[2, 3, 4, 5, 9])
    with refused("file_outside_root", "4 row", "line 3: ../b.png", "line 4: /c.png", "line 5: D:\\d.png", "line 9: .."):
        file_search.below_root(paths, tmp_path)


def test_lines_are_named_in_the_singular_and_the_plural():
    assert file_search.lines_of(pd.Index([4])) == "line 4"
    assert file_search.lines_of(pd.Index([4, 9])).startswith("lines 4")


def test_every_search_keeps_the_key_of_a_file():
    """Only files with the key of a row's path are compared with it."""
    pairs = [("x.JPG", "X"), ("x.png", "x.png.jpg"), ("a/0007.JPG", "7"), ("b/V01.2.tif", "v1.2"), ("x.jpg", "x.png")]
    for file, requested in pairs:
        assert any(search.finds(file, requested) for search in (*file_search.SEARCHES, file_search.BY_NUMBER))
        assert file_search.search_key(file) == file_search.search_key(requested)
