import pytest
from refusals import refused

from medcls.data.sources.folders import from_folders
from medcls.data.sources.saved import reopen
from medcls.data.splits.split import split


@pytest.fixture
def saved(folder, tmp_path):
    manifest = split(from_folders(folder({"a": 20, "b": 20}), positive="a"))
    (tmp_path / "manifest.csv").write_text(manifest.to_csv(), encoding="utf-8")
    return manifest, tmp_path / "manifest.csv"


def test_some_splits_come_back_with_their_facts(saved):
    manifest, table = saved
    again = reopen(table, manifest.root, manifest.classes, "a", splits=["test", "val"])
    wanted = manifest.rows[manifest.rows["split"].isin(("test", "val"))].reset_index(drop=True)
    assert again.rows.equals(wanted.astype(str))
    assert list(again.scan.index) == list(wanted["path"])
    assert again.classes == manifest.classes and again.positive == "a"


def test_changed_and_missing_images_stop_it(saved, picture):
    manifest, table = saved
    tested = manifest.rows.query("split == 'test'")["path"].tolist()
    picture(manifest.root / tested[0], 12345)
    with refused("images_changed", "1 image", tested[0]):
        reopen(table, manifest.root, manifest.classes, "a", splits=["test"])
    reopen(table, manifest.root, manifest.classes, "a", splits=["val"])  # what is not asked for may change
    (manifest.root / tested[1]).unlink()
    with refused("unreadable_image", tested[1], "images=/new/place"):
        reopen(table, manifest.root, manifest.classes, "a", splits=["test"])


def test_a_split_that_is_not_there(saved):
    manifest, table = saved
    with refused("empty_split", "'held_out'", "test, train, val"):
        reopen(table, manifest.root, manifest.classes, "a", splits=["held_out"])
