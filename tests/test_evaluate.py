"""The evaluate command: a run, another site, a table of any tool, the folds of a cross-validation."""

import errno
import html
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from entry_points import FAST, run_main
from refusals import logged, noted, refused_command

from medcls import evaluate, train
from medcls.evaluation.predictions import TOOK_PART
from medcls.runs.run_folder import RunFolder
from medcls.statistics import causes
from medcls.workflow import reporting


@pytest.fixture(scope="module")
def run(finished, tmp_path_factory):
    """A copy of a finished run, to write into."""
    return Path(shutil.copytree(finished, tmp_path_factory.mktemp("evaluate") / "run"))


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """Evaluations go into a folder below where the command is started."""
    monkeypatch.chdir(tmp_path)


def refuses(kind: str, names: tuple[str, ...], *arguments: str) -> None:
    """The command will not do it, by an error of a kind that names each of these; no folder is left behind."""
    refused_command(kind, names, evaluate.main, *arguments)
    assert not Path("evaluations").exists()


def metric_sections(page: Path) -> str:
    """The part of a report that comes from the predictions alone."""
    found = re.search(r'<section id="metrics">.*?\n</section>', page.read_text(encoding="utf-8"), re.S)
    assert found
    return found[0]


def metrics(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_the_effect_of_16_bits_is_printed_and_the_run_keeps_its_exact_results(finished, capsys):
    before = (finished / "predictions" / "test.csv").read_bytes()
    run_main(evaluate.main, f"run={finished}", "precision=bf16", "resamples=100", "hydra.run.dir=near")
    said = capsys.readouterr().out
    assert noted(said.splitlines(), "bf16", "12") and noted([" ".join(said.split())], "bf16", "exact", "of 12")
    assert (finished / "predictions" / "test.csv").read_bytes() == before
    exact, near = (pd.read_csv(folder / "predictions" / "test.csv") for folder in (finished, Path("near")))
    assert exact["path"].tolist() == near["path"].tolist()
    difference = (exact["prob_得病"] - near["prob_得病"]).abs().max()
    assert 0 < difference < 0.1
    (watermark,) = [one for one in metrics(Path("near"))["stamps"] if "bf16" in one]
    assert watermark in (Path("near") / "report.html").read_text(encoding="utf-8")


def test_a_run_is_evaluated_into_its_own_folder_as_training_left_it(run, finished):
    (run / "predictions" / "test.csv").unlink()
    (run / "predictions" / "test_at_stated_prevalence.csv").write_text("of an earlier evaluation")
    (run / "report.html").unlink()
    run_main(evaluate.main, f"run={run}", "split=test")
    for name in ("predictions/test.csv", "predictions/val.csv", "policies.json"):
        assert (run / name).read_bytes() == (finished / name).read_bytes()
    now, then = metrics(run), metrics(finished)
    assert now["test"] == then["test"]
    assert metric_sections(run / "report.html") == metric_sections(finished / "report.html")
    assert not (run / "predictions" / "test_at_stated_prevalence.csv").exists()
    assert not Path("evaluations").exists()


@pytest.mark.slow
def test_metric_sections_from_the_csv_equal_those_from_the_run_byte_for_byte(finished, tmp_path):
    run_main(
        evaluate.main, f"predictions={finished}/predictions/test.csv", "positive_class=得病",
        f"hydra.run.dir={tmp_path}/from_csv",
    )  # fmt: skip
    run_main(
        evaluate.main, f"predictions={finished}/predictions/test.csv", f"val={finished}/predictions/val.csv",
        "positive_class=得病", f"hydra.run.dir={tmp_path}/fitted",
    )  # fmt: skip
    expected = metric_sections(finished / "report.html")
    assert metric_sections(tmp_path / "from_csv" / "report.html") == expected
    # Fitted again on the same rows, the policies are the same too.
    assert metric_sections(tmp_path / "fitted" / "report.html") == expected


@pytest.mark.slow
def test_a_table_alone_is_evaluated_at_a_threshold_that_was_not_fitted(tmp_path):
    draw = np.random.default_rng(0)
    score = draw.uniform(0.05, 0.95, 80)
    label = np.where(draw.uniform(size=80) < score, "<script>alert(1)</script>", 'a, "b"')
    table = pd.DataFrame({"path": [f"{n}.png" for n in range(80)], "label": label})
    table['prob_a, "b"'], table["prob_<script>alert(1)</script>"] = 1 - score, score
    table.to_csv(tmp_path / "other.csv", index=False)
    run_main(
        evaluate.main, f"predictions={tmp_path}/other.csv", "positive_class='<script>alert(1)</script>'",
        f"hydra.run.dir={tmp_path}/out",
    )  # fmt: skip
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert metrics(tmp_path / "out")["predictions"]["threshold_fitted"] is False
    run_main(
        evaluate.main, f"predictions={tmp_path}/other.csv", "positive_class='<script>alert(1)</script>'",
        "operating_point=fixed=0.3", f"hydra.run.dir={tmp_path}/fixed",
    )  # fmt: skip
    assert metrics(tmp_path / "fixed")["predictions"]["threshold"] == 0.3


def test_a_mean_over_a_patients_images_needs_no_fit(tmp_path):
    table = pd.read_csv(other_tool(tmp_path / "table.csv"))
    table.assign(group=[f"p{row // 2}" for row in range(len(table))]).to_csv(tmp_path / "pairs.csv", index=False)
    run_main(
        evaluate.main, f"predictions={tmp_path}/pairs.csv", "positive_class=ill", "aggregate=mean", "resamples=100",
        f"hydra.run.dir={tmp_path}/out",
    )  # fmt: skip
    units = metrics(tmp_path / "out")["units"]["predictions"]
    assert units["values"]["n"] == len(table) / 2 and units["threshold_fitted"] is False
    assert 0 <= units["values"]["auroc"] <= 1


def test_p44_nothing_is_fitted_on_the_result(finished):
    test = (f"predictions={finished}/predictions/test.csv", "positive_class=得病")
    refuses("nothing_to_fit_on", ("operating_point", "val=FILE.csv"), *test, "operating_point=youden")
    names = ("12 images", "val", "得病/00.png")
    refuses("fitted_on_the_result", names, *test, f"val={finished}/predictions/test.csv", "calibrate=true")


def test_p44_val_must_be_other_images(tmp_path):
    result = other_tool(tmp_path / "result.csv")
    val = other_tool(tmp_path / "val.csv", split="val")
    names = ("40 images", "val", "0.png")
    refuses("fitted_on_the_result", names, f"predictions={result}", f"val={val}", "positive_class=ill")


def test_a_folder_that_holds_a_run_or_an_evaluation_is_not_written_over(finished, tmp_path):
    table = other_tool(tmp_path / "table.csv")
    (tmp_path / "earlier").mkdir()
    (tmp_path / "earlier" / "report.html").write_text("earlier")
    for taken in (finished, tmp_path / "earlier"):
        before = (taken / "report.html").read_bytes()
        arguments = (f"predictions={table}", "positive_class=ill", f"hydra.run.dir={taken}")
        refuses("folder_taken", (str(taken), "hydra.run.dir"), *arguments)
        assert (taken / "report.html").read_bytes() == before


@pytest.mark.parametrize(
    ("setting", "kind", "name"),
    [
        ("prevalence={maligant: 0.1}", "unknown_class", "'maligant'"),
        ("subgroups={sexx: null}", "unknown_column", "'sexx'"),
        ("ordered=[mild, severe]", "different_classes", "severe"),
    ],
)
@pytest.mark.parametrize("elsewhere", [False, True])
def test_settings_that_do_not_fit_the_images_are_refused_before_any_is_predicted(
    run, monkeypatch, capsys, setting, kind, name, elsewhere
):
    monkeypatch.setattr("medcls.inference.predict.predict_split", lambda *_, **__: pytest.fail("predicted"))
    before = {path: path.read_bytes() for path in (run / "predictions").iterdir()}
    other = [f"data.root={yaml.safe_load((run / 'config.yaml').read_text())['data']['root']}"] if elsewhere else []
    refuses(kind, (name,), f"run={run}", setting, *other)
    assert "python -m medcls" not in capsys.readouterr().err, "there is nothing to go on with"
    assert {path: path.read_bytes() for path in (run / "predictions").iterdir()} == before


def test_a_full_disk_leaves_only_complete_files_of_an_evaluation(tmp_path, monkeypatch, capsys):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, no_space)

    no_space = "No space left on device"
    command = f"predictions={other_tool(tmp_path / 'table.csv')}"
    for stage in ("judge", "report"):
        assert not Path("evaluations").exists()
        with monkeypatch.context() as disk:
            disk.setattr(f"medcls.workflow.reporting.{stage}", full)
            disk.setattr("sys.argv", ["medcls.evaluate", command, "positive_class=ill"])
            with pytest.raises(SystemExit) as end:
                evaluate.main()
        said = capsys.readouterr().err
        assert end.value.code == 2 and no_space in said
    assert "metrics.json" in said and f"medcls.evaluate {command}" in said
    (made,) = Path("evaluations").iterdir()
    assert metrics(made) and not (made / "report.html").exists()


