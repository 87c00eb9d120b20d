import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused

from medcls.evaluation.predictions import (
    FEW_ROWS,
    FITTED_TWICE,
    TOOK_PART,
    Predictions,
    aggregate,
    check_fitted_with,
    check_may_fit,
    check_one_checkpoint,
    energy,
    from_logits,
    read_csv,
)

CLASSES = ("benign", "malignant")


def manifest(n=6, split="test", classes=CLASSES):
    return pd.DataFrame(
        {
            "path": [f"{i:04d}" for i in range(n)],
            "label": [classes[i % len(classes)] for i in range(n)],
            "group": ["" if i % 3 == 0 else f"p{i // 2}" for i in range(n)],
            "split": split,
            "age": [str(40 + i) for i in range(n)],
        }
    )


def predict(n=6, split="test", classes=CLASSES, positive="malignant", checkpoint="abc", seed=0):
    logits = np.random.default_rng(seed).normal(0, 5, (n, len(classes)))
    return from_logits(manifest(n, split, classes), np.arange(n), logits, classes, positive, checkpoint)


def test_columns_stand_in_the_order_of_the_design():
    table = predict()
    assert list(table.rows.columns) == [
        *("path", "label", "group", "split", "age"),
        *("logit_benign", "logit_malignant", "prob_benign", "prob_malignant", "ood", "checkpoint"),
    ]
    assert table.labels().tolist() == [0, 1, 0, 1, 0, 1]
    assert table.labels().dtype == np.int64
    assert table.probabilities().shape == (6, 2)
    np.testing.assert_allclose(table.probabilities().sum(1), 1, atol=1e-15)
    np.testing.assert_allclose(table.rows["ood"], -np.log(np.exp(table.logits()).sum(1)))


def clustered(groups, kept_together, n=6):
    rows = manifest(n).assign(group=groups)
    rows = rows if kept_together is None else rows.assign(kept_together=kept_together)
    return from_logits(rows, np.arange(n), np.random.default_rng(0).normal(size=(n, 2)), CLASSES, "malignant", "abc")


@pytest.mark.wording
def test_images_without_a_group_are_counted_beside_the_groups():
    assert "of 2 groups and 3 images without a group" in clustered(["p", "p", "", "", "q", ""], None).caption()
    assert "of 1 group and 1 image without a group" in clustered(["p", "p", "p", "p", "p", ""], None).caption()
    assert "without a group" not in clustered(list("ppqqrr"), None).caption()
    assert "group" not in clustered([""] * 6, None).caption()


def test_rows_of_a_group_and_rows_kept_together_are_one_cluster():
    groups, kept = ["p", "p", "", "", "q", ""], ["", "", "0002", "0002", "", ""]
    assert clustered(groups, None).clusters == clustered(groups, "").clusters == groups
    table = clustered(groups, kept)
    assert table.clusters == ["0000", "0000", "0002", "0002", "0004", "0005"]
    assert "4 independent cases" in table.caption()
    assert "independent" not in clustered(groups, "").caption()
    assert table.cases_by_class() == {"benign": 3, "malignant": 3}
    assert clustered(groups, None).cases_by_class() == {"benign": 3, "malignant": 3}
    assert clustered(["p", "q", "p", "q", "", "q"], None).cases_by_class() == {"benign": 2, "malignant": 1}
    # By a group and by what was kept together in turn; a name may be that of a group.
    assert clustered(["p", "p", "q", "q", "", ""], ["", "p", "p", "", "", "p"]).clusters == ["0000"] * 4 + [
        "0004",
        "0000",
    ]
    rows = dataclasses.replace(table, rows=table.rows[table.rows["path"] > "0002"])
    assert rows.clusters == ["0003", "0004", "0005"]


