"""Another site's images get the classes and the preprocessing of the run."""

import shutil

import pytest
from composed_settings import typed_settings
from refusals import logged, refused

from medcls.cli.external_images import read_external_images, refuse_other_preprocessing


@pytest.fixture
def site(finished, tmp_path, picture):
    """Three new images of each class, and one that the run was trained on."""
    for number, name in enumerate(("正常", "得病")):
        for image in range(3):
            picture(tmp_path / "site" / name / f"{image}.png", 700 + 10 * number + image)
    return tmp_path / "site"


def test_images_of_another_site_are_all_external_in_the_classes_of_the_run(opened, site):
    rows = opened.reopen("train").rows
    known = rows[rows["split"] == "train"].iloc[0]
    shutil.copy(opened.images / known["path"], site / known["label"] / "known.png")
    with typed_settings("evaluate", "data=folder", f"data.root={site}") as cfg:
        manifest, duplicates = read_external_images(cfg, opened)
    assert (manifest.classes, manifest.positive) == (opened.loaded.classes, "得病")
    assert set(manifest.rows["split"]) == {"external"} and len(manifest) == 7 and duplicates == 1


def test_a_site_without_a_class_is_read_with_a_warning(opened, site, caplog):
    shutil.rmtree(site / "得病")
    with typed_settings("evaluate", "data=folder", f"data.root={site}") as cfg:
        manifest, duplicates = read_external_images(cfg, opened)
    assert manifest.class_counts("external") == tuple(3 * (name == "正常") for name in manifest.classes)
    assert duplicates == 0 and logged(caplog, "missing_class")


def test_a_class_that_the_run_does_not_know_and_an_unreadable_image_are_refused(opened, site, picture):
    (site / "正常" / "cut.png").write_bytes(b"")
    with typed_settings("evaluate", "data=folder", f"data.root={site}") as cfg, refused("unreadable_image", "cut.png"):
        read_external_images(cfg, opened)
    (site / "正常" / "cut.png").unlink()
    picture(site / "third" / "x.png", 1)
    with typed_settings("evaluate", "data=folder", f"data.root={site}") as cfg, refused("unknown_class", "third"):
        read_external_images(cfg, opened)


@pytest.mark.parametrize(
    "typed", ["data.image_size=64", "data.image_size=[32,64]", "data.resize=crop", "data.bits=16", "data.frame=1"]
)
def test_another_preprocessing_than_the_runs_is_refused(opened, typed):
    with typed_settings("evaluate", "data.root=/x", typed) as cfg, refused("other_preprocessing", typed.split("=")[0]):
        refuse_other_preprocessing(cfg, opened)


def test_the_preprocessing_of_the_run_may_be_typed(opened):
    own = opened.loaded.preprocessing
    typed = ("data.image_size=32", f"data.bits={own.bits}", f"data.resize={own.resize}", "data.window=null")
    with typed_settings("evaluate", "data.root=/x", *typed) as cfg:
        refuse_other_preprocessing(cfg, opened)