@pytest.mark.slow
def test_two_evaluations_at_once_have_a_folder_each(tmp_path):
    table = other_tool(tmp_path / "table.csv")
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "medcls.evaluate", f"predictions={table}", "positive_class=ill", "resamples=100"],
            stdout=subprocess.DEVNULL,
        )
        for _ in range(2)
    ]
    assert [one.wait() for one in started] == [0, 0]
    assert len(list(Path("evaluations").iterdir())) == 2


@pytest.mark.slow
def test_another_operating_point_gets_a_folder_of_its_own(finished):
    before = (finished / "policies.json").read_bytes()
    run_main(evaluate.main, f"run={finished}", "operating_point=specificity>=0.9")
    assert (finished / "policies.json").read_bytes() == before
    (made,) = Path("evaluations").iterdir()
    point = json.loads((made / "policies.json").read_text(encoding="utf-8"))["operating_point"]
    assert point["policy"] == "specificity>=0.9" and point["split"] == "val"


def changed_copy(finished: Path, to: Path, **settings: object) -> Path:
    """Copy a run, with other settings in its configuration."""
    copy = Path(shutil.copytree(finished, to))
    config = yaml.safe_load((copy / "config.yaml").read_text(encoding="utf-8"))
    for name, value in settings.items():
        part, _, key = name.rpartition("__")
        (config[part] if part else config)[key] = value
    (copy / "config.yaml").write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    return copy


