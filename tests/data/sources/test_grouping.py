"""Patients: given by a table beside folders, suggested by file names, and counted apart from what is not known."""

import shlex

import numpy as np
import pandas as pd
import pytest
from refusals import noted, refused

from medcls.data.manifest import groups_from_paths
from medcls.data.sources.folders import from_folders
from medcls.data.sources.grouping import group_notes, suggest_pattern
from medcls.data.splits.split import split, split_table


def rows_of(paths, labels=None, given_split="", group="") -> pd.DataFrame:
    labels = [path.split("/")[0] for path in paths] if labels is None else labels
    return pd.DataFrame({"path": paths, "label": labels, "given_split": given_split, "group": group})


NUMBERS = [(label, patient, n) for label in "ab" for patient in range(20) for n in range(3)]


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("{label}/patient{label}{p:03d}_{n}.png", None),  # a letter between word and number: a word a class
        ("{label}/patient{p:03d}_{n}.png", "patient"),
        ("{label}/{p:04d}_{n}.png", "number"),
        ("{label}/P-{p}/{n}.png", "folder"),
        ("{label}/scan of p_{p} no {n} x.png", "p_"),
    ],
)
def test_patterns_that_file_names_show_are_suggested(name, group):
    paths = [name.format(label=label, p=p + 20 * (label == "b"), n=n) for label, p, n in NUMBERS]
    found = suggest_pattern(rows_of(paths))
    assert found is not None
    made = groups_from_paths(paths, found.pattern)
    same = pd.Series([f"{label}{p}" for label, p, _ in NUMBERS])
    assert pd.Series(made).groupby(same).nunique().eq(1).all() and len(set(made)) == 40
    assert (found.images, found.groups) == (120, 40)
    assert f"data.group_pattern={shlex.quote(found.pattern)} gives" in found.sentence()
    assert paths[0] not in found.sentence(example=False)


@pytest.mark.parametrize(
    "paths",
    [
        [f"{label}/{label} ({n}).png" for label in ("benign", "malignant") for n in range(60)],
        [f"{label}/{n:03d}.png" for label in "ab" for n in range(60)],
        [f"{label}/img_{n:03d}_x.png" for label in "ab" for n in range(60)],  # numbered anew in each class
        [f"{label}/ISIC_{n:07d}.jpg" for label in "ab" for n in range(60)],
        [f"{label}/site{n % 3}_{n}.png" for label in "ab" for n in range(60)],  # three sites are no patients
        [f"a/{n:03d}_b_{n % 2}.png" for n in range(3)],
    ],
)
def test_running_numbers_are_no_patients(paths):
    assert suggest_pattern(rows_of(paths)) is None


def test_numbers_that_begin_anew_in_each_split_are_no_patients():
    paths = [
        f"{part}/{label}/im{n + 50 * (label == 'b')}_x.png"
        for part in ("train", "test")
        for label in "ab"
        for n in range(50)
    ]
    labels, given = [path.split("/")[1] for path in paths], [path.split("/")[0] for path in paths]
    assert suggest_pattern(rows_of(paths, labels, given)) is None


@pytest.mark.real
def test_patients_of_chest_x_rays_are_suggested(real_data):
    paths = sorted(
        p.relative_to(real_data / "chest_xray").as_posix() for p in (real_data / "chest_xray").rglob("*.jpeg")
    )
    found = suggest_pattern(rows_of(paths, [p.split("/")[1] for p in paths], [p.split("/")[0] for p in paths]))
    assert found is not None
    groups = pd.Series(groups_from_paths(paths, found.pattern))
    known = groups_from_paths(paths, r"(person\d+_(?:bacteria|virus)|NORMAL2-IM-\d+|IM-\d+)")
    assert (groups == pd.Series(known)).mean() > 0.95


@pytest.mark.real
@pytest.mark.parametrize("name", ["brain_tumor", "brain_tumor_mri", "breast_cancer"])
def test_no_patients_are_suggested_where_names_tell_none(real_data, name):
    paths = sorted(p.relative_to(real_data / name).as_posix() for p in (real_data / name).rglob("*.*"))
    assert suggest_pattern(rows_of(paths, [p.split("/")[-2] for p in paths])) is None


