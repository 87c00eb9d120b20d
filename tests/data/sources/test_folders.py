"""Folders to manifest: layouts, litter, masks, and everything a user can get wrong about a folder."""

import inspect
import logging
import shlex
import shutil

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from refusals import noted, refused, rules

from medcls.data.manifest import typed
from medcls.data.sources import phantoms
from medcls.data.sources.folders import PHANTOMS_MADE, from_folders, list_images


def test_one_folder_a_class(folder):
    manifest = from_folders(folder({"benign": 3, "malignant": 2}), positive="malignant")
    assert manifest.classes == ("benign", "malignant")
    assert manifest.rows["label"].value_counts().to_dict() == {"benign": 3, "malignant": 2}
    assert manifest.rows["given_split"].eq("").all()
    assert manifest.labels.tolist() == [0, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("train", "val", "test"), {"train", "val", "test"}),
        (("Training", "Testing"), {"train", "test"}),
        (("TRAIN", "Valid", "Test"), {"train", "val", "test"}),
        (("training", "Validation", "testing"), {"train", "val", "test"}),
    ],
)
def test_split_folders_in_any_spelling(folder, names, splits):
    root = folder({f"{name}/{label}": 2 for name in names for label in ("a", "b")})
    rows, _ = list_images(root)
    assert set(rows["given_split"]) == splits
    assert len(rows) == 4 * len(names)


def test_label_map_merges_classes(folder):
    root = folder({"benign": 2, "malignant": 2, "normal": 3})
    mapping = {"malignant": ["malignant"], "other": ["benign", "normal"]}
    manifest = from_folders(root, positive="malignant", label_map=mapping)
    assert manifest.classes == ("malignant", "other")
    assert int((manifest.rows["label"] == "other").sum()) == 5


@pytest.mark.parametrize(
    ("mapping", "kind", "names"),
    [
        ({"bad": ["malignent"], "other": ["benign", "normal"]}, "unknown_class", ("'malignent'", "malignant?")),
        ({"bad": ["malignant"], "other": ["benign"]}, "unmapped_class", ("'normal'", "data.leave_out_unmapped=true")),
        ({"bad": ["malignant", "benign"], "other": ["benign", "normal"]}, "bad_value", ("'benign'",)),
    ],
)
def test_p13_label_map_is_held_against_the_classes_found(folder, mapping, kind, names):
    root = folder({"benign": 2, "malignant": 2, "normal": 2})
    with refused(kind, "data.label_map", *names):
        from_folders(root, positive="bad", label_map=mapping)


def test_p10_class_missing_in_one_split(folder):
    root = folder({"train/a": 2, "train/b": 2, "train/c": 2, "test/a": 2, "test/c": 2})
    with refused("missing_class", "test: ", "class 'b'"):
        from_folders(root)


def test_p10_class_empty_in_one_split(folder):
    root = folder({"train/a": 2, "train/b": 2, "test/a": 2, "test/b": 0})
    with refused("missing_class", "test: ", "class 'b'"):
        from_folders(root, positive="a")


@pytest.mark.parametrize("names", [("得病", "正常"), ("yes", "no"), ("z", "a")])
def test_p11_p12_class_names_come_from_the_manifest_alone(folder, names):
    root = folder({names[0]: 2, names[1]: 3})
    manifest = from_folders(root, positive=names[0])
    for index, path in zip(manifest.labels, manifest.rows["path"], strict=True):
        assert path.split("/")[0] == manifest.classes[index]


@pytest.mark.parametrize("made", ["a/x\udcff.png", "a/\udce9/x.png"], ids=["file", "folder"])
def test_names_that_are_not_utf8_are_listed_with_escapes(folder, made):
    root = folder({"a": 2, "b": 2})
    content = (root / "a" / "000.png").read_bytes()
    try:
        (root / made).parent.mkdir(exist_ok=True)
        (root / made).write_bytes(content)
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    with refused("not_utf8", ascii(made)) as caught:
        from_folders(root, positive="a")
    str(caught.value).encode()


def test_a_note_on_a_name_that_is_not_utf8_can_be_printed(folder):
    root = folder({"a": 2, "b": 2})
    try:
        (root / "a" / "x.\udcff").write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    "".join(list_images(root)[1]).encode()


@pytest.mark.slow
def test_phantoms_are_made_at_their_own_place_alone_and_announced(tmp_path, monkeypatch, caplog):
    real = phantoms.ensure_phantoms
    assert inspect.signature(real).parameters["images"].default == PHANTOMS_MADE
    monkeypatch.setattr(phantoms, "ensure_phantoms", lambda root: real(root, images=60))
    monkeypatch.chdir(tmp_path)
    for at in ("shipped", None):
        with refused("no_such_folder", "mine", "data.root"):
            from_folders("mine", phantoms_at=at)
    assert not (tmp_path / "mine").exists()
    merged = {"malignant": ["malignant"], "other": ["benign", "normal"]}
    with caplog.at_level(logging.WARNING, logger="medcls.data.sources.folders"):
        manifest = from_folders("shipped", positive="malignant", label_map=merged, phantoms_at="shipped/")
    assert rules(caplog) == ["phantoms_made"]
    assert all(name in caplog.text for name in ("600", str(tmp_path / "shipped"), "data.root="))
    assert set(manifest.rows["stamp"]) == {phantoms.PHANTOM_WATERMARK}
    assert manifest.watermarks == (phantoms.PHANTOM_WATERMARK,)
    caplog.clear()
    from_folders("shipped", positive="malignant", label_map=merged, phantoms_at="shipped")
    assert rules(caplog) == []


