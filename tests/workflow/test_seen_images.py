"""What a run behind a training has learned from: none of the images that judge the training."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_sets import class_folders, scene
from PIL import Image, ImageEnhance
from refusals import refused, rules

from medcls.data.manifest import Manifest
from medcls.data.sources.folders import from_folders
from medcls.workflow.seen_images import FILE, OF_A_PROBE, SeenImages, compare_images


@pytest.fixture(scope="module")
def all_images(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Six images of each class, `0` and `5` of one of them near duplicates."""
    root = class_folders(tmp_path_factory.mktemp("seen") / "images", {"a": 6, "b": 1})
    for number in range(5):
        scene(number).save(root / "b" / f"{number:03d}.png")
    ImageEnhance.Brightness(Image.open(root / "b" / "000.png")).enhance(0.9).save(root / "b" / "005.png")
    return from_folders(root, positive="b")


def divided(images: Manifest, **splits: str) -> Manifest:
    """The images whose names are listed, as `train="a0 b1"`; the others are unused."""
    named = {f"{one[0]}/00{one[1]}.png": split for split, names in splits.items() for one in names.split()}
    return images.with_rows(images.rows.assign(split=images.rows["path"].map(named).fillna("unused")))


def trained(manifest: Manifest, folder: Path, *behind: SeenImages, record: bool = True) -> Path:
    """A run folder as a training on this manifest leaves it."""
    folder.mkdir()
    (folder / "manifest.csv").write_text(manifest.to_csv(), encoding="utf-8")
    if record:
        SeenImages.of(manifest).joined_with(behind).write(folder)
    return folder


# Splits of the run behind and of this one, and whether it may be learned from.
CASES = [
    ("other images", {"train": "a0 b1", "val": "a1 b2"}, {"train": "a2", "val": "a3", "test": "a4 b3"}, True),
    ("the same splits", {"train": "a0", "val": "a1", "test": "a2"}, {"train": "a0", "val": "a1", "test": "a2"}, True),
    ("trained on test", {"train": "a0 a4"}, {"train": "a1", "test": "a4"}, False),
    ("selected on test", {"train": "a0", "val": "a4"}, {"train": "a1", "test": "a4"}, False),
    ("calibrated on test", {"train": "a0", "calibration": "a4"}, {"train": "a1", "test": "a4"}, False),
    ("trained on a held-out fold", {"train": "a4"}, {"train": "a1", "held_out": "a4"}, False),
    ("trained on val", {"train": "a3"}, {"train": "a1", "val": "a3", "test": "a4"}, False),
    ("trained on calibration", {"train": "a3"}, {"train": "a1", "calibration": "a3"}, False),
    ("its test trains", {"train": "a0", "test": "a1"}, {"train": "a1", "val": "a2", "test": "a3"}, True),
    ("unused there", {"train": "a0", "unused": "a4", "left_out": "a5"}, {"train": "a1", "test": "a4 a5"}, True),
]


