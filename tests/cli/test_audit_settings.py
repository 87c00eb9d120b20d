"""Settings of an audit, and what it goes on with where a training would stop."""

import pytest
from composed_settings import typed_settings
from made_manifests import manifest_of
from made_sets import class_folders
from refusals import refused

from medcls.cli.audit_settings import check_settings, read_images, requested_decoding, try_to_split
from medcls.preprocessing import Decoding


def test_the_shipped_settings_pass():
    for typed in ((), ("audit.fix=exclude", "audit.pictures=false", "data.resize=letterbox")):
        with typed_settings("audit", *typed) as cfg:
            check_settings(cfg)


@pytest.mark.parametrize(
    "typed",
    ["audit.fix=delete", "audit.fix=5", "audit.pictures=1", "audit.paths=no way", "data.resize=stretch"],
)
def test_a_wrong_value_is_refused_by_name(typed):
    with typed_settings("audit", typed) as cfg, refused("bad_value", *typed.split("=")):
        check_settings(cfg)


@pytest.mark.parametrize(
    ("typed", "decoding"),
    [
        ((), Decoding()),
        (("data.bits=16", "data.window=full", "data.frame=3"), Decoding(bits=16, window="full", frame=3)),
        (("data.window=[100,2000]",), Decoding(window=(100, 2000))),
    ],
)
def test_images_are_decoded_as_a_training_would_with_8_bits_unless_asked(typed, decoding):
    with typed_settings("audit", *typed) as cfg:
        assert requested_decoding(cfg) == decoding


def test_an_audit_reads_what_would_stop_a_training(tmp_path):
    root = class_folders(tmp_path / "images", {"a": 2, "b": 2})
    for name in ("a/000.png", "b/cut.png"):
        (root / name).write_bytes(b"")
    with typed_settings("audit", f"data.root={root}") as cfg:
        manifest = read_images(cfg)
        assert len(manifest) == 3 and len(manifest.unreadable) == 2 and manifest.positive is None
        for path in root.rglob("*.png"):
            path.write_bytes(b"")
        with refused("unreadable_image", "5", "a/000.png"):
            read_images(cfg)


def test_a_split_that_fails_is_a_finding():
    split, found = try_to_split(manifest_of(["a", "b"] * 20), {"seed": 3})
    assert found == [] and set(split.rows["split"]) == {"train", "val", "test"}
    split, found = try_to_split(manifest_of(["a"] * 20 + ["b"]), {"seed": 3})
    assert split is None and [(one.check, one.level) for one in found] == [("split", "error")]
    assert "'b'" in found[0].text
    split, found = try_to_split(manifest_of(["a", "b"] * 20), {"seed": 3, "val_fraction": 2})
    assert split is None and "data.val_fraction" in found[0].text
