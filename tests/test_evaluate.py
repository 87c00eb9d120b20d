"""Evaluating through the door: a run, another site, a table of any tool, the folds of a cross-validation."""

import errno
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
from doors import FAST, run_door

from medcls import evaluate, train
from medcls.runs.run_folder import RunFolder
from medcls.workflow import reporting


@pytest.fixture(scope="module")
def run(finished, tmp_path_factory):
    """A copy of a finished run, to write into."""
    return Path(shutil.copytree(finished, tmp_path_factory.mktemp("evaluate") / "run"))


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """Evaluations go into a folder below where the command is started."""
    monkeypatch.chdir(tmp_path)


def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, *arguments: str) -> str:
    """What the door says to what it will not do: exit code 2, and no folder is left behind."""
    monkeypatch.setattr("sys.argv", ["medcls.evaluate", *arguments])
    with pytest.raises(SystemExit) as end:
        evaluate.main()
    assert end.value.code == 2
    assert not Path("evaluations").exists()
    return capsys.readouterr().err


def metric_sections(page: Path) -> str:
    """The part of a report that comes from the predictions alone."""
    found = re.search(r'<section id="metrics">.*?\n</section>', page.read_text(encoding="utf-8"), re.S)
    assert found
    return found[0]


def metrics(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_in_16_bits_what_it_changes_is_told_and_the_run_keeps_its_exact_results(finished, capsys):
    before = (finished / "predictions" / "test.csv").read_bytes()
    run_door(evaluate.main, f"run={finished}", "precision=bf16", "resamples=100", "hydra.run.dir=near")
    said = capsys.readouterr().out
    assert "What bf16 changes, on 12 images" in said
    assert "bf16 against exact: a probability differs by" in " ".join(said.split())
    assert (finished / "predictions" / "test.csv").read_bytes() == before
    exact, near = (pd.read_csv(folder / "predictions" / "test.csv") for folder in (finished, Path("near")))
    assert exact["path"].tolist() == near["path"].tolist()
    difference = (exact["prob_得病"] - near["prob_得病"]).abs().max()
    assert 0 < difference < 0.1
    assert "predicted with bf16 arithmetic" in (Path("near") / "report.html").read_text(encoding="utf-8")
    assert "predicted with bf16 arithmetic" in metrics(Path("near"))["stamps"]


def test_a_run_is_evaluated_into_its_own_folder_as_training_left_it(run, finished):
    (run / "predictions" / "test.csv").unlink()
    (run / "predictions" / "test_at_stated_prevalence.csv").write_text("of an earlier evaluation")
    (run / "report.html").unlink()
    run_door(evaluate.main, f"run={run}", "split=test")
    for name in ("predictions/test.csv", "predictions/val.csv", "policies.json"):
        assert (run / name).read_bytes() == (finished / name).read_bytes()
    now, then = metrics(run), metrics(finished)
    assert now["test"] == then["test"]
    assert metric_sections(run / "report.html") == metric_sections(finished / "report.html")
    assert not (run / "predictions" / "test_at_stated_prevalence.csv").exists()
    assert not Path("evaluations").exists()


@pytest.mark.slow
def test_metric_sections_from_the_csv_equal_those_from_the_run_byte_for_byte(finished, tmp_path):
    run_door(
        evaluate.main, f"predictions={finished}/predictions/test.csv", "positive_class=得病",
        f"hydra.run.dir={tmp_path}/from_csv",
    )  # fmt: skip
    run_door(
        evaluate.main, f"predictions={finished}/predictions/test.csv", f"val={finished}/predictions/val.csv",
        "positive_class=得病", f"hydra.run.dir={tmp_path}/fitted",
    )  # fmt: skip
    expected = metric_sections(finished / "report.html")
    assert metric_sections(tmp_path / "from_csv" / "report.html") == expected
    # Fitted again on the same rows, the policies are the same too.
    assert metric_sections(tmp_path / "fitted" / "report.html") == expected


@pytest.mark.slow
def test_a_table_alone_is_judged_at_a_threshold_that_says_it_was_not_fitted(tmp_path):
    draw = np.random.default_rng(0)
    score = draw.uniform(0.05, 0.95, 80)
    label = np.where(draw.uniform(size=80) < score, "<script>alert(1)</script>", 'a, "b"')
    table = pd.DataFrame({"path": [f"{n}.png" for n in range(80)], "label": label})
    table['prob_a, "b"'], table["prob_<script>alert(1)</script>"] = 1 - score, score
    table.to_csv(tmp_path / "other.csv", index=False)
    run_door(
        evaluate.main, f"predictions={tmp_path}/other.csv", "positive_class='<script>alert(1)</script>'",
        f"hydra.run.dir={tmp_path}/out",
    )  # fmt: skip
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "not fitted" in page and "<script" not in page and "not provided" in page
    assert metrics(tmp_path / "out")["predictions"]["threshold_fitted"] is False
    run_door(
        evaluate.main, f"predictions={tmp_path}/other.csv", "positive_class='<script>alert(1)</script>'",
        "operating_point=fixed=0.3", f"hydra.run.dir={tmp_path}/fixed",
    )  # fmt: skip
    assert metrics(tmp_path / "fixed")["predictions"]["threshold"] == 0.3


def test_a_mean_over_a_patients_images_needs_no_fit(tmp_path):
    table = pd.read_csv(other_tool(tmp_path / "table.csv"))
    table.assign(group=[f"p{row // 2}" for row in range(len(table))]).to_csv(tmp_path / "pairs.csv", index=False)
    run_door(
        evaluate.main, f"predictions={tmp_path}/pairs.csv", "positive_class=ill", "aggregate=mean", "resamples=100",
        f"hydra.run.dir={tmp_path}/out",
    )  # fmt: skip
    units = metrics(tmp_path / "out")["units"]["predictions"]
    assert units["values"]["n"] == len(table) / 2 and units["threshold_fitted"] is False
    assert 0 <= units["values"]["auroc"] <= 1


def test_p44_nothing_is_fitted_on_the_result(finished, monkeypatch, capsys):
    test = f"predictions={finished}/predictions/test.csv"
    said = refused(monkeypatch, capsys, test, "positive_class=得病", "operating_point=youden")
    assert "never on the result" in said and "val=FILE.csv" in said
    said = refused(
        monkeypatch, capsys, test, "positive_class=得病", f"val={finished}/predictions/test.csv", "calibrate=true"
    )
    assert "judged by their own answers" in said


def test_p44_val_must_be_other_images(tmp_path, monkeypatch, capsys):
    result = other_tool(tmp_path / "result.csv")
    val = other_tool(tmp_path / "val.csv", split="val")
    said = refused(monkeypatch, capsys, f"predictions={result}", f"val={val}", "positive_class=ill")
    assert "40 images of val are also among those to be judged: 0.png" in said


def test_a_folder_that_holds_a_run_or_an_evaluation_is_not_written_over(finished, tmp_path, monkeypatch, capsys):
    table = other_tool(tmp_path / "table.csv")
    (tmp_path / "earlier").mkdir()
    (tmp_path / "earlier" / "report.html").write_text("earlier")
    for taken, says in ((finished, "already holds a run"), (tmp_path / "earlier", "already holds an evaluation")):
        before = (taken / "report.html").read_bytes()
        said = refused(monkeypatch, capsys, f"predictions={table}", "positive_class=ill", f"hydra.run.dir={taken}")
        assert says in said and (taken / "report.html").read_bytes() == before


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("prevalence={maligant: 0.1}", "maligant"),
        ("subgroups={sexx: null}", "no column 'sexx'"),
        ("ordered=[mild, severe]", "severe"),
    ],
)
@pytest.mark.parametrize("elsewhere", [False, True])
def test_settings_that_the_images_do_not_bear_are_refused_before_any_is_predicted(
    run, tmp_path, monkeypatch, capsys, setting, says, elsewhere
):
    monkeypatch.setattr("medcls.inference.predict.predict_split", lambda *_, **__: pytest.fail("predicted"))
    before = {path: path.read_bytes() for path in (run / "predictions").iterdir()}
    other = [f"data.root={yaml.safe_load((run / 'config.yaml').read_text())['data']['root']}"] if elsewhere else []
    said = refused(monkeypatch, capsys, f"run={run}", setting, *other)
    assert says in said and "o on with" not in said
    assert {path: path.read_bytes() for path in (run / "predictions").iterdir()} == before