def test_clusters_are_read_back_and_outlive_joining_by_group(tmp_path):
    groups, kept = ["p", "p", "q", "q", "r", ""], ["", "", "0002", "0002", "0002", ""]
    table = clustered(groups, kept)
    table.write_csv(tmp_path / "test.csv")
    assert read_csv(tmp_path / "test.csv", "malignant").clusters == table.clusters
    joined = aggregate(table, "mean")
    assert joined.rows["path"].tolist() == ["0005", "p", "q", "r"]
    assert joined.clusters == ["0005", "p", "q", "q"]


def test_energy_is_lower_for_confident_logits():
    assert energy([[20.0, 0.0]])[0] < energy([[0.1, 0.0]])[0]
    assert np.isfinite(energy([[5000.0, -5000.0]])).all()


def test_p47_a_shuffled_pass_cannot_part_scores_from_labels():
    rows, logits = manifest(), np.random.default_rng(1).normal(size=(6, 2))
    order = np.array([3, 1, 5, 0, 4, 2])
    straight = from_logits(rows, np.arange(6), logits, CLASSES, "malignant", "abc")
    shuffled = from_logits(rows, order, logits[order], CLASSES, "malignant", "abc")
    pd.testing.assert_frame_equal(straight.rows, shuffled.rows)


def test_p47_an_image_twice_or_never_is_refused():
    rows, logits = manifest(), np.zeros((3, 2))
    with refused("image_twice", "'0001'"):
        from_logits(rows, [0, 1, 1], logits, CLASSES, "malignant", "abc")
    table = from_logits(rows, [0, 1, 2], logits, CLASSES, "malignant", "abc")
    table.check_against(["0000", "0001", "0002"])
    with refused("missing_predictions", "0003"):
        table.check_against(["0000", "0001", "0002", "0003"])
    with refused("not_in_the_manifest", "0002"):
        table.check_against(["0000", "0001"])
    with refused("row_out_of_range", "6"):
        from_logits(rows, [0, 1, 6], logits, CLASSES, "malignant", "abc")
    with refused("wrong_shape", "(2, 2)", "(3, 2)"):
        from_logits(rows, [0, 1], logits, CLASSES, "malignant", "abc")


def test_p33_rows_of_two_checkpoints_are_refused():
    one, two = predict(checkpoint="abc"), predict(checkpoint="def")
    mixed = pd.concat([one.rows.head(3), two.rows.tail(3)])
    with refused("mixed_predictions", "2 checkpoints (abc: 3, def: 3 rows)"):
        Predictions(mixed, CLASSES, "malignant")


def test_p33_a_report_of_two_checkpoints_is_refused():
    val, test = predict(split="val"), predict(split="test")
    assert check_one_checkpoint(val, test) == "abc"
    with refused("different_checkpoints", "val: abc, test: def"):
        check_one_checkpoint(val, predict(split="test", checkpoint="def"))


@pytest.mark.parametrize("split", TOOK_PART)
def test_p09_figures_of_a_split_that_took_part_say_so(split):
    assert predict(split=split).caption().endswith(TOOK_PART[split])
    assert "n = 6 images (3 benign, 3 malignant) of 3 groups" in predict(split=split).caption()
    for other in ("test", "external"):
        assert not any(said in predict(split=other).caption() for said in TOOK_PART.values())


def test_p09_splits_are_not_mixed():
    mixed = pd.concat([predict(split="val").rows.head(2), predict(split="test").rows.tail(2)])
    with refused("mixed_predictions", "2 splits"):
        Predictions(mixed, CLASSES, "malignant")


def test_p48_a_binary_table_needs_its_positive_class():
    with refused("no_positive_class", "'benign'", "'malignant'", "positive_class"):
        predict(positive=None)


NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=8)