def test_where_nothing_is_known_of_patients_it_is_said_and_the_names_give_the_line_to_type(folder):
    root = folder({"a": 0, "b": 0})
    assert root
    paths = [f"{label}/pat{p}_{n}.png" for label, p, n in NUMBERS for p in [p + 20 * (label == "b")]]
    first, second = group_notes(rows_of(paths))
    assert noted([first], "data.group_pattern", "data.groups")
    assert noted([second], r"data.group_pattern='(pat\d+)'", "40", "120", "'pat0'", "a/pat0_0.png")
    assert group_notes(rows_of(["a/1.png", "b/1.png"]))[1:] == []


def test_s9_a_pattern_that_fits_some_images_says_both_numbers_by_class():
    labels = ["benign"] * 6 + ["malignant"] * 4 + ["normal"] * 3
    groups = ["p1", "p1", "p2", "", "", "", "p3", "p3", "p4", "", "", "", ""]
    rows = rows_of([f"{k}.png" for k in range(13)], labels, group=groups)
    first, second = group_notes(rows)
    assert noted([first], "7", "13", "'benign' 3 of 6", "'malignant' 1 of 4", "'normal' 3 of 3", "6", "4")
    assert "'normal'" in second and "'benign'" not in second
    assert group_notes(rows.assign(group="p")) == []
    assert len(group_notes(rows[rows["label"] != "normal"])) == 1


@pytest.fixture
def root(folder):
    return folder({"a": 10, "b": 10})


def groups_file(root, text: str, name: str = "patients.csv"):
    path = root.parent / name
    path.write_text(text, encoding="utf-8")
    return path


def test_groups_of_folders_come_from_a_table(root):
    text = "path;group;age\n" + "".join(f"{label}/{n:03d}.png;{label}{n // 2};5\n" for label in "ab" for n in range(9))
    manifest = from_folders(root, positive="a", groups=groups_file(root, text))
    assert manifest.rows["group"].tolist() == [f"{label}{n // 2}" if n < 9 else "" for label in "ab" for n in range(10)]
    assert noted(manifest.notes, "patients.csv", "data.groups", "2", "a/009.png")
    assert noted(manifest.notes, "patients.csv", "semicolons")
    done = split(manifest)
    assert done.rows[done.rows["group"] != ""].groupby("group")["split"].nunique().eq(1).all()
    table = split_table(done)
    assert int(table["without_group"].sum()) == 2 and int(table["groups"].sum()) == 12
    shuffled = text.splitlines()
    order = np.random.default_rng(0).permutation(range(1, len(shuffled)))
    again = groups_file(root, "\n".join([shuffled[0], *(shuffled[k] for k in order)]), "other.csv")
    assert from_folders(root, positive="a", groups=again).fingerprint() == manifest.fingerprint()


@pytest.mark.parametrize(
    ("text", "kind", "names"),
    [
        (None, "no_such_file", ("patients.csv", "data.groups")),
        ("path,patient\na/000.png,1\n", "missing_column", ("patients.csv", "data.groups", "group", "path, patient")),
        (
            "path,group\na/000.png,1\na/100.png,1\nb/x.png,2\n",
            "no_such_file",
            ("data.groups", " 2 ", "\n  line 3: a/100.png\n  line 4: b/x.png"),
        ),
        (
            "path,group\na/000.png,1\na/000.png,2\n",
            "image_in_two_groups",
            ("data.groups", " 1 ", "\n  a/000.png: lines 2, 3\n"),
        ),
        ("path,group\n../a/000.png,1\n", "file_outside_root", ("data.root", "line 2: ../a/000.png")),
        ("path,group\na/000.png,\n", "no_groups", ("patients.csv", "data.groups")),
        ("path,group\na/000\0.png,1\n", "unreadable_table", ("patients.csv", "data.groups", "line 2")),
    ],
)
def test_a_table_of_groups_that_does_not_fit_is_named(root, text, kind, names):
    path = root.parent / "patients.csv" if text is None else groups_file(root, text)
    with refused(kind, *names):
        from_folders(root, positive="a", groups=path)


def test_groups_come_from_one_place(root):
    path = groups_file(root, "path,group\na/000.png,1\na/000.png,1\n")
    with refused("conflicting_settings", "data.groups", "data.group_pattern"):
        from_folders(root, positive="a", groups=path, group_pattern=r"(\d+)")
    assert noted(from_folders(root, positive="a", groups=path).notes, "patients.csv", "1")