NAMES = [
    "ill",
    "得病",
    "true",
    "null",
    "1e3",
    "0",
    "nan",
    "a b",
    "it's",
    "a=b",
    "$HOME",
    'say "x"',
    "end\\",
    "x\\'y!",
    "a,b",
]


@pytest.mark.parametrize("name", NAMES)
def test_p48_offered_lines_can_be_typed(name):
    words = shlex.split(typed("positive_class", name))
    assert len(words) == 1
    value = OverridesParser.create().parse_override(words[0]).value()
    assert str(value) == name
    assert not isinstance(value, bool | int | float) and value is not None


def test_p48_only_what_needs_it_is_quoted(folder):
    assert typed("positive_class", "ill") == "positive_class=ill"
    with refused("missing_setting", "\n  \"positive_class='得病'\"\n  \"positive_class='正常'\""):
        from_folders(folder({"得病": 2, "正常": 2}))


def test_label_map_takes_numbers_and_lone_names_for_what_they_are(folder):
    root = folder({"0": 2, "1": 2, "2": 2})
    manifest = from_folders(root, positive="9", label_map={9: [0, "1"], "x": 2})
    assert manifest.classes == ("9", "x")
    assert manifest.class_counts("") == (4, 2)
    for wrong in ("0", ["0"], 3):
        with refused("bad_value", "data.label_map", repr(wrong)):
            from_folders(root, label_map=wrong)


def test_one_excluded_path_may_stand_without_a_list(folder):
    manifest = from_folders(folder({"a": 3, "b": 3}), positive="a", exclude_paths="a/000.png")
    assert len(manifest) == 5


def test_p48_a_binary_task_names_its_positive_class(folder):
    root = folder({"healthy": 2, "ill": 2})
    with refused("missing_setting", "\n  positive_class=healthy\n  positive_class=ill"):
        from_folders(root)
    with refused("unknown_class", "positive_class", "'il'", "ill?"):
        from_folders(root, positive="il")


def test_positive_class_with_many_classes_is_refused(folder):
    with refused("not_binary", "positive_class=a", "'a', 'b', 'c'"):
        from_folders(folder({"a": 2, "b": 2, "c": 2}), positive="a")


def test_one_picture_under_two_labels_stops_unless_excluded(folder):
    root = folder({"a": 3, "b": 3})
    shutil.copy(root / "a" / "000.png", root / "b" / "copy.png")
    with refused("image_under_two_labels", "a/000.png (a)", "b/copy.png (b)"):
        from_folders(root, positive="a")
    manifest = from_folders(root, positive="a", exclude_paths=["b/copy.png", "a/000.png", "a/typo.png"])
    assert len(manifest) == 5
    assert noted(manifest.notes, "2", "a/000.png, b/copy.png") and noted(manifest.notes, "1", "a/typo.png")


