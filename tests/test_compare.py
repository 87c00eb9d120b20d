"""The compare command: what it accepts, prints, writes and refuses."""

import json
import logging
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from interval_tables import intervals
from refusals import logged, noted, refused_command
from scipy.stats import norm

from medcls import compare
from medcls.evaluation.comparing import COMPARED, Question, compare_all, metrics_of
from medcls.evaluation.decision_curve import decision_curve
from medcls.evaluation.model_comparison import CHOSE_THE_BEST, NO_GROUPS
from medcls.evaluation.predictions import TOOK_PART, read_csv
from medcls.evaluation.thresholds import OperatingPoint
from medcls.runs.records import Configuration
from medcls.runs.sweep_folder import Job, SweepFolder
from medcls.workflow.finished_runs import differences, names, runs_in

WIDTH = 400


def numbers(text: str) -> list[str]:
    return re.findall(r"\d+", text)


class Command:
    """Runs the comparison as from a shell in a folder of its own; keeps what was said."""

    def __init__(self, home: Path, monkeypatch, capsys) -> None:
        self.home, self.monkeypatch, self.capsys = home, monkeypatch, capsys
        self.out = self.err = ""

    def __call__(self, *arguments: str) -> int:
        from medcls.workflow import terminal

        self.monkeypatch.chdir(self.home)
        fast = [] if any(argument.startswith("resamples=") for argument in arguments) else ["resamples=200"]
        self.monkeypatch.setattr("sys.argv", ["medcls.compare", *arguments, *fast])
        self.monkeypatch.setattr(terminal.console, "_width", WIDTH)
        try:
            compare.main()
            code = 0
        except SystemExit as stop:
            code = stop.code
        self.out, self.err = self.capsys.readouterr()
        assert "Traceback" not in self.err
        return code

    def refuses(self, kind: str, names: tuple[str, ...], *arguments: str) -> str:
        """It ends with exit code 2, by an error of a kind that names each of these; gives the message."""
        self.monkeypatch.chdir(self.home)
        error = refused_command(kind, names, compare.main, *arguments)
        self.out, self.err = self.capsys.readouterr()
        assert f"medcls: {error}" in self.err and "Traceback" not in self.err
        return str(error)

    def record(self, folder: str = "out") -> dict:
        return json.loads((self.home / folder / "comparison.json").read_text(encoding="utf-8"))

    def page(self, folder: str = "out") -> str:
        return (self.home / folder / "comparison.md").read_text(encoding="utf-8")


@pytest.fixture
def command(tmp_path, monkeypatch, capsys) -> Command:
    return Command(tmp_path, monkeypatch, capsys)


def table(lift=1.5, seed=0, n=120, group_size=0, split="test", classes=("benign", "malignant"), checkpoint=None):
    """Predictions of made-up rows: the same images for every lift and seed of the network."""
    unit = max(group_size, 1)
    labels = np.arange(n) // unit % len(classes)
    shared = np.random.default_rng(99).normal(size=(n, len(classes)))
    raw = 0.7 * shared + 0.7 * np.random.default_rng(seed).normal(size=shared.shape)
    raw[np.arange(n), labels] += lift
    scores = norm.cdf(raw)
    scores /= scores.sum(axis=1, keepdims=True)
    rows = pd.DataFrame(
        {
            "path": [f"{row:04}.png" for row in range(n)],
            "label": [classes[label] for label in labels],
            "group": [f"p{row // unit}" if group_size else "" for row in range(n)],
            "split": split,
        }
    )
    for k, name in enumerate(classes):
        rows[f"prob_{name}"] = scores[:, k]
    return rows.assign(checkpoint=checkpoint or f"hash{seed}")