@pytest.mark.slow
def test_what_is_not_fitted_otherwise_is_as_the_run_had_it(finished, tmp_path):
    run = changed_copy(finished, tmp_path / "run", coverage=0.8)
    run_main(evaluate.main, f"run={run}", "operating_point=f1", "resamples=100")
    (made,) = Path("evaluations").iterdir()
    fitted = json.loads((made / "policies.json").read_text(encoding="utf-8"))
    assert fitted["conformal"]["coverage"] == 0.8 and fitted["operating_point"]["policy"] == "f1"


def test_folds_that_were_not_trained_alike_are_refused(finished, tmp_path):
    runs = [
        changed_copy(finished, tmp_path / f"{fold}", data__folds=2, data__fold=fold, optimizer__lr=lr)
        for fold, lr in enumerate((0.1, 0.2))
    ]
    names = ("data.fold", "optimizer.lr=0.1", "optimizer.lr=0.2")
    refuses("not_a_cross_validation", names, f"runs=[{runs[0]},{runs[1]}]")


def test_a_foreign_file_of_policies_beside_a_table_is_named(finished, tmp_path):
    table = Path(shutil.copytree(finished / "predictions", tmp_path / "mine" / "tables")) / "test.csv"
    (tmp_path / "mine" / "policies.json").write_text('{"of": "another tool"}')
    refuses("damaged_file", ("mine/policies.json",), f"predictions={table}", "positive_class=得病")