def test_unreadable_images_are_all_listed_before_training(folder):
    root = folder({"a": 3, "b": 3})
    whole = (root / "a" / "000.png").read_bytes()
    (root / "a" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (root / "a" / "empty.png").write_bytes(b"")
    (root / "b" / "page.jpg").write_text("<!DOCTYPE html><html>404</html>")
    with refused("unreadable_image", "cut.png", "empty.png", "page.jpg", "HTML") as caught:
        from_folders(root, positive="a")
    assert str(caught.value).count("\n  /") == 3


@pytest.mark.wording
def test_of_many_faults_five_are_shown_a_count_and_the_command_that_lists_all(folder, tmp_path):
    root = folder({"a": 30, "b": 30}, name="a set")
    for number in range(20):
        (root / "a" / f"{number:03d}.png").write_bytes(b"")
    with refused("unreadable_image") as caught:
        from_folders(root, positive="a")
    said = str(caught.value).split("\n")
    assert said[0] == "20 of 60 images cannot be read:"
    assert [line.count("a/00") for line in said[1:6]] == [1] * 5 and said[6] == "  ... and 15 more"
    assert said[-1] == f"  python -m medcls.audit data.root='{root}' audit.fix=exclude" and len(said) == 9
    for number in range(20):
        shutil.copy(root / "b" / f"{number:03d}.png", root / "a" / f"{number:03d}.png")
    with refused("image_under_two_labels") as caught:
        from_folders(root, positive="a")
    said = str(caught.value).split("\n")
    assert said[0] == "20 image(s) have more than one label:" and said[6] == "  ... and 15 more"
    assert said[-1] == f"  python -m medcls.audit data.root='{root}' audit.fix=exclude" and len(said) == 9
    for number in range(20):  # one picture many times over
        shutil.copy(root / "b" / "000.png", root / "a" / f"{number:03d}.png")
    with refused("image_under_two_labels") as caught:
        from_folders(root, positive="a")
    said = str(caught.value).split("\n")
    assert said[0] == "1 image(s) have more than one label:" and said[1].endswith("a/004.png (a)  and 16 more")
    assert "data.exclude=" not in str(caught.value)


@pytest.mark.parametrize(
    ("counts", "kind", "names"),
    [
        ({}, "no_images", ("data.root",)),
        ({"only": 3}, "one_class", ("'only'",)),
        ({"a": 0, "b": 0}, "no_images", ("data.root", "(a, b)")),
        ({"a": 0, "b": 2}, "missing_class", ("class 'a'",)),
        ({"train/a": 2, "train/b": 2, "other/a": 2}, "ambiguous_folders", ("(train)", "(other)")),
        (
            {"train/a": 2, "train/b": 2, "Training/a": 2, "Training/b": 2},
            "ambiguous_folders",
            ("Training and train",),
        ),
        ({"test/a": 2, "test/b": 2}, "no_train_split", ("test",)),
        ({"a": 2, "b": 2, "a|b": 2}, "out_of_scope", ("multi-label", "'a|b'")),
        ({"0.5": 2, "1.5": 2, "2.25": 2}, "out_of_scope", ("regression", "'0.5'")),
    ],
)
def test_folders_that_are_no_data_set(folder, tmp_path, counts, kind, names):
    (tmp_path / "images").mkdir()
    with refused(kind, *names):
        from_folders(folder(counts) if counts else tmp_path / "images", positive="a")


def test_missing_root_and_a_file_as_root(tmp_path):
    with refused("no_such_folder", str(tmp_path / "nowhere"), "data.root"):
        from_folders(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    with refused("not_a_folder", str(tmp_path / "file"), "data.root"):
        from_folders(tmp_path / "file")


def test_images_without_class_folders(picture, tmp_path):
    picture(tmp_path / "root" / "x.png", 1)
    with refused("no_class_folders", str(tmp_path / "root"), " 1 "):
        from_folders(tmp_path / "root")


def test_volumes_are_out_of_scope(folder):
    root = folder({"a": 2, "b": 2})
    (root / "a" / "scan.nii.gz").write_bytes(b"x")
    with refused("out_of_scope", "3-D", "a/scan.nii.gz"):
        from_folders(root, positive="a")


def test_p03_groups_are_read_from_the_path(folder):
    root = folder({"a": 4, "b": 4}, pattern="patient{number:02d}_1.png")
    manifest = from_folders(root, positive="a", group_pattern=r"patient(\d+)")
    assert set(manifest.rows["group"]) == {"00", "01", "02", "03"}
    with refused("pattern_matches_nothing", "data.group_pattern", "lesion", " 8 "):
        from_folders(root, positive="a", group_pattern=r"lesion(\d+)")
    with refused("bad_value", "data.group_pattern"):
        from_folders(root, positive="a", group_pattern="(")


@pytest.mark.slow
@pytest.mark.real
def test_chest_xray_groups_keep_their_prefix(real_data):
    manifest = from_folders(
        real_data / "chest_xray",
        positive="PNEUMONIA",
        group_pattern=r"(person\d+_(?:bacteria|virus)|NORMAL2-IM-\d+|IM-\d+)",
    )
    by_group = manifest.rows.groupby("group")["given_split"].nunique()
    assert (by_group == 1).all()
    assert (manifest.rows["group"] != "").all()


def test_folders_without_images_beside_the_splits_are_passed_over_and_named(folder):
    root = folder({f"{split}/{label}": 2 for split in ("Training", "Testing") for label in ("a", "b")})
    for name in ("Model/notes.txt", "Model/deep/weights.h5", ".git/x", "empty folder/.keep"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    rows, notes = list_images(root)
    assert len(rows) == 8
    assert len(notes) == 1 and noted(notes, "Model", "empty folder")
    shutil.copy(root / "Training" / "a" / "000.png", root / "Model" / "deep" / "figure.PNG")
    with refused("ambiguous_folders", "(Testing, Training)", "(Model)"):
        list_images(root)


def test_one_class_or_unlabelled_images_are_told_what_is_possible(folder, picture, tmp_path):
    root = folder({"only here": 3})
    with refused("one_class", f"data.root='{root / 'only here'}'", "python -m medcls.evaluate run=RUN"):
        from_folders(root)
    picture(tmp_path / "loose" / "x.png", 1)
    with refused("no_class_folders", "python -m medcls.evaluate run=RUN"):
        from_folders(tmp_path / "loose")