def test_a_full_disk_leaves_what_is_whole_of_an_evaluation_and_nothing_else(tmp_path, monkeypatch, capsys):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    command = f"predictions={other_tool(tmp_path / 'table.csv')}"
    with monkeypatch.context() as disk:
        disk.setattr("medcls.workflow.reporting.judge", full)
        assert "No space left on device" in refused(disk, capsys, command, "positive_class=ill")
        disk.undo()
        disk.setattr("medcls.workflow.reporting.report", full)
        disk.setattr("sys.argv", ["medcls.evaluate", command, "positive_class=ill"])
        with pytest.raises(SystemExit) as end:
            evaluate.main()
    said = capsys.readouterr().err
    assert end.value.code == 2
    assert "No space left on device" in said and "metrics.json" in said and f"medcls.evaluate {command}" in said
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
    run_door(evaluate.main, f"run={finished}", "operating_point=specificity>=0.9")
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
    run_door(evaluate.main, f"run={run}", "operating_point=f1", "resamples=100")
    (made,) = Path("evaluations").iterdir()
    fitted = json.loads((made / "policies.json").read_text(encoding="utf-8"))
    assert fitted["conformal"]["coverage"] == 0.8 and fitted["operating_point"]["policy"] == "f1"


def test_folds_that_were_not_trained_alike_are_refused(finished, tmp_path, monkeypatch, capsys):
    runs = [
        changed_copy(finished, tmp_path / f"{fold}", data__folds=2, data__fold=fold, optimizer__lr=lr)
        for fold, lr in enumerate((0.1, 0.2))
    ]
    said = refused(monkeypatch, capsys, f"runs=[{runs[0]},{runs[1]}]")
    assert "differ in data.fold alone" in said and "optimizer.lr=0.2" in said