def test_more_than_two_classes_have_no_operating_point(tmp_path):
    table = other_tool(tmp_path / "table.csv", prob_dead=0.0)
    refuses("idle_setting", ("operating_point", "3"), f"predictions={table}", "operating_point=fixed=0.3")


@pytest.mark.slow
def test_views_are_averaged_and_fitted_for_themselves_or_not_at_all(finished):
    run_main(evaluate.main, f"run={finished}", "views=3")
    (made,) = Path("evaluations").iterdir()
    table = pd.read_csv(made / "predictions" / "test.csv")
    alone = pd.read_csv(finished / "predictions" / "test.csv")
    assert table["checkpoint"].iloc[0] == f"{alone['checkpoint'].iloc[0]}-3views"
    assert not np.allclose(table["prob_得病"], alone["prob_得病"])
    assert metrics(made)["test"]["threshold_fitted"] is False
    assert "logit_得病" not in table


@pytest.mark.slow
def test_the_effect_of_16_bits_is_measured_on_the_same_views(finished, monkeypatch):
    seen = []
    monkeypatch.setattr("medcls.cli.decision_rules.COMPARED_WITH_EXACT", 5)
    monkeypatch.setattr(reporting, "show_effect", lambda *given: seen.append(given))
    run_main(evaluate.main, f"run={finished}", "views=3", "precision=bf16", "resamples=100")
    ((exact, near, _, how),) = seen
    assert how == "bf16"
    assert len(exact) == 5 and exact.rows["path"].tolist() == near.rows["path"].tolist()
    alone = pd.read_csv(finished / "predictions" / "test.csv").set_index("path").loc[exact.rows["path"]]
    by_arithmetic = np.abs(exact.probabilities() - near.probabilities()).max()
    by_views = np.abs(exact.rows["prob_得病"].to_numpy() - alone["prob_得病"].to_numpy()).max()
    assert 0 < by_arithmetic < by_views / 2


def test_a_folder_that_holds_no_run_is_left_where_it_is(tmp_path):
    (tmp_path / "empty").mkdir()
    refuses("not_a_run", (f"{tmp_path}/empty", "config.yaml"), f"run={tmp_path}/empty")
    assert (tmp_path / "empty").is_dir()


def test_another_site_is_evaluated_with_the_stored_decision_rules(finished, folder, tmp_path):
    root = folder({"正常": 12, "得病": 9}, name="ward-of-a-colleague")
    run_main(evaluate.main, f"run={finished}", "data=folder", f"data.root={root}", "report.paths=hidden")
    (made,) = Path("evaluations").iterdir()
    assert (made / "policies.json").read_bytes() == (finished / "policies.json").read_bytes()
    for page in ("report.html", "report.md"):
        assert "ward-of-a-colleague" not in (made / page).read_text(encoding="utf-8")
    told = metrics(made)
    assert list(told)[-1] == "external" and told["external"]["values"]["n"] == 21
    assert told["test"]["values"] == metrics(finished)["test"]["values"]  # the internal figures beside it
    assert set(pd.read_csv(made / "predictions" / "external.csv")["split"]) == {"external"}


def test_another_site_must_know_the_same_classes(finished, folder):
    root = folder({"healthy": 6, "得病": 6}, name="elsewhere")
    refuses("unknown_class", ("healthy", "data.label_map"), f"run={finished}", "data=folder", f"data.root={root}")


@pytest.mark.slow
def test_training_images_at_another_site_are_counted(finished, tmp_path, caplog):
    root = shutil.copytree(finished.parent / "images", tmp_path / "elsewhere")
    run_main(evaluate.main, f"run={finished}", f"data.root={root}")
    learned = pd.read_csv(finished / "manifest.csv")["split"].isin(("train", "val")).sum()
    assert noted(logged(caplog, "images_of_the_training"), str(learned))