def make_run(folder: Path, rows: pd.DataFrame, point: dict | None = None, **settings) -> Path:
    """A run folder as a training leaves it, as far as a comparison reads it."""
    (folder / "predictions").mkdir(parents=True)
    rows.to_csv(folder / "predictions" / f"{rows['split'].iloc[0]}.csv", index=False)
    settings = {"positive_class": "malignant", "seed": 0, "model": {"name": folder.name}} | settings
    (folder / "config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    if point is not None:
        point = {"criterion": "youden", "split": "val", "positive_class": "malignant", "n": 90} | point
        plain = OperatingPoint(**point).to_plain()
        decision_rules = {"calibration": None, "operating_point": plain, "conformal": None}
        (folder / "policies.json").write_text(json.dumps(decision_rules), encoding="utf-8")
    return folder


@pytest.fixture
def pair(tmp_path) -> tuple[Path, Path]:
    """Two runs, the first far better."""
    first = make_run(tmp_path / "runs" / "breast-large-20260101", table(2.5, 1))
    return first, make_run(tmp_path / "runs" / "breast-small-20260102", table(0.5, 2))


# --- what comes out


def test_a_difference_of_two_runs_is_found(command, pair):
    assert command("runs=[runs/breast-large-20260101,runs/breast-small-20260102]", "hydra.run.dir=out") == 0
    assert {path.name for path in (command.home / "out").iterdir()} == {
        "comparison.json", "comparison.csv", "comparison.md", "compare.log",
    }  # fmt: skip
    record = command.record()
    (told,) = record["comparisons"]
    tables = [read_csv(run / "predictions" / "test.csv", "malignant") for run in pair]
    (expected,) = compare_all(dict(zip(("large", "small"), tables, strict=True)), Question()).to_dict("records")
    for name in ("difference", "low", "high", "p"):
        assert told[name] == pytest.approx(expected[name])
    assert told["method"] == "DeLong, paired"
    assert record["conclusions"] == [expected["sentence"]]
    assert told["verdict"] == "better"
    assert [one["checkpoint"] for one in record["classifiers"]] == ["hash1", "hash2"]
    for text in (command.out, command.page()):
        assert expected["sentence"] in text
        assert record["images"] in text and NO_GROUPS in text
        assert "hash1" in text and "hash2" in text
    assert noted([record["images"]], "test", "120", "60 benign", "60 malignant")
    assert "runs/breast-large-20260101" in command.page()
    assert len(pd.read_csv(command.home / "out" / "comparison.csv")) == 1


def test_metrics_equal_those_of_the_report(command, pair):
    assert command("runs=runs", "metric=null", "hydra.run.dir=out") == 0
    rows = read_csv(pair[0] / "predictions" / "test.csv", "malignant")
    wanted = intervals(rows.labels(), rows.probabilities(), rows.classes, "malignant").set_index("metric")
    figures = {told["metric"]: told for told in command.record()["classifiers"][0]["figures"]}
    assert list(figures) == [metric for metric in COMPARED if metric != "net_benefit"]
    for metric, told in figures.items():
        for name in ("estimate", "low", "high"):
            assert told[name] == pytest.approx(wanted.loc[metric, name], rel=1e-2), metric  # other resamples


def test_groups_of_several_images_are_compared_by_group(command, tmp_path):
    make_run(tmp_path / "sweep" / "a", table(1.5, 1, group_size=3))
    make_run(tmp_path / "sweep" / "b", table(1.2, 2, group_size=3))
    assert command("runs=sweep", "metric=null", "hydra.run.dir=out") == 0
    told = command.record()["comparisons"]
    assert all("groups" in one["method"] for one in told) and len({one["method"] for one in told}) == 2
    assert numbers(told[0]["rows"]) == ["120", "40"] and noted([command.out], "40 groups")
    # All are corrected for together.
    assert len(told) == 8 and noted([told[0]["sentence"]], "Holm", "8")


def test_a_sweep_is_listed_best_first_with_corrected_p_values(command, tmp_path, caplog, monkeypatch):
    for k in range(5):
        make_run(tmp_path / "sweep" / str(k), table(0.4 * k + 0.2, k), seed=k)
    (tmp_path / "sweep" / "9").mkdir()
    (tmp_path / "sweep" / "9" / "config.yaml").write_text("seed: 9\n")
    # The first command of a process ends the log's propagation.
    log = logging.getLogger("medcls.workflow.finished_runs")
    monkeypatch.setattr(log, "handlers", [caplog.handler])
    assert command("runs=sweep", "hydra.run.dir=out") == 0
    record = command.record()
    assert [one["name"] for one in record["classifiers"]] == ["run 4", "run 3", "run 2", "run 1", "run 0"]
    assert len(record["comparisons"]) == 10
    assert (record["comparisons"][0]["a"], record["comparisons"][0]["b"]) == ("run 4", "run 3")
    assert all(one["p_holm"] >= one["p"] for one in record["comparisons"])
    (sentence,) = record["conclusions"]
    assert noted([sentence], "run 4", "AUROC", "5", "10", "Holm")
    clear = {one["b"] for one in record["comparisons"] if one["a"] == "run 4" and one["p_holm"] < 0.05}
    assert 0 < len(clear) < 4
    level = {"run 0", "run 1", "run 2", "run 3"} - clear
    assert sentence.index("run 4") < min(map(sentence.index, clear))
    assert max(map(sentence.index, clear)) < min(map(sentence.index, level))
    assert CHOSE_THE_BEST in command.out
    assert noted(logged(caplog, "unfinished_runs"), "9", "sweep")
    assert "model=4, seed=4" in command.page()


def record_jobs(folder: Path, states: list[str]) -> SweepFolder:
    """The record of a sweep over seeds whose runs are in `folder`."""
    sweep = SweepFolder(folder)
    for number, state in enumerate(states):
        value = 0.5 + number / 10 if state == "done" else None
        run = str(number) if state == "done" else ""
        sweep.record(Job(number, ["data=csv", f"seed={number}"], state, "Not enough.", 0, "val/auroc", value, run))
    return sweep


def test_the_runs_of_a_sweep_that_are_done_are_compared_on_val(command, tmp_path, caplog):
    for k in range(4):
        make_run(tmp_path / "sweep" / str(k), table(0.4 * k + 0.2, k).assign(split="val"), seed=k)
    record_jobs(tmp_path / "sweep", ["done", "done", "failed", "done", "missing"])
    assert command("sweep=sweep", "hydra.run.dir=out") == 0
    assert [one["name"] for one in command.record()["classifiers"]] == ["run 3", "run 1", "run 0"]
    assert command.record()["settings"]["split"] == "val" and command.record()["settings"]["sweep"] == "sweep"
    # What is left out is shown with its reason.
    assert noted(command.out.splitlines(), "2", "seed=2", "failed", "Not enough.") and "0.800" in command.out
    assert noted(logged(caplog, "jobs_left_out"), "1 job", "failed", "missing")
    command.refuses("not_evaluated", ("test",), "sweep=sweep", "split=test")


def test_a_sweep_over_folds_is_compared_as_cross_validations(command, tmp_path):
    (tmp_path / "sweep").mkdir()
    for number, (name, lift) in enumerate({"large": 2.5, "small": 0.5}.items()):
        make_folds(tmp_path / name, lift, number, (0,), model={"name": name})
        for run in sorted((tmp_path / name).iterdir()):
            run.rename(tmp_path / "sweep" / str(len(list((tmp_path / "sweep").iterdir()))))
    runs = len(list((tmp_path / "sweep").iterdir()))
    record_jobs(tmp_path / "sweep", ["done"] * runs)
    assert command("sweep=sweep", "hydra.run.dir=out") == 0
    assert "Cross-validations" in command.out and command.record()["settings"]["split"] is None


def test_what_is_no_sweep_or_has_nothing_done_is_refused(command, tmp_path):
    make_run(tmp_path / "runs" / "0", table(1.0, 0))
    command.refuses("no_sweep", ("sweep=runs", "runs="), "sweep=runs")
    command.refuses("no_sweep", ("sweep=elsewhere",), "sweep=elsewhere")
    command.refuses("conflicting_settings", ("runs=", "sweep="), "sweep=runs", "runs=runs")
    record_jobs(tmp_path / "runs", ["failed", "missing"])
    command.refuses("nothing_to_compare", ("jobs.csv",), "sweep=runs")


@pytest.mark.slow
def test_p53_of_many_runs_all_pairs_are_corrected_for_and_the_best_ones_are_shown(command, tmp_path):
    """Twenty runs with several images a patient: quick, and a clear difference outlives 190 comparisons."""
    for k in range(20):
        make_run(tmp_path / "sweep" / str(k), table(0.1 + 0.12 * k, k, n=400, group_size=2))
    began = time.perf_counter()
    assert command("runs=sweep", "hydra.run.dir=out") == 0
    assert time.perf_counter() - began < 30
    record = command.record()
    assert len(record["comparisons"]) == 190
    assert min(one["p_holm"] for one in record["comparisons"]) < 0.05
    assert command.page().count("| run 19 | run ") == 19 and "| run 18 | run 17 |" not in command.page()
    for text in (command.page(), command.out):
        assert noted(text.splitlines(), "run 19", "190", "comparison.csv")
    clear = sum(one["p_holm"] < 0.05 for one in record["comparisons"] if one["a"] == "run 19")
    assert 10 < clear < 19 and noted(record["conclusions"], "run 19", f"{clear - 10} more")


def test_more_classes_have_no_threshold(command, tmp_path):
    for k, lift in enumerate((2.0, 0.5)):
        make_run(tmp_path / "sweep" / f"m{k}", table(lift, k, classes=("a", "b", "c")), positive_class=None)
    assert command("runs=sweep", "metric=null", "hydra.run.dir=out") == 0
    record = command.record()
    assert record["metrics"] == list(metrics_of("abc"))
    assert [one["operating_point"] for one in record["classifiers"]] == [None, None]
    assert "threshold" not in command.page()
    command.refuses("not_binary", ("3", "sensitivity", "auroc"), "runs=sweep", "metric=sensitivity")


# --- thresholds


def test_each_run_has_its_own_operating_point(command, tmp_path):
    make_run(tmp_path / "s" / "a", table(1.5, 1), point={"threshold": 0.4, "checkpoint": "hash1"})
    make_run(tmp_path / "s" / "b", table(1.5, 2), point={"threshold": 0.6, "checkpoint": "hash2"})
    assert command("runs=s", "metric=sensitivity", "hydra.run.dir=out") == 0
    (told,) = command.record()["comparisons"]
    for name, at, rows in (("first", 0.4, table(1.5, 1)), ("second", 0.6, table(1.5, 2))):
        cases = rows[rows["label"] == "malignant"]
        assert told[name] == pytest.approx((cases["prob_malignant"] >= at).mean())
    for threshold, text in (("0.400", command.out), ("0.600", command.page())):
        assert noted(text.splitlines(), f"hash{1 + (threshold == '0.600')}", threshold, "Youden", "val", "90")
    assert not noted(command.record()["notes"], "0.5")


def test_p44_a_threshold_of_other_weights_is_not_used(command, tmp_path, caplog):
    make_run(tmp_path / "s" / "a", table(1.5, 1), point={"threshold": 0.0, "checkpoint": "other"})
    make_run(tmp_path / "s" / "b", table(1.5, 2))
    assert command("runs=s", "metric=accuracy", "hydra.run.dir=out") == 0
    (warned,) = logged(caplog, "different_checkpoints")
    assert noted([warned], "other", "hash1", "0.5")
    assert noted(command.record()["notes"], "a, b", "0.5")
    assert [one["operating_point"]["policy"] for one in command.record()["classifiers"]] == ["not fitted"] * 2
    assert [one["operating_point"]["threshold"] for one in command.record()["classifiers"]] == [0.5, 0.5]


def test_p45_a_threshold_of_zero_is_one(command, tmp_path):
    for name, seed in (("a", 1), ("b", 2)):
        make_run(tmp_path / "s" / name, table(1.5, seed), point={"threshold": 0.0, "checkpoint": f"hash{seed}"})
    assert command("runs=s", "metric=sensitivity", "hydra.run.dir=out") == 0
    assert command.record()["comparisons"][0]["first"] == 1.0


def test_an_auroc_comparison_does_not_mention_thresholds(command, pair):
    assert command("runs=runs") == 0
    assert "threshold" not in command.out


# --- tables of other tools


def test_another_tools_table_takes_groups_split_and_class_from_the_run(command, tmp_path):
    make_run(tmp_path / "run", table(2.0, 1, group_size=2))
    theirs = table(1.0, 2, group_size=2)[["path", "label", "prob_malignant", "prob_benign"]]
    theirs.sample(frac=1, random_state=0).to_csv(tmp_path / "their tool.csv", index=False)
    assert command("runs=[their tool.csv,run]", "hydra.run.dir=out") == 0
    (told,) = command.record()["comparisons"]
    assert numbers(told["rows"]) == ["120", "60"]
    assert (told["a"], told["b"]) == ("their tool.csv", "run")
    assert command.record()["split"] == "test"
    names = ("run", "'malignant'", "positive_class", "'benign'")
    command.refuses("different_positive_class", names, "runs=[run,their tool.csv]", "positive_class=benign")


def test_tables_alone_need_the_positive_class(command, tmp_path):
    for name, seed in (("x.csv", 1), ("y.csv", 2)):
        table(1.5, seed).drop(columns=["group", "split", "checkpoint"]).to_csv(tmp_path / name, index=False)
    command.refuses("no_positive_class", ("x.csv", "positive_class", "'benign'", "'malignant'"), "runs=x.csv,y.csv")
    assert command("runs=x.csv,y.csv", "positive_class=malignant", "hydra.run.dir=out") == 0
    assert command.record()["split"] == "" and noted(command.page().splitlines(), "120")


def test_p42_hard_labels_have_no_auroc_to_compare(command, pair, tmp_path):
    hard = table(1.5, 3).assign(prob_benign=lambda t: (t["prob_benign"] > 0.5) * 1.0)
    hard["prob_malignant"] = 1 - hard["prob_benign"]
    hard.to_csv(tmp_path / "hard.csv", index=False)
    hard_run = "runs=[runs/breast-large-20260101,hard.csv]"
    command.refuses("hard_labels", ("'malignant'",), hard_run, "positive_class=malignant")
    # Its calls are calls all the same.
    assert command(hard_run, "metric=accuracy", "hydra.run.dir=out") == 0
    (told,) = command.record()["comparisons"]
    right = (hard["prob_malignant"] == 1) == (hard["label"] == "malignant")
    assert told["second"] == pytest.approx(right.mean()) and told["method"].startswith("McNemar")
    assert command.record()["classifiers"][1]["figures"][0]["estimate"] == pytest.approx(right.mean())


def test_a_class_without_an_image_is_undefined(command, tmp_path):
    for k in range(3):
        rows = table(1.5, k)
        make_run(tmp_path / "s" / str(k), rows[rows["label"] == "benign"])
    assert command("runs=s", "metric=null", "hydra.run.dir=out") == 0
    told = dict(zip(command.record()["metrics"], command.record()["conclusions"], strict=True))
    verdicts = {one["metric"]: one["verdict"] for one in command.record()["comparisons"]}
    assert verdicts["auroc"] == "undefined" != verdicts["specificity"]
    assert noted([told["specificity"]], "specificity", "3") and noted([told["brier"]], "Brier score", "3")
    assert "malignant (0)" in command.page()


def test_tables_without_a_row_are_undefined(command, tmp_path):
    for name in ("x.csv", "y.csv"):
        table().iloc[:0].to_csv(tmp_path / name, index=False)
    assert command("runs=x.csv,y.csv", "positive_class=malignant", "metric=null", "hydra.run.dir=out") == 0
    assert {one["verdict"] for one in command.record()["comparisons"]} == {"undefined"}


# --- other splits, and what cannot be compared


def test_p09_val_is_compared_with_its_caution(command, tmp_path):
    for name, seed in (("a", 1), ("b", 2), ("c", 3)):
        make_run(tmp_path / "s" / name, table(1.5, seed, split="val"))
    assert command("runs=[s/a,s/b]", "split=val", "hydra.run.dir=out") == 0
    assert TOOK_PART["val"] in command.record()["conclusions"][0] and TOOK_PART["val"] in command.page()
    assert command("runs=s", "split=val", "hydra.run.dir=three") == 0
    assert TOOK_PART["val"] in command.page("three") and TOOK_PART["val"] in command.out


def test_runs_that_were_not_evaluated_show_the_commands_to_type(command, pair, tmp_path):
    make_run(tmp_path / "runs" / "odd run", table(split="val"))
    error = command.refuses("not_evaluated", ("1", "3", "test", "val"), "runs=runs")
    (line,) = [line for line in error.splitlines() if "medcls.evaluate" in line]
    words = shlex.split(line)
    assert words[:3] == ["python", "-m", "medcls.evaluate"] and words[-1] == "split=test"
    assert not (command.home / "comparisons").exists()


def other_images(rows):
    return rows.assign(path="x" + rows["path"])


def other_labels(rows):
    return rows.assign(label=rows["label"].map({"benign": "malignant", "malignant": "benign"}))


def other_classes(rows):
    return rows.rename(columns={"prob_benign": "prob_healthy"}).assign(label=rows["label"].replace("benign", "healthy"))


def other_groups(rows):
    return rows.assign(group="one")


@pytest.mark.parametrize(
    ("change", "kind", "names"),
    [
        (other_images, "different_images", ("120 images: a\n", "120 images: b\n", " 0.)")),
        (other_labels, "rows_disagree", ("120", "label", "'0000.png'", "'benign'", "'malignant'")),
        (other_classes, "different_classes", ("benign, malignant", "healthy, malignant")),
        (other_groups, "rows_disagree", ("120", "group", "'0000.png'", "'one'")),
    ],
)
def test_what_cannot_be_paired_is_refused_and_leaves_nothing(command, tmp_path, change, kind, names):
    make_run(tmp_path / "s" / "a", table(1.5, 1))
    make_run(tmp_path / "s" / "b", change(table(1.5, 2)))
    command.refuses(kind, names, "runs=s")
    assert sorted(path.name for path in command.home.iterdir()) == ["s"]


def test_runs_of_different_seeds_are_sorted_by_what_they_share(command, tmp_path):
    for k in range(4):
        rows = table(1.5, k)
        make_run(tmp_path / "s" / str(k), rows.iloc[:100] if k % 2 else rows.iloc[10:])
    names = ("110 images: run 0, run 2", "100 images: run 1, run 3", "run 0", "run 1", " 90")
    command.refuses("different_images", names, "runs=s")


def test_one_split_is_compared_at_a_time(command, tmp_path):
    table(1.5, 1, split="val").to_csv(tmp_path / "a.csv", index=False)
    table(1.5, 2, split="test").to_csv(tmp_path / "b.csv", index=False)
    names = ("val", "a.csv", "test", "b.csv")
    command.refuses("different_splits", names, "runs=[a.csv,b.csv]", "positive_class=malignant")


@pytest.mark.parametrize(
    ("arguments", "kind", "names"),
    [
        ((), "nothing_to_compare", ("runs=",)),
        (("runs=[]",), "nothing_to_compare", ("runs=",)),
        (("runs=[runs/breast-large-20260101]",), "too_few_runs", ("runs/breast-large-20260101",)),
        (
            ("runs=[runs/breast-large-20260101,./runs/breast-large-20260101]",),
            "run_given_twice",
            ("runs/breast-large-20260101",),
        ),
        (("runs=[runs,runs/breast-large-20260101]",), "run_given_twice", ("runs/breast-large-20260101",)),
        (
            ("runs=[runs/breast-large-20260101,runs/breast-large-20260101/predictions/test.csv]",),
            "run_given_twice",
            ("runs/breast-large-20260101/predictions/test.csv", " runs/breast-large-20260101:"),
        ),
        (
            ("runs=[runs/breast-large-20260101,runs/breast-smal-20260102]",),
            "no_such_file",
            ("runs/breast-smal-20260102", " breast-small-20260102"),
        ),
        (("runs=[.,runs]",), "not_a_run", ("config.yaml", "predictions/")),
        (("runs=runs", "metric=acuracy"), "unknown_metric", ("'acuracy'", " accuracy")),
        (("runs=runs", "metric=[auroc,acuracy]"), "unknown_metric", ("'acuracy'", " accuracy")),
        (("runs=runs", "metric=[]"), "bad_value", ("metric", "[]")),
        (("runs=runs", "metric=net_benefit"), "missing_setting", ("threshold_probability=",)),
        (("runs=runs", "threshold_probability=1"), "bad_value", ("threshold_probability", "1")),
        (("runs=runs", "margin=0"), "bad_value", ("margin", "0")),
        (("runs=runs", "margin=high"), "bad_value", ("margin", "'high'")),
        (("runs=runs", "cross_validations=runs"), "conflicting_settings", ("runs=", "cross_validations=")),
        (("cross_validations=runs",), "no_fold", ("splits.csv",)),
        (("runs=runs", "resamples=3"), "bad_value", ("resamples", "3")),
        (("runs=runs", "seed=-1"), "bad_value", ("seed", "-1")),
        (("runs=runs", "split=../x"), "bad_value", ("split", "'../x'")),
    ],
)
def test_bad_input_is_an_error_and_leaves_nothing(command, pair, arguments, kind, names):
    command.refuses(kind, names, *arguments)
    assert sorted(path.name for path in command.home.iterdir()) == ["runs"]


def test_an_unknown_setting_is_named_and_leaves_nothing(command, pair):
    assert command("runs=runs", "splt=val") == 2
    assert "splt" in command.err
    assert sorted(path.name for path in command.home.iterdir()) == ["runs"]


@pytest.mark.parametrize("content", ["{", "[1]", '{"operating_point": {"policy": 1}}', "{}"])
def test_damaged_policies_are_named(command, pair, content):
    (pair[0] / "policies.json").write_text(content)
    command.refuses("damaged_operating_point", ("breast-large-20260101/policies.json",), "runs=runs")


@pytest.mark.parametrize("content", ["a: [", "- 1\n", "text"])
def test_a_damaged_configuration_is_named(command, pair, content):
    (pair[0] / "config.yaml").write_text(content)
    command.refuses("damaged_configuration", ("breast-large-20260101/config.yaml",), "runs=runs")


def test_a_folder_with_a_comparison_is_not_written_over(command, pair):
    assert command("runs=runs", "hydra.run.dir=out") == 0
    before = command.page()
    names = (str(command.home / "out"), "hydra.run.dir")
    command.refuses("folder_taken", names, "runs=runs", "metric=accuracy", "hydra.run.dir=out")
    assert command.page() == before


# --- a margin, and several metrics


def test_a_margin_is_asked_of_the_first_against_the_second(command, pair):
    runs = "runs=[runs/breast-large-20260101,runs/breast-small-20260102]"
    assert command(runs, "margin=0.05", "metric=[auroc,brier]", "hydra.run.dir=out") == 0
    held = command.record()["against_margin"]
    assert [one["metric"] for one in held] == ["auroc", "brier"]
    assert (held[0]["a"], held[0]["b"], held[0]["verdict"]) == ("large", "small", "not_inferior")
    assert all(held[0]["sentence"] in text for text in (command.out, command.page()))
    assert command.record()["settings"]["margin"] == 0.05
    turned = "runs=[runs/breast-small-20260102,runs/breast-large-20260101]"
    assert command(turned, "margin=0.05", "hydra.run.dir=turned") == 0
    (held,) = command.record("turned")["against_margin"]
    assert (held["a"], held["b"], held["verdict"]) == ("small", "large", "inferior")


def test_a_margin_with_more_than_two_is_refused(command, tmp_path):
    for k in range(3):
        make_run(tmp_path / "s" / str(k), table(1.0, k))
    command.refuses("not_two_runs", ("margin=0.05", "3", "run 0, run 1, run 2"), "runs=s", "margin=0.05")


def test_a_net_benefit_is_compared_where_a_person_would_act(command, pair):
    assert command("runs=runs", "metric=null", "threshold_probability=0.1", "hydra.run.dir=out") == 0
    record = command.record()
    assert record["metrics"][-1] == "net_benefit"
    own = record["classifiers"][0]["figures"][-1]
    rows = read_csv(pair[0] / "predictions" / "test.csv", "malignant")
    wanted = decision_curve(rows, [0.1]).iloc[0]
    assert (own["estimate"], own["low"], own["high"]) == pytest.approx(tuple(wanted[["model", "low", "high"]]))
    assert noted(record["notes"], "0.1")


def test_two_runs_with_the_same_predictions_are_reported_as_such(command, tmp_path):
    for k in range(2):
        make_run(tmp_path / "s" / f"m{k}", table(1.5, 1, checkpoint=f"weights{k}"))
    assert command("runs=s", "metric=[auroc,brier]", "margin=0.05", "hydra.run.dir=out") == 0
    assert noted(command.record()["notes"], "m0", "m1")
    assert {one["verdict"] for one in command.record()["comparisons"]} == {"undecided"}


def test_two_seeds_of_the_same_settings_are_reported_as_such(command, tmp_path):
    for k in range(2):
        make_run(tmp_path / "seeds" / f"m{k}", table(1.5, k), seed=k, model={"name": "m"})
        make_run(tmp_path / "models" / f"m{k}", table(1.5, k))
    assert command("runs=seeds", "hydra.run.dir=out") == 0
    assert noted(command.record()["notes"], "cross_validations")
    assert command("runs=models", "hydra.run.dir=others") == 0
    assert not noted(command.record("others")["notes"], "cross_validations")


# --- whole cross-validations


def make_folds(folder: Path, lift: float, noise: int, seeds=(0,), given=False, **settings) -> Path:
    """The runs of a sweep over folds, and over seeds, each with what it held out."""
    split, n = "held_out" if given else "test", 120
    for seed in seeds:
        order = np.random.default_rng(seed).permutation(n)
        for number in range(4):
            held = np.sort(order[number::4])
            rows = table(lift, 100 * noise + 10 * seed + number, split=split).iloc[held]
            data = {"folds": 4, "fold": number, "root": "/somewhere"}
            run = make_run(
                folder / f"{seed}{number}", rows, data=data, seed=seed, **{"model": {"name": "m"}} | settings
            )
            counts = f"split,images\ntrain,{80 - len(held) % 2}\nval,10\n{split},{len(held)}\n"
            (run / "splits.csv").write_text(counts)
    return folder


def test_cross_validations_are_compared_fold_by_fold(command, tmp_path):
    make_folds(tmp_path / "sweep-large", 2.5, 1, (0, 1), model={"name": "large"})
    make_folds(tmp_path / "sweep-small", 0.5, 2, (0, 1), model={"name": "small"})
    assert command("cross_validations=[sweep-large,sweep-small]", "hydra.run.dir=out") == 0
    record = command.record()
    (sentence,) = record["conclusions"]
    assert noted([sentence], "8", "large", "small", "AUROC")
    assert [one["settings"] for one in record["cross_validations"]] == ["model=large", "model=small"]
    (told,) = record["comparisons"]
    assert told["correlation"] == pytest.approx(0.25) and told["freedom"] == 7 and told["verdict"] == "better"
    assert noted(record["notes"], "0.25")
    for text in (" ".join(command.out.split()), command.page()):
        assert sentence in text and all(note in text for note in record["notes"])
    assert {path.name for path in (command.home / "out").iterdir()} == {
        "comparison.json", "comparison.csv", "comparison.md", "compare.log",
    }  # fmt: skip


def test_one_sweep_over_two_settings_holds_two_cross_validations(command, tmp_path):
    (tmp_path / "sweep").mkdir()
    for number, name in enumerate(("large", "small")):
        make_folds(tmp_path / name, 1.5, number, given=True, model={"name": name})
        for run in list((tmp_path / name).iterdir()):
            run.rename(tmp_path / "sweep" / f"{number}{run.name}")
    assert command("cross_validations=sweep", "hydra.run.dir=out") == 0
    assert [one["name"] for one in command.record()["cross_validations"]] == ["model=large", "model=small"]
    assert command.record()["comparisons"][0]["verdict"] == "undecided"


def test_one_cross_validation_has_nothing_to_be_compared_with(command, tmp_path):
    make_folds(tmp_path / "sweep", 1.0, 0, (0, 1))
    command.refuses("too_few_runs", ("sweep", "cross_validations="), "cross_validations=sweep")
    # The same settings twice are two ways of training that happen to be the same.
    make_folds(tmp_path / "again", 1.0, 1, (0, 1))
    assert command("cross_validations=[sweep,again]") == 0


def test_folds_that_were_not_evaluated_show_the_commands_to_type(command, tmp_path):
    for name, noise in (("a", 0), ("b", 1)):
        make_folds(tmp_path / name, 1.0, noise, given=name == "b")
    for run in ("a/00", "b/01"):
        (csv,) = (tmp_path / run / "predictions").iterdir()
        csv.unlink()
    error = command.refuses("not_evaluated", ("2", "evaluate_test=true"), "cross_validations=[a,b]")
    typed = [shlex.split(line)[3:] for line in error.splitlines() if "medcls.evaluate" in line]
    assert typed == [["run='a/00'", "split=test"], ["run='b/01'", "split=held_out"]]


@pytest.mark.parametrize(
    ("spoil", "names"),
    [
        (lambda run: (run / "splits.csv").unlink(), ("a/00/splits.csv", "FileNotFoundError")),
        (lambda run: (run / "splits.csv").write_text("split,images\ntest,3\n"), ("a/00", "splits.csv")),
        (lambda run: (run / "splits.csv").write_text("split,images\ntest,many\n"), ("a/00/splits.csv", "'many'")),
        (lambda run: (run / "config.yaml").unlink(), ("a/00", "config.yaml")),
        (lambda run: (run / "config.yaml").write_text("positive_class: malignant\n"), ("a/00", "config.yaml", "seed")),
    ],
)
def test_a_run_without_the_needed_settings_is_no_fold(command, tmp_path, spoil, names):
    for name, noise in (("a", 0), ("b", 1)):
        make_folds(tmp_path / name, 1.0, noise)
        for run in (tmp_path / name).iterdir():
            spoil(run)
    command.refuses("no_fold", names, "cross_validations=[a,b]")


# --- names


@pytest.mark.parametrize("form", ["runs=[{0},{1}]", "runs={0},{1}", "runs=[{0}, {1}]"])
def test_folders_are_named_as_typed(command, tmp_path, form):
    for name, seed in (("乳腺 癌/(a=1)", 1), ("乳腺 癌/b|<i>", 2)):
        make_run(tmp_path / name, table(1.5, seed))
    assert command(form.format("乳腺 癌/(a=1)", "乳腺 癌/b|<i>"), "hydra.run.dir=out") == 0
    assert [one["name"] for one in command.record()["classifiers"]] == ["(a=1)", "b|<i>"]
    assert "b\\|&lt;i>" in command.page() and "<i>" not in command.page().split("    python")[0]


def test_a_comma_in_a_name_is_quoted(command, tmp_path):
    make_run(tmp_path / "a,b", table(1.5, 1))
    make_run(tmp_path / "c", table(1.5, 2))
    assert command("runs=['a,b','c']") == 0


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (["runs/a", "runs/b"], ["a", "b"]),
        (["x/0", "y/0"], ["x/0", "y/0"]),
        (["s/0", "s/10"], ["run 0", "run 10"]),
        (["r/set-large-20260101-1200", "r/set-small-20260102-1300"], ["large", "small"]),
        (["r/set-large-20260101-1200", "r/set-large-20260101-1300"], ["run 1200", "run 1300"]),
        (["r/set", "r/set-large"], ["set", "set-large"]),
        (["r/a-b-1", "r/a-c-1", "r/a-c-2"], ["b-1", "c-1", "c-2"]),
        (["x/a/b", "x-a/b"], ["a/b", "x-a/b"]),
    ],
)
def test_names_are_the_shortest_that_are_unique(tmp_path, folders, expected):
    assert names([tmp_path / folder for folder in folders]) == expected


