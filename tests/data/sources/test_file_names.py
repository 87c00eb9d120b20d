"""Each file below a folder once, in the same order everywhere, without what is hidden."""

import os

import pytest
from made_sets import named_files
from refusals import noted, refused

from medcls.data.sources import file_names
from medcls.data.sources.folders import from_folders, list_images


def test_p05_order_does_not_depend_on_the_file_system(folder, monkeypatch):
    root = folder({"a": 4, "b": 4, "b c": 4})  # "b c/" sorts before "b/"
    real = file_names.entries
    fingerprints = []
    for step in (1, -1):
        monkeypatch.setattr(
            file_names, "entries", lambda at, s=step: sorted(real(at), key=lambda entry: entry.name)[::s]
        )
        manifest = from_folders(root)
        assert manifest.rows["path"].tolist() == [f"{label}/00{n}.png" for label in ("a", "b c", "b") for n in range(4)]
        assert manifest.rows["label"].tolist() == ["a"] * 4 + ["b c"] * 4 + ["b"] * 4
        fingerprints.append(manifest.fingerprint())
    assert fingerprints[0] == fingerprints[1]


def test_p05_of_two_ways_to_a_folder_the_same_is_taken_everywhere(folder, picture, monkeypatch):
    root = folder({"a": 2, "b": 2})
    picture(root / "a" / "m" / "x.png", 900)
    (root / "a" / "z").symlink_to(root / "a" / "m")
    real = file_names.entries
    for backwards in (False, True):
        order = {"key": lambda entry: entry.name, "reverse": backwards}
        monkeypatch.setattr(file_names, "entries", lambda at, order=order: sorted(real(at), **order))
        assert "a/m/x.png" in set(list_images(root)[0]["path"])


def test_a_folder_behind_a_link_is_listed_once_whichever_way_comes_first(folder, picture):
    root = folder({"a": 2, "b": 2})
    picture(root / "a" / "z" / "x.png", 900)
    (root / "a" / "m").symlink_to(root / "a" / "z")
    rows, notes = list_images(root)
    assert [path for path in rows["path"] if path.endswith("x.png")] == ["a/m/x.png"]
    assert noted(notes, "1", "a/z")


def test_a_folder_that_cannot_be_listed_stops_and_is_named(folder, monkeypatch):
    root = folder({"a": 2, "b/deep": 2})
    real = os.scandir

    def forbidding(at):
        if str(at).endswith("deep"):
            raise PermissionError(13, "Permission denied", str(at))
        return real(at)

    monkeypatch.setattr(os, "scandir", forbidding)
    with refused("unreadable_folder", "b/deep", "Permission denied"):
        list_images(root)


def test_hidden_folders_and_files_are_skipped_at_any_depth(folder, picture):
    root = folder({"a": 2, "b": 2})
    picture(root / "a" / ".ipynb_checkpoints" / "000-checkpoint.png", 900)
    picture(root / "b" / "deep" / ".cache" / "deeper" / "x.png", 901)
    rows, notes = list_images(root)
    assert len(rows) == 4
    assert notes == []
    picture(root / "b" / ".half.png", 902)
    (root / "b" / ".marker").write_text("x")
    rows, notes = list_images(root)
    assert len(rows) == 4
    assert len(notes) == 1 and noted(notes, "1", "b/.half.png")


def test_links_that_lead_back_list_no_image_twice(folder):
    root = folder({"a": 2, "b": 2})
    for name in ("one", "two", "three"):  # torchvision's own listing would not come back from these
        (root / "a" / name).symlink_to(root / "a")
    rows, notes = list_images(root)
    assert sorted(rows["path"]) == ["a/000.png", "a/001.png", "b/000.png", "b/001.png"]
    assert len(notes) == 1 and noted(notes, "3", "a/one")


def test_each_file_is_named_by_its_folder_and_its_name(tmp_path):
    named_files(tmp_path, "x.txt", "b/y", "b/c/z.png", "__MACOSX/x", ".git/x", "b/.hidden")
    (tmp_path / "empty").mkdir()
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")  # a link that leads nowhere is listed, and reported when read
    repeated = []
    listed = sorted(file_names.files_below(tmp_path, "", repeated))
    assert listed == [("", "nowhere"), ("", "x.txt"), ("b/", ".hidden"), ("b/", "y"), ("b/c/", "z.png")]
    assert sorted(file_names.files_below(str(tmp_path), "b", repeated)) == listed[2:] and repeated == []
    assert list(file_names.files_below(tmp_path, "empty", repeated)) == []
    assert file_names.subfolders(tmp_path) == ["b", "empty"]


def test_of_two_paths_to_a_folder_the_first_in_the_alphabet_is_listed(tmp_path):
    named_files(tmp_path, "m/x", "z/y")
    (tmp_path / "a").symlink_to(tmp_path / "m")
    (tmp_path / "m" / "up").symlink_to(tmp_path)
    repeated = []
    assert list(file_names.files_below(tmp_path, "", repeated)) == [("a/", "x"), ("z/", "y")]
    assert repeated == ["a/up", "m"]


@pytest.mark.parametrize("name", ["gone", "file"])
def test_what_is_no_folder_cannot_be_listed(tmp_path, name):
    named_files(tmp_path, "file")
    for list_it in (file_names.entries, file_names.subfolders, lambda at: list(file_names.files_below(at, "", []))):
        with refused("unreadable_folder", str(tmp_path / name)):
            list_it(tmp_path / name)