@pytest.mark.parametrize(
    ("arguments", "kind", "names"),
    [
        ([], "nothing_to_evaluate", ("run=RUN", "runs=", "predictions=")),
        (["run=RUN", "predictions=x.csv"], "nothing_to_evaluate", ("run=RUN", "predictions=")),
        (["run=/no/such/run"], "not_a_run", ("/no/such/run", "config.yaml")),
        (["run=RUN", "split=nonsense"], "unknown_split", ("split=nonsense", "test, val, train")),
        (["run=RUN", "split=held_out"], "unknown_split", ("split=held_out", "test, val, train")),
        (["run=RUN", "views=0"], "bad_value", ("views", "0")),
        (["run=RUN", "precision=fp16"], "bad_value", ("precision", "'fp16'", "exact", "bf16")),
        (["run=RUN", "compile=maybe"], "bad_value", ("compile", "'maybe'")),
        (["predictions=TABLE", "precision=bf16"], "idle_setting", ("precision", "predictions")),
        (["run=RUN", "operating_point=best"], "bad_value", ("'best'", "youden")),
        (["run=RUN", "coverage=1.5"], "bad_value", ("coverage", "1.5")),
        (["run=RUN", "aggregate=sum"], "bad_value", ("aggregate", "'sum'")),
        (["run=RUN", "subgroups={age: [60, 40]}"], "bad_value", ("60, 40",)),
        (["run=RUN", "subgroups=[nonsense]"], "unknown_column", ("'nonsense'",)),
        (["run=RUN", "prevalence=2"], "bad_value", ("prevalence", "2")),
        (["run=RUN", "resamples=5"], "bad_value", ("resamples", "5")),
        (["run=RUN", "report.paths=no"], "bad_value", ("report.paths", "'no'")),
        (["run=RUN", "report=null"], "bad_value", ("report", "None")),
        (["run=RUN", "seed=abc"], "bad_value", ("seed", "'abc'")),
        (["run=RUN", "seed=-1"], "bad_value", ("seed", "-1")),
        (["run=RUN", "seed=null"], "bad_value", ("seed", "None")),
        (["run=RUN", "subgroups=sex"], "bad_value", ("subgroups", "'[sex]'")),
        (["run=RUN", "subgroups=5"], "bad_value", ("subgroups", "'[5]'")),
        (["run=RUN", "trust=no"], "bad_value", ("trust", "'no'")),
        (["run=RUN", "positive_class=正常"], "idle_setting", ("positive_class", "run")),
        (["run=RUN", "val=other.csv"], "idle_setting", ("val", "run")),
        (["run=RUN", "data.root=/elsewhere", "split=val"], "idle_setting", ("split", "another site")),
        (["runs=[RUN,/no/such/run]"], "no_such_folder", ("/no/such/run",)),
        (["runs=RUN/predictions/test.csv"], "no_such_folder", ("predictions/test.csv",)),
        (
            ["predictions=RUN/predictions/test.csv", "positive_class=得病", "split=val"],
            "idle_setting",
            ("split", "predictions"),
        ),
        (
            ["predictions=RUN/predictions/test.csv", "positive_class=得病", "data.root=/x"],
            "idle_setting",
            ("data", "predictions"),
        ),
        (["run=RUN", "images=/no/such/folder"], "unreadable_image", ("12 of 12", "/no/such/folder", "images=")),
        (["predictions=/no/such.csv", "positive_class=a"], "unreadable_table", ("/no/such.csv",)),
        (["predictions=RUN/predictions/test.csv"], "no_positive_class", ("positive_class", "'得病'")),
        (["predictions=RUN/predictions/test.csv", "positive_class=nobody"], "unknown_class", ("'nobody'", "得病")),
        (["runs=[RUN,RUN]"], "not_a_cross_validation", ("data.folds=", "medcls.compare")),
        (["runs=[RUN]"], "not_a_cross_validation", ("runs=",)),
    ],
)
def test_bad_input_is_an_error(finished, arguments, kind, names):
    refuses(kind, names, *(argument.replace("RUN", str(finished)) for argument in arguments))