@settings(max_examples=30, deadline=None)
@given(
    names=st.lists(NAMES, min_size=2, max_size=4, unique=True),
    paths=st.lists(NAMES, min_size=1, max_size=5, unique=True),
    seed=st.integers(0, 10**6),
)
def test_round_trip_is_exact_for_any_names(tmp_path_factory, names, paths, seed):
    file = tmp_path_factory.mktemp("csv") / "predictions.csv"
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame({"path": paths, "label": [names[i % len(names)] for i in range(len(paths))]})
    rows = rows.assign(group="", split="test", note="NA")
    logits = rng.normal(size=(len(paths), len(names))) * 10.0 ** rng.integers(-9, 3)
    positive = names[0] if len(names) == 2 else None
    table = from_logits(rows, np.arange(len(paths)), logits, names, positive, "0123")
    table.write_csv(file)
    again = read_csv(file, positive)
    assert again.classes == tuple(names)
    pd.testing.assert_frame_equal(table.rows, again.rows, check_exact=True, check_dtype=False)
    assert (again.logits() == logits).all()
    assert again.probabilities().tobytes() == table.probabilities().tobytes()


def test_awkward_cells_survive(tmp_path):
    names = ("a, b", 'say "no"', "得病", "<script>alert(1)</script>", " lead", "nan")
    table = predict(6, classes=names, positive=None, checkpoint="00123")
    table.write_csv(tmp_path / "p.csv")
    again = read_csv(tmp_path / "p.csv", None)
    assert again.classes == names
    assert again.rows["path"].tolist() == ["0000", "0001", "0002", "0003", "0004", "0005"]
    assert again.rows["group"].tolist() == ["", "p0", "p1", "", "p2", "p2"]
    assert again.checkpoint == "00123"
    assert again.labels().tolist() == [0, 1, 2, 3, 4, 5]


def test_missing_cells_of_the_manifest_become_empty_text():
    rows = manifest().assign(age=[40, None, 42, None, 44, 45])
    table = from_logits(rows, np.arange(6), np.zeros((6, 2)), CLASSES, "malignant", "abc")
    assert table.rows["age"].tolist() == ["40.0", "", "42.0", "", "44.0", "45.0"]


def test_a_table_of_another_tool_is_read(tmp_path):
    file = tmp_path / "other.csv"
    file.write_text("\ufeffpath,label,prob_benign,prob_malignant\n7,benign,0.667,0.333\n8,malignant,0.1,0.9\n")
    table = read_csv(file, "malignant")
    assert (table.split, table.checkpoint, table.has_logits) == ("", "", False)
    assert table.probabilities().tolist() == [[0.667, 0.333], [0.1, 0.9]]
    assert "unnamed" in table.caption() and "n = 2 images" in table.caption()
    with refused("no_logits", "logit_<class>"):
        table.logits()


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("path,prob_a,prob_b\nx,0.5,0.5\n", ("missing_column", " column label.")),
        ("path,label\nx,a\n", ("missing_column", " column prob_<class>.")),
        ("path,label,prob_a,prob_b\nx,a,0.5,high\n", ("not_a_number", "line 2", "prob_b", "'high'")),
        ("path,label,prob_a,prob_b\nx,a,0.5,\n", ("not_a_number", "line 2", "prob_b", "''")),
        ("path,label,prob_a,prob_b\nx,a,0.7,0.7\n", ("not_summing_to_one", "(x)")),
        ("path,label,prob_a,prob_b\nx,a,nan,0.7\n", ("not_finite", "(x)")),
        ("path,label,prob_a,prob_b\nx,c,0.3,0.7\n", ("unknown_label", "'c'", "'x'", "a, b")),
        ("path,label,prob_a,prob_b\nx,a,0.3,0.7\nx,a,0.3,0.7\n", ("image_twice", "'x'")),
        ("path,label,prob_a,prob_a\nx,a,0.3,0.7\n", ("column_twice", "prob_a")),
        ("path,label,prob_a,prob_b\nx,a,0.5,0.5,9\n", ("unreadable_table",)),
        ("path,label,prob_a,prob_b\nx,a,0.5\n", ("not_a_number", "line 2", "prob_b")),
        ("prob_a,prob_b,path,label\n0.5,0.5,x\n", ("unknown_label", "''", "'x'")),
        ("", ("unreadable_table",)),
        ("path,label,prob_a\nx,a,1.0\n", ("missing_column", "'a'", "1 - prob_a")),
        (
            "path,label,prob_a,prob_b\nx,a,0.5,0.5\ny,b,-0.2,1.2\n",
            ("not_probabilities", "(y)", "-0.2, 1.2"),
        ),
        ("path,label,prob_a,prob_b\nx,a,0.5,0.5\ny,,0.2,0.8\n", ("unknown_label", "''", "'y'")),
        ("path,label,prob_a,prob_b\n,a,0.5,0.5\n", ("missing_path", "1")),
        ("path;label;prob_a;prob_b\nx;a;0.5;0.5\n", ("wrong_delimiter", "';'")),
        (
            "path,label,prob_a,prob_b,checkpoint\nx,a,0.5,0.5,h1\ny,b,0.5,0.5,h2\n",
            ("mixed_predictions", "h1: 1, h2: 1"),
        ),
    ],
)
def test_a_damaged_table_is_refused_by_its_name(tmp_path, text, wrong):
    file = tmp_path / "bad.csv"
    file.write_text(text)
    with refused(*wrong) as error:
        read_csv(file, None if "prob_b" not in text else "a")
    assert str(error.value).startswith(str(file))


