"""The images that a person names: each file once, in a fixed order, and what is left out is noted."""

import os
from pathlib import Path

import pytest
from refusals import noted, refused

from medcls.data.sources import file_names
from medcls.data.sources.named_images import named_images


@pytest.fixture
def scans(tmp_path, picture, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("b/2.png", "b/10.jpg", "a.png", "b/c/deep.PNG", ".hidden/x.png", "b/.x.png", "__MACOSX/a.png"):
        picture(tmp_path / "scans" / name, len(name))
    (tmp_path / "scans" / "b" / "notes.txt").touch()
    (tmp_path / "scans" / "Thumbs.db").touch()
    return tmp_path / "scans"


def shown(*named: str) -> list[str]:
    return [path for path, _ in named_images(named)]


def test_a_folder_has_its_images_at_any_depth(scans):
    found = named_images(["scans"])
    assert shown("scans") == ["scans/a.png", "scans/b/10.jpg", "scans/b/2.png", "scans/b/c/deep.PNG"]
    assert len(found) == 4 and all(os.path.isfile(file) for _, file in found)
    assert noted(found.notes, "txt") and noted(found.notes, "1", "hidden")


def test_a_file_is_taken_whatever_its_name(scans):
    assert shown("scans/b/notes.txt") == ["scans/b/notes.txt"]


def test_a_pattern_has_the_files_that_match(scans):
    assert shown("scans/*.png") == ["scans/a.png"]
    assert shown("scans/**/*.[jp][pn]g") == ["scans/a.png", "scans/b/10.jpg", "scans/b/2.png"]


@pytest.mark.parametrize(
    "text", ["path\nb/2.png\na.png\n", "id;path\n1;b/2.png\n2;a.png\n", "\ufeffpath,x\nb/2.png,\na.png,\n"]
)
def test_a_table_has_its_rows_in_their_order(scans, text):
    (scans / "list.csv").write_text(text, encoding="utf-8")
    assert list(named_images(["scans/list.csv"])) == [("b/2.png", "scans/b/2.png"), ("a.png", "scans/a.png")]


def test_paths_in_a_table_may_be_absolute_escaped_or_repeated(scans, picture):
    picture(scans / "=x.png", 50)
    (scans / "list.csv").write_text(f"path\n{scans}/a.png\n'=x.png\n{scans}/a.png\n", encoding="utf-8")
    found = named_images(["scans/list.csv"])
    assert list(found) == [(f"{scans}/a.png", f"{scans}/a.png"), ("=x.png", "scans/=x.png")]
    assert noted(found.notes, "1", "list.csv")


def test_p59_several_are_taken_together_each_file_once(scans):
    found = named_images(["scans/b/2.png", "scans", f"{scans}/a.png"])
    assert [path for path, _ in found] == ["scans/b/2.png", "scans/a.png", "scans/b/10.jpg", "scans/b/c/deep.PNG"]
    assert noted(found.notes, "2")


def test_the_order_and_the_fingerprint_do_not_depend_on_the_file_system(scans, monkeypatch):
    real, found = file_names.entries, []
    for backwards in (False, True):
        order = {"key": lambda entry: entry.name, "reverse": backwards}
        monkeypatch.setattr(file_names, "entries", lambda at, order=order: sorted(real(at), **order))
        found.append(named_images(["scans"]))
    assert list(found[0]) == list(found[1]) and found[0].fingerprint() == found[1].fingerprint()
    (scans / "a.png").rename(scans / "z.png")
    assert named_images(["scans"]).fingerprint() != found[0].fingerprint()


@pytest.mark.parametrize(
    ("named", "kind"),
    [
        ("nowhere", "no_such_file"),
        ("nowhere/*.png", "no_images"),
        ("none", "no_images"),
        ("other.csv", "unknown_column"),
        ("gap.csv", "missing_path"),
        ("empty.csv", "unreadable_table"),
    ],
)
def test_what_names_no_image_is_refused(scans, named, kind):
    Path("none").mkdir()
    Path("none/notes.txt").touch()
    Path("other.csv").write_text("file,label\na.png,x\n")
    Path("gap.csv").write_text("path,label\n,x\n")
    Path("empty.csv").touch()
    with refused(kind):
        named_images([named])


def test_a_broken_link_is_listed_and_fails_when_it_is_read(scans):
    (scans / "link.png").symlink_to(scans / "gone")
    assert "scans/link.png" in shown("scans") and shown("scans/link.png") == ["scans/link.png"]
