"""Several sets as one: classes and groups of each, no test split, nothing that a target has too."""

import shutil
from pathlib import Path

import pytest
from made_sets import class_folders, noise, scene
from PIL import Image, ImageEnhance
from refusals import noted, refused

from medcls.data.sources.joined import from_several

SETS = {
    "mri": {},
    "xray": {"group_pattern": r"(p\d)_"},
    "skin": {
        "csv": "table.csv", "path_template": "{file}.png", "label_column": "dx", "group_column": "lesion",
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sets")
    class_folders(root / "mri", {"Training/no": 4, "Training/yes": 5, "Testing/no": 2, "Testing/yes": 2})
    class_folders(root / "xray", {"ill": 4, "no": 4}, "p{number}_0.png", seed=1)
    lines = ["file,dx,lesion"]
    for number in range(6):
        noise(root / "skin" / f"{number}.png", 9000 + number, 100)
        lines.append(f"{number},{('mel', 'nv')[number % 2]},{'L1' if number < 3 else ''}")
    (root / "skin" / "table.csv").write_text("\n".join(lines), encoding="utf-8")
    for number in range(3):
        place = root / "target" / "test" / "ill" / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        scene(number).save(place)
        other = root / "target" / "train" / "ill" / f"{number}.png"
        other.parent.mkdir(parents=True, exist_ok=True)
        scene(100 + number).save(other)
        for split in ("test", "train"):
            noise(root / "target" / split / "well" / f"{split}{number}.png", 7000 + number + 10 * len(split), 90)
    return root


def test_classes_and_groups_are_named_after_their_set_and_test_splits_stay_out(root):
    found = from_several(root, sets=SETS)
    assert found.classes == ("mri: no", "mri: yes", "skin: mel", "skin: nv", "xray: ill", "xray: no")
    rows = found.rows.set_index("path")
    assert len(rows) == 9 + 8 + 6 and not rows.index.str.startswith("mri/Testing").any()
    assert set(rows["given_split"]) == {""} and found.positive is None
    assert noted(found.notes, "mri", "4")
    assert rows.loc["xray/ill/p2_0.png", "group"] == "xray: p2"
    assert rows.loc["skin/1.png", ["label", "group"]].tolist() == ["skin: nv", "skin: L1"]
    assert rows.loc["skin/4.png", "group"] == "" and rows.loc["mri/Training/no/000.png", "group"] == ""
    assert all((root / path).is_file() for path in rows.index)


def test_what_a_target_has_too_is_left_out_of_whichever_split(root, tmp_path):
    sets = shutil.copytree(root, tmp_path / "sets")
    ill = sets / "mri" / "Training" / "yes"
    shutil.copy(sets / "target" / "test" / "ill" / "0.png", ill / "the_same.png")
    ImageEnhance.Brightness(Image.open(sets / "target" / "test" / "ill" / "1.png")).enhance(0.9).save(ill / "near.jpg")
    shutil.copy(sets / "target" / "train" / "ill" / "2.png", ill / "of_training.png")
    scene(55).save(ill / "of_its_own.png")
    without, apart = (
        from_several(sets, sets={"mri": {}}, apart_from=other, positive="mri: yes") for other in (None, {"target": {}})
    )
    gone = set(without.rows["path"]) - set(apart.rows["path"])
    assert {Path(path).name for path in gone} == {"the_same.png", "near.jpg", "of_training.png"}
    assert noted(apart.notes, "target", "12", "2", "1")


def test_a_class_has_so_many_images_at_most_the_same_on_any_machine(root):
    found = from_several(root, sets=SETS, most_per_class=3)
    assert found.rows["label"].value_counts().max() == 3
    assert found.rows["path"].tolist() == from_several(root, sets=SETS, most_per_class=3).rows["path"].tolist()
    fewer = from_several(root, sets=SETS, most_per_class=2)
    assert set(fewer.rows["path"]) < set(found.rows["path"])


@pytest.mark.parametrize(
    ("kind", "name", "settings"),
    [
        ("missing_setting", "data.sets", {"sets": {}}),
        ("no_such_folder", "xrays", {"sets": {"xrays": {}}}),
        ("no_such_folder", "tarket", {"sets": {"mri": {}}, "apart_from": {"tarket": {}}}),
        ("bad_value", "data.sets.mri.pattern", {"sets": {"mri": {"pattern": "x"}}}),
        ("bad_value", "data.sets.skin.labels", {"sets": {"skin": {"csv": "table.csv", "labels": "dx"}}}),
        ("bad_value", "data.most_per_class", {"sets": {"mri": {}}, "most_per_class": 0}),
        ("conflicting_settings", "mri", {"sets": {"mri": {}}, "apart_from": {"mri": {}}}),
        ("conflicting_settings", "data.group_pattern", {"sets": {"mri": {}}, "group_pattern": "p"}),
        ("missing_setting", "data.root", {"root": None, "sets": {"mri": {}}}),
    ],
)
def test_what_cannot_be_read_is_refused(root, kind, name, settings):
    with refused(kind, name):
        from_several(**({"root": root} | settings))


def test_a_class_of_which_nothing_is_left_is_refused(root, tmp_path):
    sets = shutil.copytree(root, tmp_path / "sets")
    shutil.copytree(sets / "xray" / "ill", sets / "target" / "train" / "ill", dirs_exist_ok=True)
    with refused("class_without_images", "xray: ill", "target"):
        from_several(sets, sets={"xray": {}}, apart_from={"target": {}}, positive="xray: ill")