@pytest.mark.parametrize("record", [True, False], ids=["record", "manifest"])
@pytest.mark.parametrize(("behind", "here", "may"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_p02_images_that_judge_must_be_new_to_the_run_behind(all_images, tmp_path, behind, here, may, record):
    run = trained(divided(all_images, **behind), tmp_path / "run", record=record)
    manifest = divided(all_images, **here)
    if may:
        found = compare_images(manifest, run, "teacher", near_as_same=True)
        assert found.images == sum(len(behind.get(split, "").split()) for split in ("train", "val", "calibration"))
        assert found.near_duplicates == (0 if record else None)
        return
    judged = next(split for split in ("test", "held_out", "val", "calibration") if set(here.get(split, "").split()))
    with refused("trained_on_these_images", f"teacher={run}", ".png"):
        compare_images(manifest, run, "teacher", near_as_same=True)
    assert judged


def test_p02_near_duplicates_count_as_the_image_where_the_data_say_so(all_images, tmp_path, caplog):
    run = trained(divided(all_images, train="a0 b0"), tmp_path / "run")
    manifest = divided(all_images, train="a1 b1", val="a2", test="a3 b5")
    with refused("trained_on_these_images", "b/005.png"):
        compare_images(manifest, run, "model.weights", near_as_same=True)
    assert compare_images(manifest, run, "model.weights", near_as_same=False).near_duplicates == 1
    assert rules(caplog) == ["learned_from_near_duplicates"]
    apart = divided(all_images, train="a1 b5", val="a2", test="a3 b4")
    assert compare_images(apart, run, "model.weights", near_as_same=True).near_duplicates == 0


def test_p02_what_runs_behind_the_run_learned_from_counts_too(all_images, tmp_path):
    first = trained(divided(all_images, train="a0 b0"), tmp_path / "first")
    second = trained(divided(all_images, train="a1 b1"), tmp_path / "second", SeenImages.read(first))
    shutil.rmtree(first)
    for name in ("a0", "b5"):
        with refused("trained_on_these_images", str(second)):
            compare_images(divided(all_images, train="a2", test=name), second, "model.weights", near_as_same=True)
    assert compare_images(divided(all_images, train="a2", test="a3"), second, "teacher", near_as_same=True).images == 4


def test_a_run_of_an_earlier_version_is_compared_by_content_alone(all_images, tmp_path, caplog):
    run = trained(divided(all_images, train="a0 b0"), tmp_path / "run", record=False)
    manifest = divided(all_images, train="a1", test="b5")
    assert compare_images(manifest, run, "teacher", near_as_same=True).near_duplicates is None
    assert rules(caplog) == ["near_duplicates_unknown"]
    # What is learned from it is known no better.
    next_run = trained(manifest, tmp_path / "next", SeenImages.read(run))
    assert not SeenImages.read(next_run).complete


def test_every_row_of_a_probe_is_evaluated(all_images, tmp_path):
    run = trained(divided(all_images, train="a0", val="a1"), tmp_path / "run")
    for name in ("a0", "a1"):
        manifest = divided(all_images, train=f"{name} b1")
        compare_images(manifest, run, "model.weights", near_as_same=False)
        with refused("trained_on_these_images"):
            compare_images(manifest, run, "model.weights", near_as_same=False, judging=OF_A_PROBE)


def test_a_record_is_read_as_it_was_written(all_images, tmp_path):
    manifest = divided(all_images, train="a0 b0", val="a1", calibration="b2", test="a4")
    written = SeenImages.of(manifest)
    assert sorted(written.table["split"]) == ["calibration", "train", "train", "val"]
    written.write(tmp_path)
    read = SeenImages.read(tmp_path)
    assert read.complete
    pd.testing.assert_frame_equal(
        read.table[written.table.columns], written.table, check_dtype=False, check_index_type=False
    )
    assert written.joined_with([read]).table["content"].tolist() == written.table["content"].tolist()


def test_without_a_scan_there_is_no_record_of_near_duplicates(all_images, tmp_path):
    manifest = dataclasses.replace(divided(all_images, train="a0", test="b5"), scan=pd.DataFrame())
    run = trained(manifest, tmp_path / "run")
    read = SeenImages.read(run)
    assert not read.complete and len(read.table) == 1 and (read.table["detail"] == "").all()
    assert compare_images(divided(all_images, test="b5"), run, "teacher", near_as_same=True).near_duplicates is None


@pytest.mark.parametrize("damage", [lambda data: data[:100], lambda data: b"", lambda data: b"PK" + bytes(50)])
def test_a_damaged_record_is_refused(all_images, tmp_path, damage):
    run = trained(divided(all_images, train="a0"), tmp_path / "run")
    (run / FILE).write_bytes(damage((run / FILE).read_bytes()))
    with refused("damaged_file", FILE):
        SeenImages.read(run)


def test_a_record_of_other_things_is_refused(tmp_path):
    np.savez(tmp_path / FILE, content=np.array(["x"]))
    with refused("damaged_file", FILE):
        SeenImages.read(tmp_path)