def test_runs_of_a_sweep_come_in_the_order_of_their_numbers(tmp_path):
    for k in (10, 9, 1, 100):
        (tmp_path / str(k) / "predictions").mkdir(parents=True)
    assert [path.name for path in runs_in(tmp_path)] == ["1", "9", "10", "100"]


def test_settings_that_differ_are_named():
    def told(*settings):
        return differences([None if one is None else Configuration(one) for one in settings])

    one = {"model": {"name": "a", "network": {"x": 1}}, "seed": 0, "data": {"root": "/a", "folds": None}}
    two = {"model": {"name": "b", "network": {"x": 2}}, "seed": 1, "data": {"root": "/b", "folds": None}}
    assert told(one, two) == ["model=a, seed=0", "model=b, seed=1"]
    assert told(one, one, None) == ["", "", ""]
    network = {"name": "b", "network": {"name": "x", "_target_": "torchvision.b"}}
    assert told(one, two | {"model": network, "seed": 0}) == ["model=a", "model=b"]
    sgd = {"optimizer": {"_target_": "torch.optim.SGD", "lr": 0.1, "momentum": None}}
    adam = {"optimizer": {"_target_": "torch.optim.Adam", "lr": 0.1, "betas": [0.9, 0.99]}}
    assert told(sgd, adam) == ["optimizer=SGD", "optimizer=Adam, optimizer.betas=[0.9, 0.99]"]
    many = [{f"key{k}": value for k in range(9)} for value in (0, 1)]
    assert told(*many)[0].endswith("key5=0 and 3 more")


