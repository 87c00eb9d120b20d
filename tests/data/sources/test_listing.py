"""The images of class folders, in torchvision's form."""

import shutil

import numpy as np
import pytest
from made_files import dicom_bytes, dicom_slice
from refusals import noted
from torchvision.datasets import ImageFolder

from medcls.data.sources.folders import list_images
from medcls.data.sources.listing import ClassFolders, Samples


def test_litter_is_neither_class_nor_image(folder):
    root = folder({"a": 2, "b": 2})
    (root / "__MACOSX" / "a").mkdir(parents=True)
    shutil.copy(root / "a" / "000.png", root / "__MACOSX" / "a" / "._000.png")
    for name in (".DS_Store", "a/.DS_Store", "a/Thumbs.db", "b/._000.png"):
        (root / name).write_bytes(b"litter")
    rows, notes = list_images(root)
    assert sorted(rows["path"]) == ["a/000.png", "a/001.png", "b/000.png", "b/001.png"]
    assert notes == []


def test_what_is_no_image_is_left_out_aloud(folder):
    root = folder({"a": 2, "b": 2})
    (root / "a" / "notes.txt").write_text("x")
    shutil.copy(root / "a" / "000.png", root / "loose.png")
    _, notes = list_images(root)
    assert len(notes) == 2 and noted(notes, "1", ".txt 1", "notes.txt") and noted(notes, "1", "loose.png")


def test_image_folder_itself_still_works_on_a_listing(folder):
    root = folder({"train/a": 2, "train/b": 3})
    listed = ClassFolders(root / "train")
    same = ImageFolder(str(root / "train"))
    assert list(listed.samples) == same.samples
    assert [listed.samples[number] for number in range(-5, 5)] == same.samples * 2
    assert listed.samples[1:4] == same.samples[1:4]
    assert (listed.targets, listed.classes, len(listed)) == (same.targets, same.classes, 5)
    assert listed[4][1] == 1 and listed[4][0].size == same[4][0].size
    with pytest.raises(IndexError):
        listed.samples[5]


def test_samples_are_a_sequence_whatever_classes_are_empty():
    samples = Samples("/images", [[], ["b/1.png"], [], ["d/1.png", "d/2.png"], []])
    pairs = [("/images/b/1.png", 1), ("/images/d/1.png", 3), ("/images/d/2.png", 3)]
    assert list(samples) == [samples[number] for number in range(3)] == samples[:] == pairs
    assert samples[-1] == pairs[-1] and samples[::-2] == pairs[::-2] and pairs[1] in samples
    empty = Samples("/images/", [[], []])
    assert (len(empty), list(empty), empty[:]) == (0, [], [])
    for several, number in ((samples, 3), (samples, -4), (empty, 0)):
        with pytest.raises(IndexError):
            several[number]


def test_what_is_not_listed_is_recorded_for_who_reports_it(folder, picture):
    root = folder({"a": 1, "b": 0})
    picture(root / "a" / ".half.png", 1)
    (root / "a" / "deep").mkdir()
    (root / "a" / "deep" / "again").symlink_to(root / "a")
    for name in ("deep/notes.txt", ".marker", "Thumbs.db"):
        (root / "a" / name).write_text("x")
    for name in ("IM0001", ".IM0002"):  # scanners give DICOM files no extension
        (root / "a" / name).write_bytes(dicom_bytes(dicom_slice(np.zeros((4, 4), np.uint16))))
    listed = ClassFolders(root)
    assert listed.paths == {"a": ["a/000.png", "a/IM0001"], "b": []}
    assert (listed.refused, listed.hidden, listed.repeated) == (["a/deep/notes.txt"], ["a/.half.png"], ["a/deep/again"])
    assert listed.class_to_idx == {"a": 0, "b": 1}
