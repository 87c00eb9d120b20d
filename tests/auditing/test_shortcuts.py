"""Shortcuts: planted ones are found, chance is called chance, and the figures are those of slower ways to get them."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from medcls.auditing import shortcuts as module
from medcls.auditing.findings import Finding
from medcls.auditing.shortcuts import Question, metadata, shortcuts
from medcls.data.manifest import Manifest
from medcls.data.sources.folders import from_folders


def ask(labels, *, resize="squash", names=None, scan=None, **columns) -> tuple[Finding, Finding]:
    """What is found in images that have nothing to do with their labels, but for what is replaced."""
    manifest, known = material(labels, names, scan, columns)
    seen, unseen = shortcuts(manifest, known, resize)
    return seen, unseen


def material(labels, names=None, scan=None, columns=()) -> tuple[Manifest, pd.DataFrame]:
    n = len(labels)
    draw = np.random.default_rng(5)
    # Names without a pattern; the folder is the label, and must not be asked.
    names = names if names is not None else [f"{number:05d}.png" for number in draw.permutation(n)]
    paths = [f"{label}/{name}" for label, name in zip(labels, names, strict=True)]
    rows = pd.DataFrame(
        {"path": paths, "label": list(labels), "group": "", "split": "", "given_split": ""}
        | {"content": [f"c{i}" for i in range(n)], "stamp": ""}
        | {name: list(values) for name, values in dict(columns).items()}
    )
    known = pd.DataFrame(
        {"width": draw.integers(100, 200, n), "height": draw.integers(100, 200, n), "format": "PNG", "mode": "L"}
        | {"bits": 8, "bytes": draw.integers(5000, 9000, n), "edge_marks": draw.random(n)}
        | {name: draw.random(n) for name in ("brightness", "contrast", "border_red", "border_green", "border_blue")},
        index=pd.Index(paths, name="path"),
    ).assign(**(scan or {}))
    classes = tuple(sorted(set(labels)))
    return Manifest(Path("root"), classes, rows, None, scan=known), known


LABELS = ["a", "b"] * 150
TOLD = np.tile([0.0, 1.0], 150)  # the label as a number
NOISE = np.random.default_rng(3).normal(0, 0.5, 300)


def test_without_a_shortcut_both_findings_are_good():
    seen, unseen = ask(LABELS)
    assert (seen.level, unseen.level) == ("good", "good")
    assert (seen.check, unseen.check) == ("shortcuts_seen", "shortcuts_unseen")
    assert len(seen.table) == 4
    assert len(unseen.table) == 5


@pytest.mark.parametrize(
    ("source", "scan"),
    [
        ("brightness and contrast", {"brightness": TOLD + NOISE}),
        ("brightness and contrast", {"contrast": TOLD + NOISE}),
        ("colour of the border", {"border_blue": TOLD + NOISE}),
        ("bright marks at the edge", {"edge_marks": TOLD + NOISE}),
        ("aspect ratio", {"width": 300 + 100 * TOLD, "height": 200}),
    ],
)
def test_what_the_network_can_see_is_a_warning(source, scan):
    seen, _ = ask(LABELS, scan=scan)
    assert seen.level == "warning"
    assert seen.table["source"][0] == source
    assert source in seen.title
    assert seen.table["what to do"][0]
    assert seen.values[f"{source.replace(' ', '_')}_low"] > 0.8


@pytest.mark.parametrize(
    ("source", "scan", "names"),
    [
        ("file format and mode", {"format": ["PNG", "JPEG"] * 150}, None),
        ("file format and mode", {"mode": ["L", "RGB"] * 150}, None),
        ("size on disk", {"bytes": 9000 + 5000 * TOLD}, None),
        ("pattern of the file name", {}, [f"{('IM', 'person')[i % 2]}{i * 7919 % 300:03d}.png" for i in range(300)]),
        ("place in the order of file names", {}, [f"{150 * (i % 2) + i // 2:03d}.png" for i in range(300)]),
    ],
)  # fmt: skip
def test_what_the_network_never_sees_is_information(source, scan, names):
    seen, unseen = ask(LABELS, scan=scan, names=names)
    assert (seen.level, unseen.level) == ("good", "information")
    assert unseen.values[f"{source.replace(' ', '_')}_low"] > 0.9
    assert source in unseen.table.loc[unseen.table["low"] > 0.6, "source"].tolist()


def test_both_the_darkest_and_the_brightest_give_a_class_away():
    brightness = np.where(TOLD == 1, 0.5, np.tile([0.1, 0.1, 0.9, 0.9], 75)) + NOISE / 10
    assert ask(LABELS, scan={"brightness": brightness})[0].level == "warning"


def test_p19_the_aspect_ratio_is_seen_where_the_resize_policy_leaves_it_visible():
    scan = {"width": 300 + 100 * TOLD, "height": 200}
    for resize, level in (("squash", "warning"), ("letterbox", "warning"), ("crop", "good")):
        seen, unseen = ask(LABELS, scan=scan, resize=resize)
        assert seen.level == level
        assert ("aspect ratio" in unseen.table["source"].tolist()) == (resize == "crop")


def test_metadata_columns_are_asked_one_by_one_and_ids_left_out_aloud():
    columns = {
        "hospital": ["north", "south"] * 150,
        "age": [str(value) if value < 80 else "" for value in (60 + 10 * TOLD + 20 * NOISE).round()],
        "sex": np.random.default_rng(0).choice(["f", "m"], 300),
        "patient": [f"id{i}" for i in range(300)],
    }
    seen, unseen = ask(LABELS, **columns)
    assert seen.level == "good"
    assert unseen.level == "information"
    assert unseen.values["column_hospital_auroc"] == 1
    assert unseen.values["column_age_low"] > 0.6
    assert unseen.values["column_sex_low"] < 0.5 < unseen.values["column_sex_high"]
    assert "column_patient_auroc" not in unseen.values
    assert re.search(r"\bpatient\.", unseen.text)
    advice = unseen.table.set_index("source")["what to do"]
    assert advice["column hospital"] != advice["column age"], "of what tells the label wholly it is asked"


def test_what_the_label_was_read_from_is_no_shortcut():
    rows = pd.DataFrame({"path": ["a", "b"], "label": ["x", "y"], "dx": ["mel", "nv"], "age": ["1", "2"]})
    assert [source.name for source in metadata(rows, passed_over=("dx", "label"))[0]] == ["column age"]


def test_an_empty_or_constant_column_tells_nothing():
    # With folds that cannot hold equal shares: the trees' priors differ, and are ranked against each other.
    _, unseen = ask(["a"] * 203 + ["b"] * 98, empty=[""] * 301, same=["x"] * 301)
    assert unseen.level == "good"
    assert unseen.values["column_empty_auroc"] == unseen.values["column_same_auroc"] == 0.5


def test_numbers_that_no_tree_can_hold_are_no_numbers():
    ages = ["inf", "-inf", "1e999", "1e300", "nan", *(str(value) for value in range(295))]
    _, unseen = ask(LABELS, age=ages)  # scikit-learn refuses infinity
    assert "column_age_auroc" in unseen.values
    (source,), _ = metadata(pd.DataFrame({"label": LABELS, "age": ages}))
    assert source.numbers.iloc[:, 0].isna().tolist() == [True] * 5 + [False] * 295


def test_a_column_is_numbers_where_nearly_all_its_cells_are():
    rows = pd.DataFrame({"label": ["a"] * 20, "size": [*map(str, range(19)), "unknown"], "kind": ["1", "x"] * 10})
    sources, left_out = metadata(rows)
    assert [source.numbers.shape[1] for source in sources] == [1, 2]
    assert np.isnan(sources[0].numbers.iloc[-1, 0])
    assert left_out == []


def test_p01_copies_and_siblings_are_not_recognised():
    # 20 patients with 15 images each, told by their brightness, their labels drawn by lot.
    patient = np.repeat(np.arange(20), 15)
    labels = np.random.default_rng(11).permutation(["a", "b"] * 10)[patient]
    scan = {"brightness": patient / 20, "contrast": 0.2}
    apart, _ = ask(labels, scan=scan)
    together, _ = ask(labels, scan=scan, group=[f"p{number}" for number in patient])
    assert apart.values["brightness_and_contrast_auroc"] > 0.9
    assert together.values["brightness_and_contrast_low"] < 0.5


def test_chance_comes_out_as_chance():
    draw = np.random.default_rng(1)
    answers = []
    for _ in range(60):
        labels = draw.permutation(np.repeat([0, 1], [120, 60]))
        answers.append(Question(labels, np.arange(180), ["a", "b"]).answer(pd.DataFrame(draw.random((180, 2)))))
    auroc, low, high = np.array(answers).T
    assert auroc.mean() == pytest.approx(0.5, abs=0.012)
    assert ((low <= 0.5) & (high >= 0.5)).mean() >= 0.87
    assert (low > module.INFORMATIVE).sum() == 0


def test_auroc_is_scikit_learns_ties_and_all():
    labels = (TOLD > 0).astype(int)
    question = Question(labels, np.arange(300), ["a", "b"])
    scores = (TOLD + NOISE).round(1)
    assert question._auroc(scores, labels == 1)[0] == pytest.approx(roc_auc_score(labels, scores))


def test_the_interval_is_that_of_a_bootstrap_over_units_done_the_slow_way():
    labels, units = (TOLD > 0).astype(int), np.repeat(np.arange(75), 4)
    scores = (TOLD + 2 * NOISE).round(1)
    quick = np.nanquantile(Question(labels, units, ["a", "b"])._auroc(scores, labels == 1)[1:], [0.025, 0.975])
    draw, slow = np.random.default_rng(9), []
    for _ in range(200):
        rows = np.concatenate([np.flatnonzero(units == unit) for unit in draw.integers(75, size=75)])
        slow.append(roc_auc_score(labels[rows], scores[rows]))
    assert quick == pytest.approx(np.quantile(slow, [0.025, 0.975]), abs=0.025)


def test_several_classes_have_the_mean_of_their_one_against_rest_aurocs():
    labels = np.tile(["a", "b", "c"], 100)
    seen, _ = ask(labels, scan={"brightness": np.tile([0.1, 0.5, 0.9], 100)})
    assert seen.values["brightness_and_contrast_auroc"] == 1
    assert "one-against-rest" in seen.text
    assert ask(labels)[0].level == "good"


def test_too_few_independent_images_are_said_to_be_too_few():
    manifest, scan = material(["a"] * 9 + ["b"] * 100)
    (finding,) = shortcuts(manifest, scan, "squash")
    assert finding.level == "information"
    assert "a has 9" in finding.title


def test_a_large_set_is_asked_on_a_sample_that_is_mentioned_and_keeps_the_rare_class(monkeypatch):
    monkeypatch.setattr(module, "MOST_IMAGES", 200)
    labels = np.array(["a"] * 280 + ["b"] * 20)
    seen, _ = ask(labels, scan={"brightness": (labels == "b") * 1.0})
    assert seen.level == "warning"
    assert all(number in seen.text for number in ("120 of 300", "100"))


def test_patients_who_all_have_both_labels_are_asked_without_a_warning(recwarn):
    seen, _ = ask(LABELS, scan={"brightness": TOLD}, group=[f"p{i // 2}" for i in range(300)])
    assert seen.values["brightness_and_contrast_auroc"] == 1
    mixed = ["a", "b", "b", "b"] * 60 + ["b"] * 60
    ask(mixed, group=[f"p{max(0, i - 1) // 2}" for i in range(300)])
    assert not recwarn.list


def test_the_same_set_gives_the_same_figures():
    assert ask(LABELS)[0].values == ask(LABELS)[0].values


@pytest.mark.slow
@pytest.mark.real
def test_p19_brain_tumor_is_told_by_its_shape_where_squashed(real_data):
    manifest = from_folders(real_data / "brain_tumor", strict=False)
    seen, unseen = shortcuts(manifest, manifest.scan, "squash")
    assert seen.level == "warning"
    assert seen.values["aspect_ratio_low"] > 0.6
    assert unseen.values["pattern_of_the_file_name_auroc"] == 1
