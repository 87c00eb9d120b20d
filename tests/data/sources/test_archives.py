"""Image sets as archives bring them: unpacked, pointed at, and read rightly or answered with what to do."""

import shutil

import pytest
from refusals import noted, refused

from medcls.data.sources.folders import from_folders, list_images
from medcls.data.splits.split import SplitSettings, split

PNEUMONIA = r"(person\d+_(?:bacteria|virus)|NORMAL2-IM-\d+|IM-\d+)"


@pytest.fixture
def busi(tmp_path, picture):
    """BUSI: each picture with its mask, some with several."""
    root = tmp_path / "Dataset_BUSI_with_GT"
    made = iter(range(1000))
    for label, count in (("benign", 4), ("malignant", 3), ("normal", 3)):
        for number in range(1, count + 1):
            for ending in ("", "_mask"):
                picture(root / label / f"{label} ({number}){ending}.png", next(made))
    picture(root / "benign" / "benign (4)_mask_1.png", next(made))
    picture(root / "benign" / "benign (4)_mask_2.png", next(made))
    return root


def test_busi_is_read_without_its_masks(busi):
    manifest = from_folders(
        busi, positive="malignant", label_map={"malignant": ["malignant"], "other": ["benign", "normal"]}
    )
    assert manifest.class_counts("") == (3, 7)
    assert not manifest.rows["path"].str.contains("mask").any()
    assert noted(manifest.notes, "12", "benign (1)_mask.png")


def test_busi_pointed_at_from_above_says_where_the_classes_are(busi):
    with refused("one_class", f"data.root={busi}"):
        list_images(busi.parent)


@pytest.fixture
def chest(tmp_path, picture):
    """The chest X-rays: a validation folder of 16, and a Mac's litter everywhere."""
    root = tmp_path / "chest_xray"
    made = iter(range(1000))
    for part, count in (("train", 12), ("test", 6), ("val", 8)):
        base = {"train": 0, "test": 100, "val": 200}[part]
        for number in range(base, base + count):
            picture(root / part / "NORMAL" / f"IM-{number:04d}-0001.jpeg", next(made), level=90)
            picture(root / part / "PNEUMONIA" / f"person{number}_virus_{number}.jpeg", next(made), level=150)
        (root / part / ".DS_Store").write_bytes(b"litter")
        (root / part / "NORMAL" / ".DS_Store").write_bytes(b"litter")
    litter = root.parent / "__MACOSX" / "chest_xray" / "train" / "NORMAL"
    litter.mkdir(parents=True)
    (litter / "._IM-0001-0001.jpeg").write_bytes(b"litter")
    shutil.copytree(root.parent / "__MACOSX", root / "__MACOSX")
    return root


def test_chest_xray_with_its_val_of_16(chest):
    manifest = from_folders(chest, positive="PNEUMONIA", group_pattern=PNEUMONIA)
    counts = manifest.rows["given_split"].value_counts().to_dict()
    assert counts == {"train": 24, "test": 12, "val": 16}
    assert manifest.notes == ()
    as_it_came = split(manifest)
    assert len(as_it_came.indices("val")) == 16
    anew = split(manifest, SplitSettings(seed=0, recut_val=True))
    assert len(anew.indices("val")) + len(anew.indices("train")) == 40
    assert set(anew.rows.loc[anew.indices("test"), "given_split"]) == {"test"}


def test_chest_xray_pointed_at_from_above_says_where_the_splits_are(chest):
    with refused("one_class", f"data.root={chest}"):
        list_images(chest.parent)


def test_chest_xray_that_holds_itself_again(chest):
    shutil.copytree(chest, chest / "chest_xray")
    with refused("ambiguous_folders", "test, train, val", f"data.root={chest / 'chest_xray'}"):
        list_images(chest)
    assert len(list_images(chest / "chest_xray")[0]) == 52


def test_brain_tumor_that_holds_itself_again(folder):
    root = folder({"yes": 3, "no": 2})
    shutil.copytree(root, root / "brain_tumor_dataset")
    with refused("ambiguous_folders", "no, yes", f"data.root={root / 'brain_tumor_dataset'}"):
        from_folders(root, positive="yes")
    assert from_folders(root / "brain_tumor_dataset", positive="yes").class_counts("") == (2, 3)


def test_classes_that_share_some_sub_folders_are_no_second_copy(folder):
    # Folders of patients below each class, one of them called as a class is.
    root = folder({"a/p1": 1, "a/b": 1, "b/p1": 1, "c/p1": 1})
    assert list_images(root)[0]["label"].tolist() == ["a", "a", "b", "c"]


def test_brain_tumor_mri_training_and_testing(folder):
    kinds = ("glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor")
    root = folder({f"{part}/{kind}": 3 for part in ("Training", "Testing") for kind in kinds})
    manifest = from_folders(root)
    assert manifest.classes == kinds
    assert manifest.rows["given_split"].value_counts().to_dict() == {"train": 12, "test": 12}
    assert manifest.rows["path"].iloc[0] == "Testing/glioma_tumor/000.png"