@pytest.mark.parametrize(
    ("file", "content", "kind", "names"),
    [
        ("config.yaml", "{a: [", "damaged_configuration", ()),
        ("config.yaml", "a: 1", "damaged_configuration", ("data, model, seed",)),
        ("audit.json", "[1]", "damaged_file", ("data, findings",)),
        ("weights.json", '"x"', "damaged_file", ("source", "sha256")),
        ("environment.json", "{}", "damaged_file", ("packages",)),
        ("splits.csv", "", "damaged_file", ("EmptyDataError",)),
    ],
)
def test_a_damaged_run_folder_is_named_and_left_as_it_is(finished, tmp_path, file, content, kind, names):
    damaged = Path(shutil.copytree(finished, tmp_path / "damaged"))
    (damaged / file).write_text(content, encoding="utf-8")
    before = {path: path.read_bytes() for path in damaged.rglob("*") if path.is_file()}
    refuses(kind, (str(damaged), file, *names), f"run={damaged}", "resamples=100")
    assert {path: path.read_bytes() for path in damaged.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_val_does_not_take_the_place_of_the_report_on_test(finished):
    before = (finished / "report.html").read_bytes()
    run_main(evaluate.main, f"run={finished}", "split=val", "resamples=100")
    assert (finished / "report.html").read_bytes() == before
    (made,) = Path("evaluations").iterdir()
    assert list(metrics(made))[-1] == "val"


@pytest.mark.parametrize("scored", ["test", "val"])
def test_p37_train_is_reported_beside_val_and_not_as_a_test(finished, tmp_path, scored):
    """Not augmented, at the run's own threshold, in a folder of its own whatever the run holds."""
    run = shutil.copytree(finished, tmp_path / "run")
    if scored == "val":  # as a run of a sweep leaves it
        (run / "predictions" / "test.csv").unlink()
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    run_main(evaluate.main, f"run={run}", "split=train", "resamples=100")
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    (made,) = Path("evaluations").iterdir()
    told = metrics(made)
    assert list(told)[-2:] == ["val", "train"] and "test" not in told
    trained = pd.read_csv(finished / "manifest.csv").query("split == 'train'")["path"].tolist()
    assert pd.read_csv(made / "predictions" / "train.csv")["path"].tolist() == trained
    assert told["val"]["values"] == metrics(finished)["val"]["values"]
    assert (made / "policies.json").read_bytes() == (finished / "policies.json").read_bytes()
    assert {"roc_train.svg", "roc_val.svg"} <= {path.name for path in (made / "figures").iterdir()}
    assert TOOK_PART["train"] in (made / "report.md").read_text(encoding="utf-8")


def test_images_that_have_changed_are_not_this_runs(finished, tmp_path, picture):
    moved = shutil.copytree(finished.parent / "images", tmp_path / "moved")
    tested = pd.read_csv(finished / "manifest.csv").query("split == 'test'")["path"].iloc[0]
    picture(moved / tested, 999)
    refuses("images_changed", ("1 image", tested, str(moved)), f"run={finished}", f"images={moved}")


def test_p53_each_reading_of_the_same_test_is_counted(finished, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("MEDCLS_STATE", str(tmp_path / "state"))
    for n in (1, 2):
        run_main(
            evaluate.main, f"predictions={finished}/predictions/test.csv", "positive_class=得病",
            f"hydra.run.dir={tmp_path}/{n}",
        )  # fmt: skip
    once, twice = logged(caplog, "test_readings")
    assert once != twice and noted([twice], "2")
    for n, sentence in enumerate((once, twice), start=1):
        assert sentence in html.unescape((tmp_path / str(n) / "report.html").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_a_cross_validation_is_evaluated_out_of_fold_and_its_ensemble_on_test(tmp_path, folder):
    root = folder({"train/a": 40, "train/b": 40, "test/a": 12, "test/b": 12})
    run_main(
        train.main, "-m", *FAST, f"data.root={root}", "positive_class=b", "trainer.max_epochs=3",
        "data.folds=3", "data.fold=0,1,2", "data.calibration_fraction=0.2", f"hydra.sweep.dir={tmp_path}/sweep",
    )  # fmt: skip
    run_main(evaluate.main, f"runs={tmp_path}/sweep", f"hydra.run.dir={tmp_path}/out")
    folds = pd.read_csv(tmp_path / "out" / "folds.csv")
    assert set(folds["fold"]) == {"0", "1", "2", "mean", "pooled"}
    table = pd.read_csv(tmp_path / "out" / "predictions" / "test.csv")
    assert len(table) == 24 and set(table["checkpoint"]) == {"ensemble"}
    point = json.loads((tmp_path / "out" / "policies.json").read_text(encoding="utf-8"))["operating_point"]
    assert point["split"] == "calibration"
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    # Of the images that each fold held out, the labels that look wrong.
    suspects = pd.read_csv(tmp_path / "out" / "label_errors.csv")
    assert set(suspects["path"]) <= {path.relative_to(root).as_posix() for path in (root / "train").rglob("*.png")}
    assert (tmp_path / "out" / "label_errors.html").is_file()
    of_folds = page[page.index('<h2 id="folds">') : page.index("<h2", page.index('<h2 id="folds">') + 1)]
    assert "<table" in of_folds and f"{point['threshold']:.3f}" in of_folds  # where folds have thresholds of their own


def test_near_duplicates_in_training_are_reported_for_every_fold(tmp_path):
    def finding(check: str, title: str) -> dict[str, str]:
        return {"check": check, "level": "error", "title": title}

    for fold, found in enumerate(
        ([finding("leaks", "None"), finding("images", "24 images")], [finding("leak_held_out", "3 of 8 images")], None)
    ):
        (tmp_path / str(fold)).mkdir()
        if found is not None:
            record = {"data": {}, "findings": found}
            (tmp_path / str(fold) / "audit.json").write_text(json.dumps(record), encoding="utf-8")
    runs = {fold: RunFolder(tmp_path / str(fold)) for fold in range(3)}
    told = reporting.audit_of_folds(runs)
    of_fold, of_all = (one["title"] for one in told["findings"])
    assert noted([of_fold], "1", "3 of 8 images") and of_all == "24 images"
    assert reporting.audit_of_folds({2: runs[2]}) is None
    for run in runs.values():
        run.close()


def other_tool(file: Path, **changed: object) -> Path:
    """Write a table as any tool could: 40 images, two classes; columns may be replaced."""
    draw = np.random.default_rng(1)
    score = draw.uniform(0.05, 0.95, 40)
    table = pd.DataFrame({"path": [f"{n}.png" for n in range(40)], "label": np.where(score > 0.4, "ill", "well")})
    table["prob_ill"], table["prob_well"] = score, 1 - score
    for column, values in changed.items():
        if values is None:
            del table[column]
        else:
            table[column] = values
    table.to_csv(file, index=False)
    return file


SCORES = np.linspace(0.1, 0.9, 40)


@pytest.mark.parametrize(
    ("changed", "kind", "names"),
    [
        ({"prob_ill": SCORES * 2}, "not_probabilities", ("20.png", "0..1", "1.021")),
        ({"prob_ill": [float("nan"), *SCORES[1:]]}, "not_a_number", ("table.csv", "line 2", "prob_ill")),
        ({"prob_ill": SCORES, "prob_well": SCORES}, "not_summing_to_one", ("0.png", "0.1, 0.1", "40 ")),
        ({"prob_ill": np.arange(40) % 2, "prob_well": 1 - np.arange(40) % 2}, "hard_labels", ("0.5549", "'ill'")),
        ({"path": "same.png"}, "image_twice", ("39 ", "'same.png'")),
        ({"checkpoint": ["a"] * 20 + ["b"] * 20}, "mixed_predictions", ("2 checkpoints", "a: 20, b: 20")),
        ({"split": ["test"] * 20 + ["val"] * 20}, "mixed_predictions", ("2 splits", "test: 20, val: 20")),
        ({"path": None}, "missing_column", ("table.csv", "path")),
        ({"prob_ill": None}, "missing_column", ("'well'", "1 - prob_well")),
        ({"label": "nobody"}, "unknown_label", ("'nobody'", "ill, well")),
        ({"prob_ill": ["much"] * 40}, "not_a_number", ("line 2", "prob_ill", "'much'")),
        ({"split": "../../elsewhere"}, "bad_split_name", ("'../../elsewhere'",)),
        ({"prob_": 0.0}, "bad_column_name", ("'prob_'",)),
    ],
)
def test_p42_a_table_that_cannot_be_evaluated_is_an_error(tmp_path, changed, kind, names):
    table = other_tool(tmp_path / "table.csv", **changed)
    refuses(kind, names, f"predictions={table}", "positive_class=ill")


@pytest.mark.parametrize("mark", [";", "\t"])
def test_a_table_with_another_separator_is_recognised(tmp_path, mark):
    pd.read_csv(other_tool(tmp_path / "table.csv")).to_csv(tmp_path / "other.csv", sep=mark, index=False, decimal=",")
    arguments = (f"predictions={tmp_path}/other.csv", "positive_class=ill")
    refuses("wrong_delimiter", ("other.csv", repr(mark)), *arguments)


def test_a_split_of_medcls_is_known_however_it_is_spelled(tmp_path):
    table = other_tool(tmp_path / "table.csv", split=" TRAIN")
    run_main(
        evaluate.main, f"predictions={table}", "positive_class=ill", "resamples=100", f"hydra.run.dir={tmp_path}/out"
    )
    assert TOOK_PART["train"] in metrics(tmp_path / "out")["train"]["caption"]


def test_p42_hard_labels_of_a_tutorial_are_refused_with_an_explanation(tmp_path):
    # Tutorial 002: of 117 melanomas 84 called, of 483 others 302 left alone. It reports a "ROC AUC" of 0.671.
    truth = ["melanoma"] * 117 + ["other"] * 483
    called = [1] * 84 + [0] * 33 + [0] * 302 + [1] * 181
    table = pd.DataFrame({"path": range(600), "label": truth, "prob_melanoma": called})
    table["prob_other"] = 1 - table["prob_melanoma"]
    table.to_csv(tmp_path / "hard.csv", index=False)
    names = ("0.7179", "0.6253", "0.6716", "'melanoma'")
    refuses("hard_labels", names, f"predictions={tmp_path}/hard.csv", "positive_class=melanoma")


def test_p50_a_class_without_a_case_is_undefined_with_its_reason(tmp_path):
    other_tool(tmp_path / "table.csv", label="ill")
    run_main(evaluate.main, f"predictions={tmp_path}/table.csv", "positive_class=ill", f"hydra.run.dir={tmp_path}/out")
    told = metrics(tmp_path / "out")["predictions"]
    assert told["values"]["auroc"] is None and told["values"]["specificity"] is None
    assert causes.no_image_but_of("ill") in told["reasons"]["auroc"]
    assert "undefined" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_run_that_was_stopped_before_it_fitted_anything_is_brought_to_its_end(finished, tmp_path):
    stopped = Path(shutil.copytree(finished, tmp_path / "stopped"))
    shutil.rmtree(stopped / "predictions")
    for name in ("policies.json", "metrics.json", "report.html"):
        (stopped / name).unlink()
    best = stopped / "checkpoints" / "best.ckpt"
    content = torch.load(best, weights_only=True)
    del content["medcls"]["policies"]
    torch.save(content, best)
    run_main(evaluate.main, f"run={stopped}")
    assert (stopped / "policies.json").read_bytes() == (finished / "policies.json").read_bytes()
    carried = torch.load(best, weights_only=True)["medcls"]["policies"]
    assert carried == json.loads((finished / "policies.json").read_text(encoding="utf-8"))
    assert metrics(stopped)["test"] == metrics(finished)["test"]