def test_a_foreign_file_of_policies_beside_a_table_is_named(finished, tmp_path, monkeypatch, capsys):
    table = Path(shutil.copytree(finished / "predictions", tmp_path / "mine" / "tables")) / "test.csv"
    (tmp_path / "mine" / "policies.json").write_text('{"of": "another tool"}')
    said = refused(monkeypatch, capsys, f"predictions={table}", "positive_class=得病")
    assert "policies.json is not what a run fitted" in said


def test_more_than_two_classes_have_no_operating_point(tmp_path, monkeypatch, capsys):
    table = other_tool(tmp_path / "table.csv", prob_dead=0.0)
    said = refused(monkeypatch, capsys, f"predictions={table}", "operating_point=fixed=0.3")
    assert "operating_point means nothing with 3 classes" in said


@pytest.mark.slow
def test_views_are_averaged_and_fitted_for_themselves_or_not_at_all(finished):
    run_door(evaluate.main, f"run={finished}", "views=3")
    (made,) = Path("evaluations").iterdir()
    table = pd.read_csv(made / "predictions" / "test.csv")
    alone = pd.read_csv(finished / "predictions" / "test.csv")
    assert table["checkpoint"].iloc[0] == f"{alone['checkpoint'].iloc[0]}-3views"
    assert not np.allclose(table["prob_得病"], alone["prob_得病"])
    assert metrics(made)["test"]["threshold_fitted"] is False
    assert "logit_得病" not in table


@pytest.mark.slow
def test_what_16_bits_change_is_seen_on_the_same_views(finished, monkeypatch):
    seen = []
    monkeypatch.setattr("medcls.cli.judged_with.HELD_AGAINST_EXACT", 5)
    monkeypatch.setattr(reporting, "show_effect", lambda *given: seen.append(given))
    run_door(evaluate.main, f"run={finished}", "views=3", "precision=bf16", "resamples=100")
    ((exact, near, _, how),) = seen
    assert how == "bf16"
    assert len(exact) == 5 and exact.rows["path"].tolist() == near.rows["path"].tolist()
    alone = pd.read_csv(finished / "predictions" / "test.csv").set_index("path").loc[exact.rows["path"]]
    by_arithmetic = np.abs(exact.probabilities() - near.probabilities()).max()
    by_views = np.abs(exact.rows["prob_得病"].to_numpy() - alone["prob_得病"].to_numpy()).max()
    assert 0 < by_arithmetic < by_views / 2


def test_a_folder_that_holds_no_run_is_left_where_it_is(tmp_path, monkeypatch, capsys):
    (tmp_path / "empty").mkdir()
    assert "is no run folder" in refused(monkeypatch, capsys, f"run={tmp_path}/empty")
    assert (tmp_path / "empty").is_dir()


