"""What an export needs of a run: its settings, its checkpoint, and images to verify it with."""

import dataclasses

import numpy as np
import pytest
import torch
from composed_settings import typed_settings
from refusals import logged, refused

from medcls.cli.exporting import check_settings, checkpoint_of, reported, training_sample, verification_sample


@pytest.mark.parametrize(
    ("typed", "kind", "names"),
    [
        (("format=onx",), "bad_value", ("format=onx", "onnx, ")),
        (("run=null",), "nothing_to_export", ("run=RUN",)),
        (("verify_on=0",), "bad_value", ("verify_on",)),
        (("verify_on=true",), "bad_value", ("verify_on",)),
        (("format=onnx_int8", "calibration_images=2.5"), "bad_value", ("calibration_images",)),
        (("tolerance=1",), "bad_value", ("tolerance",)),
        (("tolerance=-0.1",), "bad_value", ("tolerance",)),
        (("format=bundle", "licence='my own'"), "bad_value", ("licence", "apache-2.0")),
        (("format=bundle", "zip=1"), "bad_value", ("zip",)),
        (("zip=true",), "idle_setting", ("zip", "format=onnx")),
        (("format=onnx_int8", "verify_on=3", "tolerance=0.1"), "idle_setting", ("verify_on, tolerance",)),
    ],
)
def test_a_wrong_or_idle_setting_is_refused(typed, kind, names):
    with typed_settings("export", "run=RUN", *typed) as cfg, refused(kind, *names):
        check_settings(cfg)


@pytest.mark.parametrize(
    "typed",
    [
        (),
        ("format=torch_export", "tolerance=0"),
        ("format=onnx_int8", "auroc_tolerance=0.05"),
        ("format=bundle", "licence=cc-by-nc-4.0"),
    ],
)
def test_settings_of_the_format_pass(typed):
    with typed_settings("export", "run=RUN", *typed) as cfg:
        check_settings(cfg)


@pytest.fixture(scope="module")
def checkpoint(opened):
    return checkpoint_of(opened, trust=False)


def test_the_checkpoint_is_scored_as_it_was_evaluated(opened, checkpoint):
    stored = opened.stored("val").rows
    pixels = [checkpoint.model.read(opened.images / path) for path in stored["path"]]
    logits = checkpoint.model.score(np.stack(pixels))
    columns = [f"logit_{name}" for name in checkpoint.model.classes]
    assert logits == pytest.approx(stored[columns].to_numpy(), abs=1e-4)
    assert checkpoint.model.checkpoint == opened.loaded.checkpoint
    assert next(checkpoint.loaded.network.parameters()).device == torch.device("cpu")


def test_images_to_verify_with_are_spread_over_val_and_no_more_than_there_are(opened, checkpoint):
    count = len(opened.stored("val").rows)
    for most, taken in ((1, 1), (3, 3), (1000, count)):
        sample = verification_sample(opened, checkpoint.model, most)
        assert (len(sample.pixels), sample.source.split()[0]) == (taken, "val")
    shape = (*checkpoint.model.preprocessing.size, 3)
    assert {one.shape for one in sample.pixels} == {shape}
    assert len(training_sample(opened, checkpoint.model, 4)) == 4
    probe = dataclasses.replace(opened, splits=frozenset({"train"}))
    assert len(verification_sample(probe, checkpoint.model, 2).pixels) == 2


def test_where_the_images_are_gone_phantoms_take_their_place(opened, checkpoint, tmp_path, caplog):
    gone = dataclasses.replace(opened, images=tmp_path)
    sample = verification_sample(gone, checkpoint.model, 6)
    assert len(sample.pixels) >= 3 and logged(caplog, "verified_on_phantoms")
    with refused("no_such_file"):
        training_sample(gone, checkpoint.model, 2)


def test_a_bundle_reports_stored_predictions_without_images_and_names(opened, tmp_path):
    found = reported(opened, "apache-2.0")
    assert [table.split for table in found.tables] == ["val", "test"]
    assert not found.options.page.images and not found.options.page.paths
    without = dataclasses.replace(opened, folder=type(opened.folder)(tmp_path))
    with refused("missing_predictions", str(tmp_path), "split=val"):
        reported(without, None)
    without.folder.close()