def test_p52_classes_of_few_images_are_named(command, tmp_path):
    for name, seed in (("a", 1), ("b", 2)):
        make_run(tmp_path / "s" / name, table(1.5, seed).iloc[:50])
    assert command("runs=s", "hydra.run.dir=out") == 0
    assert noted(command.record()["notes"], "30", "benign (25), malignant (25")


def test_synthetic_images_have_a_watermark(command, tmp_path):
    for name, seed in (("a", 1), ("b", 2)):
        make_run(tmp_path / "s" / name, table(1.5, seed).assign(stamp="SYNTHETIC: not patients"))
    assert command("runs=s", "hydra.run.dir=out") == 0
    assert "SYNTHETIC: not patients" in command.out and "**SYNTHETIC: not patients**" in command.page()
    assert command.record()["stamps"] == ["SYNTHETIC: not patients"]


def test_the_same_weights_twice_are_noticed(command, tmp_path):
    for name in ("a", "b"):
        make_run(tmp_path / "s" / name, table(1.5, 1))
    assert command("runs=s") == 0
    assert "a, b" in command.out and noted([line for line in command.out.splitlines() if "a, b" in line], "hash1")


# --- from a shell


@pytest.mark.slow
def test_from_a_shell_into_comparisons(pair, tmp_path):
    command = [sys.executable, "-m", "medcls.compare", "runs=runs"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"COLUMNS": "80"})
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "comparisons").iterdir()
    (sentence,) = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))["conclusions"]
    assert sentence in " ".join(done.stdout.split())
    assert (folder / "comparison.md").is_file()


def test_the_command_starts_light():
    heavy = ("torch", "lightning", "numpy", "pandas")
    code = f"import sys, medcls.compare; print([m for m in {heavy} if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