def test_a_missing_file_is_refused_by_its_name(tmp_path):
    with refused("unreadable_table", "none.csv"):
        read_csv(tmp_path / "none.csv", "a")


def test_diverged_logits_name_the_image():
    logits = np.zeros((6, 2))
    logits[4, 1] = np.nan
    with refused("not_finite", "'0004'"):
        from_logits(manifest(), np.arange(6), logits, CLASSES, "malignant", "abc")


@pytest.mark.parametrize("column", ["ood", "checkpoint", "prob_other", "logit_x"])
def test_a_manifest_column_that_would_be_overwritten_is_refused(column):
    with refused("reserved_column", column):
        from_logits(manifest().assign(**{column: ""}), [0], np.zeros((1, 2)), CLASSES, "malignant", "abc")


def test_a_failed_write_leaves_the_former_file(tmp_path, monkeypatch):
    file = tmp_path / "p.csv"
    predict().write_csv(file)
    before = file.read_bytes()

    def full_disk(self, path, **kwargs):
        path.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full_disk)
    with pytest.raises(OSError, match="No space"):
        predict(seed=1).write_csv(file)
    assert file.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["p.csv"]


def test_other_probabilities_leave_the_logits_and_the_first_table():
    table = predict()
    before = table.probabilities()
    other = table.with_probabilities(np.full((6, 2), 0.5))
    assert (other.probabilities() == 0.5).all() and (other.logits() == table.logits()).all()
    assert (table.probabilities() == before).all()
    assert list(other.rows.columns) == list(table.rows.columns)
    with refused("not_summing_to_one", "0.7, 0.7"):
        table.with_probabilities(np.full((6, 2), 0.7))
    with refused("wrong_shape", "3", "6"):
        table.with_probabilities(np.full((3, 2), 0.5))


@pytest.mark.parametrize("split", ["test", "Test", " TEST ", "held_out", "external"])
def test_p44_nothing_is_fitted_on_rows_that_are_the_result(split):
    with refused("fitted_on_the_result", "temperature", repr(split)):
        check_may_fit(predict(split=split), "a temperature")


def test_p44_a_fit_on_other_rows_says_what_weakens_it():
    assert check_may_fit(predict(60, split="calibration"), "a temperature") == ()
    (few,) = check_may_fit(predict(49, split="calibration"), "a temperature")
    assert "49 rows" in few and str(FEW_ROWS) in few
    assert FITTED_TWICE["val"] in check_may_fit(predict(60, split="val"), "a temperature")[0]
    assert FITTED_TWICE["train"] in check_may_fit(predict(60, split="train"), "a temperature")[0]
    assert "unnamed" in check_may_fit(predict(60, split=""), "a temperature")[0]
    with refused("no_rows", "temperature"):
        check_may_fit(predict(0), "a temperature")


