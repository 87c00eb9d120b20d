import pytest

from medcls.data.sources.folders import from_folders
from medcls.data.sources.saved import reopen
from medcls.data.splits.split import split
from medcls.errors import MedclsError


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
    assert list(again.facts.index) == list(wanted["path"])
    assert again.classes == manifest.classes and again.positive == "a"


def test_changed_and_missing_images_stop_it(saved, picture):
    manifest, table = saved
    tested = manifest.rows.query("split == 'test'")["path"].tolist()
    picture(manifest.root / tested[0], 12345)
    with pytest.raises(MedclsError, match="1 image no longer"):
        reopen(table, manifest.root, manifest.classes, "a", splits=["test"])
    reopen(table, manifest.root, manifest.classes, "a", splits=["val"])  # what is not asked for may change
    (manifest.root / tested[1]).unlink()
    with pytest.raises(MedclsError, match="images=/new/place"):
        reopen(table, manifest.root, manifest.classes, "a", splits=["test"])


def test_a_split_that_is_not_there(saved):
    manifest, table = saved
    with pytest.raises(MedclsError, match="no image in the split 'held_out': it has test, train, val"):
        reopen(table, manifest.root, manifest.classes, "a", splits=["held_out"])