def test_another_site_is_judged_by_what_was_fitted_before(finished, folder, tmp_path):
    root = folder({"正常": 12, "得病": 9}, name="ward-of-a-colleague")
    run_door(evaluate.main, f"run={finished}", "data=folder", f"data.root={root}", "report.paths=hidden")
    (made,) = Path("evaluations").iterdir()
    assert (made / "policies.json").read_bytes() == (finished / "policies.json").read_bytes()
    for page in ("report.html", "report.md"):
        assert "ward-of-a-colleague" not in (made / page).read_text(encoding="utf-8")
    told = metrics(made)
    assert list(told)[-1] == "external" and told["external"]["values"]["n"] == 21
    assert told["test"]["values"] == metrics(finished)["test"]["values"]  # the internal figures beside it
    assert set(pd.read_csv(made / "predictions" / "external.csv")["split"]) == {"external"}


def test_another_site_must_know_the_same_classes(finished, folder, monkeypatch, capsys):
    root = folder({"healthy": 6, "得病": 6}, name="elsewhere")
    said = refused(monkeypatch, capsys, f"run={finished}", "data=folder", f"data.root={root}")
    assert "healthy" in said and "data.label_map" in said


@pytest.mark.slow
def test_images_that_the_run_learned_from_are_counted_at_another_site(finished, tmp_path, caplog):
    root = shutil.copytree(finished.parent / "images", tmp_path / "elsewhere")
    run_door(evaluate.main, f"run={finished}", f"data.root={root}")
    learned = pd.read_csv(finished / "manifest.csv")["split"].isin(("train", "val")).sum()
    assert f"{learned} of these images are also among those that the run learned or selected by" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "name one of run=RUN"),
        (["run=RUN", "predictions=x.csv"], "run and predictions given"),
        (["run=/no/such/run"], "no run folder"),
        (["run=RUN", "split=train"], "this run has test, val to evaluate"),
        (["run=RUN", "split=nonsense"], "this run has test, val to evaluate"),
        (["run=RUN", "views=0"], "views is 0"),
        (["run=RUN", "precision=fp16"], "precision is 'fp16': choose exact or bf16"),
        (["run=RUN", "compile=maybe"], "compile is 'maybe': give true or false"),
        (["predictions=TABLE", "precision=bf16"], "precision would change nothing beside predictions"),
        (["run=RUN", "operating_point=best"], "no operating point policy 'best'"),
        (["run=RUN", "coverage=1.5"], "coverage is 1.5"),
        (["run=RUN", "aggregate=sum"], "aggregate is 'sum'"),
        (["run=RUN", "subgroups={age: [60, 40]}"], "each above the last"),
        (["run=RUN", "subgroups=[nonsense]"], "no column 'nonsense'"),
        (["run=RUN", "prevalence=2"], "prevalence is 2"),
        (["run=RUN", "resamples=5"], "resamples is 5"),
        (["run=RUN", "report.paths=no"], "report.paths is 'no'"),
        (["run=RUN", "report=null"], "report is None"),
        (["run=RUN", "seed=abc"], "seed is 'abc'"),
        (["run=RUN", "seed=-1"], "seed is -1"),
        (["run=RUN", "seed=null"], "seed is None"),
        (["run=RUN", "subgroups=sex"], "subgroups is 'sex': list the columns"),
        (["run=RUN", "subgroups=5"], "subgroups is 5: list the columns"),
        (["run=RUN", "trust=no"], "trust is 'no'"),
        (["run=RUN", "positive_class=正常"], "positive_class would change nothing beside run"),
        (["run=RUN", "val=other.csv"], "val would change nothing"),
        (["run=RUN", "data.root=/elsewhere", "split=val"], "split would change nothing beside images of another site"),
        (["runs=[RUN,/no/such/run]"], "There is no folder /no/such/run"),
        (["runs=RUN/predictions/test.csv"], "There is no folder"),
        (["predictions=RUN/predictions/test.csv", "positive_class=得病", "split=val"], "split would change nothing"),
        (["predictions=RUN/predictions/test.csv", "positive_class=得病", "data.root=/x"], "data would change nothing"),
        (["run=RUN", "images=/no/such/folder"], "looked for in /no/such/folder"),
        (["predictions=/no/such.csv", "positive_class=a"], "cannot be read as a table"),
        (["predictions=RUN/predictions/test.csv"], "positive_class"),
        (["predictions=RUN/predictions/test.csv", "positive_class=nobody"], "not among the classes"),
        (["runs=[RUN,RUN]"], "no fold of a cross-validation"),
        (["runs=[RUN]"], "two runs or more"),
    ],
)
def test_bad_input_is_answered_in_a_sentence(finished, monkeypatch, capsys, arguments, says):
    filled = [argument.replace("RUN", str(finished)) for argument in arguments]
    assert says in refused(monkeypatch, capsys, *filled)


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("config.yaml", "{a: [", "cannot be read as a configuration"),
        ("config.yaml", "a: 1", "it has no data, model, schedule, seed"),
        ("audit.json", "[1]", "it should hold data, findings"),
        ("weights.json", '"x"', "is not what a training wrote"),
        ("environment.json", "{}", "it should hold packages"),
        ("splits.csv", "", "splits.csv or model.txt are damaged"),
    ],
)
def test_a_damaged_run_folder_is_named_and_left_as_it_is(finished, tmp_path, monkeypatch, capsys, file, content, says):
    damaged = Path(shutil.copytree(finished, tmp_path / "damaged"))
    (damaged / file).write_text(content, encoding="utf-8")
    before = {path: path.read_bytes() for path in damaged.rglob("*") if path.is_file()}
    assert says in refused(monkeypatch, capsys, f"run={damaged}", "resamples=100")
    assert {path: path.read_bytes() for path in damaged.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_val_does_not_take_the_place_of_the_report_on_test(finished):
    before = (finished / "report.html").read_bytes()
    run_door(evaluate.main, f"run={finished}", "split=val", "resamples=100")
    assert (finished / "report.html").read_bytes() == before
    (made,) = Path("evaluations").iterdir()
    assert list(metrics(made))[-1] == "val"


def test_images_that_have_changed_are_not_this_runs(finished, tmp_path, monkeypatch, capsys, picture):
    moved = shutil.copytree(finished.parent / "images", tmp_path / "moved")
    tested = pd.read_csv(finished / "manifest.csv").query("split == 'test'")["path"].iloc[0]
    picture(moved / tested, 999)
    said = refused(monkeypatch, capsys, f"run={finished}", f"images={moved}")
    assert "1 image no longer show" in said.replace("shows", "show") and tested in said


def test_p53_each_reading_of_the_same_test_is_counted(finished, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDCLS_STATE", str(tmp_path / "state"))
    for n in (1, 2):
        run_door(
            evaluate.main, f"predictions={finished}/predictions/test.csv", "positive_class=得病",
            f"hydra.run.dir={tmp_path}/{n}",
        )  # fmt: skip
    assert "evaluated once" in (tmp_path / "1" / "report.html").read_text(encoding="utf-8")
    assert "evaluated 2 times" in (tmp_path / "2" / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_cross_validation_is_judged_out_of_fold_and_its_ensemble_on_test(tmp_path, folder):
    root = folder({"train/a": 40, "train/b": 40, "test/a": 12, "test/b": 12})
    run_door(
        train.main, "-m", *FAST, f"data.root={root}", "positive_class=b", "trainer.max_epochs=3",
        "data.folds=3", "data.fold=0,1,2", "data.calibration_fraction=0.2", f"hydra.sweep.dir={tmp_path}/sweep",
    )  # fmt: skip
    run_door(evaluate.main, f"runs={tmp_path}/sweep", f"hydra.run.dir={tmp_path}/out")
    folds = pd.read_csv(tmp_path / "out" / "folds.csv")
    assert set(folds["fold"]) == {"0", "1", "2", "mean", "pooled"}
    table = pd.read_csv(tmp_path / "out" / "predictions" / "test.csv")
    assert len(table) == 24 and set(table["checkpoint"]) == {"ensemble"}
    point = json.loads((tmp_path / "out" / "policies.json").read_text(encoding="utf-8"))["operating_point"]
    assert point["split"] == "calibration"
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "is no confidence interval" in page
    assert "called by the threshold of its own fold; elsewhere on this page by one for all" in page


def test_near_copies_left_in_training_are_told_of_every_fold(tmp_path):
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
    assert [one["title"] for one in told["findings"]] == ["In fold 1 3 of 8 images", "24 images"]
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
    ("changed", "says"),
    [
        ({"prob_ill": SCORES * 2}, "outside 0..1"),
        ({"prob_ill": [float("nan"), *SCORES[1:]]}, "line 2, column prob_ill"),
        ({"prob_ill": SCORES, "prob_well": SCORES}, "does not sum to one"),
        ({"prob_ill": np.arange(40) % 2, "prob_well": 1 - np.arange(40) % 2}, "balanced accuracy"),
        ({"path": "same.png"}, "an image that has one already"),
        ({"checkpoint": ["a"] * 20 + ["b"] * 20}, "mix 2 checkpoints"),
        ({"split": ["test"] * 20 + ["val"] * 20}, "mix 2 splits"),
        ({"path": None}, "no column path"),
        ({"prob_ill": None}, "probabilities of 'well' alone"),
        ({"label": "nobody"}, "'nobody'"),
        ({"prob_ill": ["much"] * 40}, "'much' is no number"),
        ({"split": "../../elsewhere"}, "cannot be part of a file's name"),
        ({"prob_": 0.0}, "names no class"),
    ],
)
def test_p42_a_table_that_cannot_be_judged_is_answered_in_a_sentence(tmp_path, monkeypatch, capsys, changed, says):
    table = other_tool(tmp_path / "table.csv", **changed)
    assert says in refused(monkeypatch, capsys, f"predictions={table}", "positive_class=ill")


@pytest.mark.parametrize("mark", [";", "\t"])
def test_a_table_with_other_marks_than_commas_is_told_so(tmp_path, monkeypatch, capsys, mark):
    pd.read_csv(other_tool(tmp_path / "table.csv")).to_csv(tmp_path / "other.csv", sep=mark, index=False, decimal=",")
    said = refused(monkeypatch, capsys, f"predictions={tmp_path}/other.csv", "positive_class=ill")
    assert f"has {mark!r} between its cells" in said


def test_a_split_of_medcls_is_known_however_it_is_spelled(tmp_path):
    table = other_tool(tmp_path / "table.csv", split=" TRAIN")
    run_door(
        evaluate.main, f"predictions={table}", "positive_class=ill", "resamples=100", f"hydra.run.dir={tmp_path}/out"
    )
    assert "the network was fitted to these very images" in metrics(tmp_path / "out")["train"]["caption"]


def test_p42_hard_labels_of_a_tutorial_are_told_what_their_auc_is(tmp_path, monkeypatch, capsys):
    # Tutorial 002: of 117 melanomas 84 called, of 483 others 302 left alone. It reports a "ROC AUC" of 0.671.
    truth = ["melanoma"] * 117 + ["other"] * 483
    called = [1] * 84 + [0] * 33 + [0] * 302 + [1] * 181
    table = pd.DataFrame({"path": range(600), "label": truth, "prob_melanoma": called})
    table["prob_other"] = 1 - table["prob_melanoma"]
    table.to_csv(tmp_path / "hard.csv", index=False)
    said = refused(monkeypatch, capsys, f"predictions={tmp_path}/hard.csv", "positive_class=melanoma")
    assert "0.7179" in said and "0.6253" in said and "0.6716" in said
    assert "AUROC needs scores" in said and "balanced accuracy" in said


def test_p50_a_class_without_a_case_is_undefined_with_its_reason(tmp_path):
    other_tool(tmp_path / "table.csv", label="ill")
    run_door(evaluate.main, f"predictions={tmp_path}/table.csv", "positive_class=ill", f"hydra.run.dir={tmp_path}/out")
    told = metrics(tmp_path / "out")["predictions"]
    assert told["values"]["auroc"] is None and told["values"]["specificity"] is None
    assert "no image of any class but 'ill'" in told["reasons"]["auroc"]
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
    run_door(evaluate.main, f"run={stopped}")
    assert (stopped / "policies.json").read_bytes() == (finished / "policies.json").read_bytes()
    carried = torch.load(best, weights_only=True)["medcls"]["policies"]
    assert carried == json.loads((finished / "policies.json").read_text(encoding="utf-8"))
    assert metrics(stopped)["test"] == metrics(finished)["test"]