def test_p42_nothing_is_fitted_on_hard_labels():
    table = predict(60, split="calibration")
    hard = table.with_probabilities(np.eye(2)[table.labels()])
    with refused("hard_labels", "temperature"):
        check_may_fit(hard, "a temperature")


def test_p33_what_was_fitted_with_other_weights_is_refused():
    check_fitted_with(predict(), "abc", "temperature")
    check_fitted_with(predict(checkpoint=""), "abc", "temperature")
    with refused("different_checkpoints", "def", "abc"):
        check_fitted_with(predict(), "def", "temperature")


def of_patients(scores, labels, groups, classes=CLASSES, positive="malignant", **columns):
    scores = np.asarray(scores, np.float64)
    if scores.ndim == 1:
        scores = np.column_stack([1 - scores, scores])
    rows = pd.DataFrame({"path": [f"i{k}" for k in range(len(labels))], "label": labels, "group": groups})
    rows = rows.assign(split="test", **columns, **{f"prob_{name}": scores[:, k] for k, name in enumerate(classes)})
    return Predictions(rows.assign(checkpoint="abc"), classes, positive)


@pytest.mark.parametrize(("how", "p1"), [("mean", 0.4), ("max", 0.9), ("median", 0.2)])
@pytest.mark.parametrize("positive", CLASSES)
def test_patients_take_the_place_of_images(how, p1, positive):
    scores = np.array([0.1, 0.2, 0.9, 0.3, 0.6])
    scores = scores if positive == "malignant" else 1 - scores
    labels = np.where([0, 1, 0, 0, 1], positive, CLASSES[positive == CLASSES[0]])
    table = of_patients(scores, labels, ["p1", "p1", "p1", "p2", ""], positive=positive, age=["4", "4", "4", "5", "6"])
    table = aggregate(table, how)
    assert table.rows["path"].tolist() == ["i4", "p1", "p2"]
    assert table.rows["images"].tolist() == ["1", "3", "1"]
    assert table.rows["group"].tolist() == ["", "p1", "p2"]
    assert table.rows["age"].tolist() == ["6", "4", "5"]
    assert (table.rows["label"] == positive).tolist() == [True, True, False]  # one malignant image is enough
    np.testing.assert_allclose(table.probabilities()[:, CLASSES.index(positive)], [0.6, p1, 0.3])
    np.testing.assert_allclose(table.probabilities().sum(1), 1)
    assert (table.split, table.checkpoint, table.has_logits) == ("test", "abc", False)


def test_aggregation_with_more_classes_and_by_another_column():
    scores = [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.1, 0.8]]
    table = of_patients(scores, ["a", "a", "c"], ["p"] * 3, ("a", "b", "c"), None, exam=["e1", "e1", "e2"])
    joined = aggregate(table, "max", by="exam")
    np.testing.assert_allclose(joined.probabilities()[0], np.array([0.8, 0.7, 0.1]) / 1.6)
    assert joined.rows["group"].tolist() == ["p", "p"]
    assert joined.rows["label"].tolist() == ["a", "c"]
    with refused("mixed_unit", "'p'", "'group'", "labels"):
        aggregate(table, "mean")


def test_aggregation_refuses_what_has_no_meaning():
    table = of_patients([0.1, 0.2], ["benign", "benign"], ["p", "q"], exam=["e", "e"])
    with refused("mixed_unit", "'e'", "'exam'", "groups"):
        aggregate(table, "mean", by="exam")
    with refused("unknown_column", "'exma'", "exam"):
        aggregate(table, "mean", by="exma")
    with refused("bad_value", "'min'"):
        aggregate(table, "min")
    with refused("ambiguous_name", "'i0'", "'group'"):
        aggregate(of_patients([0.1, 0.2, 0.3], ["benign"] * 3, ["", "i0", "i0"]), "mean")
