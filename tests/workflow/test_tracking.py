"""Tracking by MLflow: what it is given, that it costs no training, and that nothing else is sent anywhere."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from entry_points import FAST, run_main
from omegaconf import OmegaConf
from refusals import refused, refused_command, rules

import medcls
from medcls import evaluate, train
from medcls.cli.resume import resumed_configuration
from medcls.runs.run_folder import RunFolder
from medcls.workflow import tracking, tracking_store
from medcls.workflow.resuming import what_was_trained
from medcls.workflow.tracking import MlflowLogger, log_evaluation, tracked
from medcls.workflow.training_plots import read_history

# Nothing listens there.
NOBODY = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A folder of runs; its store is made once, which takes a second."""
    return tmp_path_factory.mktemp("tracked") / "runs"


@pytest.fixture
def folder_of(runs, finished, monkeypatch) -> Callable[[str], Path]:
    """A finished run in a folder of this name."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(tracking, "PAUSE", 0.0)
    return lambda name: Path(shutil.copytree(finished, runs / name))


def begun(folder: Path) -> MlflowLogger:
    logger = MlflowLogger(str(folder), experiment="tests")
    logger.log_graph(None)
    return logger


def epoch(logger: MlflowLogger, number: int, **metrics: float) -> None:
    logger.log_metrics({"lr-AdamW": 0.1 / (1 + number)}, step=10 * number)
    logger.log_metrics({"epoch": number, **metrics}, step=10 * number + 9)


def client_of(runs: Path):
    return tracking_store.make_client(f"sqlite:///{runs}/mlflow.db")


def curve(runs: Path, run: str, metric: str) -> list[tuple[int, float]]:
    return [(one.step, one.value) for one in client_of(runs).get_metric_history(run, metric)]


@pytest.mark.slow
def test_a_training_its_resume_and_its_evaluation_are_one_run(folder, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run, root = tmp_path / "runs" / "first", folder({"well": 20, "ill": 20})
    settings = (f"data.root={root}", "positive_class=ill", "logger=mlflow", f"hydra.run.dir={run}")
    run_main(train.main, *FAST, *settings, "trainer.max_epochs=2", "evaluate_test=false")
    run_main(train.main, f"resume={run}", "trainer.max_epochs=4")
    run_main(evaluate.main, f"run={run}")

    client = client_of(run.parent)
    experiment = client.get_experiment_by_name("folder")
    (found,) = client.search_runs([experiment.experiment_id])
    assert (found.info.run_name, found.info.status) == ("first", "FINISHED")
    assert json.loads((run / "mlflow.json").read_text())["run_id"] == found.info.run_id
    params = found.data.params
    assert (params["data.root"], params["trainer.max_epochs"], params["ema"]) == (str(root), "2", "null")
    assert not {"resume", "trust"} & set(params)
    assert {name for name in found.data.tags if name.startswith("resumed.")} == {"resumed.trainer.max_epochs"}
    # Each epoch once, with the value of the CSV log.
    history = read_history(run / "logs").groupby("epoch").last()
    for metric in ("val/auroc", "train/loss"):
        assert curve(run.parent, found.info.run_id, metric) == list(enumerate(history[metric]))
    assert [step for step, _ in curve(run.parent, found.info.run_id, "lr-AdamW/rest")] == [0, 1, 2, 3]
    # Results with their limits.
    rows = json.loads((run / "metrics.json").read_text())["test"]["intervals"]
    auroc = next(row for row in rows if row["metric"] == "auroc")
    for ending, field in (("", "estimate"), ("_low", "low"), ("_high", "high")):
        assert found.data.metrics[f"result/test/ill/auroc{ending}"] == auroc[field]
    assert {name.split("/")[1] for name in found.data.metrics if name.startswith("result/")} == {"val", "test"}
    # Files, among them a checkpoint that medcls reads.
    stored = {
        name: Path(client.download_artifacts(found.info.run_id, name, str(tmp_path)))
        for name in ("checkpoints/best.ckpt", "report.html", "figures/roc_test.png", "config.yaml", "metrics.json")
    }
    assert all(path.read_bytes() == (run / name).read_bytes() for name, path in stored.items())
    image = next(root.rglob("*.png"))
    from_store, from_run = (medcls.load(place).predict(image) for place in (stored["checkpoints/best.ckpt"], run))
    assert from_store.probabilities == from_run.probabilities and from_store.decision == from_run.decision
    assert not list(run.glob("tensorboard"))


def test_a_tracker_that_fails_costs_no_training_and_gets_what_it_missed(runs, folder_of, caplog, monkeypatch):
    folder = folder_of("failing")
    logger = begun(folder)
    epoch(logger, 0, loss=3.0)
    with monkeypatch.context() as patch:
        patch.setattr(tracking_store, "make_client", fails)
        epoch(logger, 1, loss=2.0)
        epoch(logger, 2, loss=1.0)
        assert rules(caplog) == ["tracker_failed"]
        logger.finalize("success")
        with tracked([logger]):
            pass
        logger.end(KeyboardInterrupt())
    assert rules(caplog) == ["tracker_failed"] * 3  # of metrics, of results, of the status
    assert curve(runs, logger.version, "loss") == [(0, 3.0)]
    epoch(logger, 3, loss=0.5)
    assert rules(caplog)[-1] == "tracker_is_back"
    assert curve(runs, logger.version, "loss") == [(0, 3.0), (1, 2.0), (2, 1.0), (3, 0.5)]
    assert [step for step, _ in curve(runs, logger.version, "lr-AdamW")] == [0, 1, 2, 3]


def fails(uri: str) -> None:
    raise ConnectionError("https://somebody:secret@a.example/api?token=secret refused")


def test_a_tracker_that_failed_is_left_alone_for_a_while(runs, folder_of, monkeypatch):
    logger = begun(folder_of("waiting"))
    monkeypatch.setattr(tracking, "PAUSE", 60.0)
    asked = []
    monkeypatch.setattr(tracking_store, "make_client", lambda uri: asked.append(uri) or fails(uri))
    for number in range(5):
        epoch(logger, number, loss=1.0)
    assert len(asked) == 1
    logger.finalize("success")  # the last chance
    assert len(asked) == 2


def test_a_resume_adds_the_epochs_that_mlflow_missed(runs, folder_of, monkeypatch):
    folder = folder_of("missed")
    history = read_history(folder / "logs").groupby("epoch").last()["val/auroc"]
    first = begun(folder)
    epoch(first, 0, **{"val/auroc": history[0]})
    with monkeypatch.context() as patch:
        patch.setattr(tracking_store, "make_client", fails)
        epoch(first, 1, **{"val/auroc": history[1]})
    # Killed, and resumed once MLflow answers.
    epoch(begun(folder), 2, **{"val/auroc": history[2]})
    assert curve(runs, first.version, "val/auroc") == list(enumerate(history))


def test_the_command_that_resumes_names_the_tracker(finished, tmp_path):
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    assert "tracking_uri" not in what_was_trained(RunFolder(run))
    name_tracker(run, "http://a.example:5000")
    assert " logger=mlflow \"logger.mlflow.tracking_uri='http://a.example:5000'\"" in what_was_trained(RunFolder(run))


def test_a_repeated_epoch_is_logged_once(runs, folder_of):
    folder = folder_of("killed")
    first = begun(folder)
    for number, loss in enumerate((3.0, 2.0)):
        epoch(first, number, loss=loss)
    # Killed before its checkpoint: the resumed run repeats the second epoch.
    second = begun(folder)
    assert second.version == first.version
    for number, loss in ((1, 2.0), (2, 1.0)):
        epoch(second, number, loss=loss)
    assert curve(runs, first.version, "loss") == [(0, 3.0), (1, 2.0), (2, 1.0)]


def test_the_record_of_another_training_is_not_followed(runs, folder_of, caplog):
    mine, other = begun(folder_of("mine")), folder_of("other")
    environment = json.loads((other / "environment.json").read_text())
    (other / "environment.json").write_text(json.dumps(environment | {"run": "0" * 16}))
    shutil.copy(runs / "mine" / "mlflow.json", other)
    assert begun(other).version != mine.version
    (other / "mlflow.json").write_text('{"run_id": "../../x"}')
    assert begun(other).version != mine.version
    assert rules(caplog) == ["tracked_run_not_found"] * 2


@pytest.mark.parametrize(
    ("error", "status"), [(None, "FINISHED"), (ValueError(), "FAILED"), (KeyboardInterrupt(), "KILLED")]
)
def test_how_a_run_ended(runs, folder_of, error, status):
    logger = begun(folder_of(status))
    with contextlib.suppress(ValueError, KeyboardInterrupt), tracked([logger]):
        if error is not None:
            raise error
    assert client_of(runs).get_run(logger.version).info.status == status


def test_a_server_that_is_not_there_is_an_error_before_any_image_is_read(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        (tmp_path / "images" / name / "1.png").write_text("no image")
    root, run = f"data.root={tmp_path}/images", f"hydra.run.dir={tmp_path}/runs/a"
    settings = (root, "positive_class=a", "logger=mlflow", run)
    refused_command(
        "tracker_failed", (NOBODY, "logger=default"), train.main, *settings, f"logger.mlflow.tracking_uri={NOBODY}"
    )
    assert not (tmp_path / "runs").exists()


def name_tracker(run: Path, uri: str) -> None:
    cfg = OmegaConf.load(run / "config.yaml")
    cfg.logger.mlflow = {"_target_": "medcls.workflow.tracking.MlflowLogger", "tracking_uri": uri}
    OmegaConf.save(cfg, run / "config.yaml")


def test_the_tracker_of_a_run_folder_is_not_followed(finished, tmp_path):
    """Whoever sends a run folder would receive the report of whoever resumes it."""
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    name_tracker(run, NOBODY)
    asked = OmegaConf.create({"resume": str(run), "trust": False})
    with refused("tracker_of_run_folder", f"{run}/config.yaml", NOBODY, "logger.mlflow.tracking_uri"):
        resumed_configuration(asked, [])
    refused_command("tracker_of_run_folder", (NOBODY,), train.main, f"resume={run}", "trainer.max_epochs=4")
    typed = OmegaConf.merge(asked, {"logger": {"csv": {"_target_": "lightning.pytorch.loggers.CSVLogger"}}})
    assert set(resumed_configuration(typed, ["logger=csv"]).logger) == {"csv"}
    assert resumed_configuration(OmegaConf.merge(asked, {"trust": True}), []).logger.mlflow.tracking_uri == NOBODY


def test_an_evaluation_does_not_follow_the_tracker_of_a_run_folder(runs, folder_of, caplog, monkeypatch):
    folder = folder_of("evaluated")
    log_evaluation(folder, trust=False)  # of a run that was not tracked
    begun(folder)
    name_tracker(folder, NOBODY)
    log_evaluation(folder, trust=False)
    assert rules(caplog) == ["tracker_of_run_folder"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{runs}/mlflow.db")
    log_evaluation(folder, trust=False)
    logger = begun(folder)
    assert "result/test/得病/auroc" in client_of(runs).get_run(logger.version).data.metrics
    assert len(rules(caplog)) == 1


OUTWARD = """
import socket, sys, time
asked = []
def refuse(address, *_):
    asked.append(str(address))
    raise OSError("no network")
connect = socket.socket.connect
def local_only(own, address):
    return connect(own, address) if own.family == socket.AF_UNIX else refuse(address)
socket.socket.connect = local_only
socket.getaddrinfo = refuse
try:
    {block}
finally:
    time.sleep(3)  # what is sent from a thread
    print("asked for:", *asked)
"""


def outward(block: str, tmp_path: Path) -> list[str]:
    """The addresses that a program asks for, outside tests and continuous integration, where MLflow sends nothing."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "PYTHONPATH", "TMPDIR")}
    own = {"MEDCLS_CACHE": f"{tmp_path}/cache", "MEDCLS_STATE": f"{tmp_path}/state"}
    answer = subprocess.run(
        [sys.executable, "-c", OUTWARD.format(block=block)],
        cwd=tmp_path, env=kept | own, capture_output=True, text=True, check=False,
    )  # fmt: skip
    line = next(line for line in answer.stdout.splitlines() if line.startswith("asked for:"))
    return line.split()[2:]


@pytest.mark.slow
def test_nothing_is_sent_anywhere(folder, tmp_path):
    root = folder({"well": 12, "ill": 12})
    arguments = ["medcls.train", *FAST, f"data.root={root}", "positive_class=ill", "logger=mlflow"]
    arguments += ["trainer.max_epochs=1", f"hydra.run.dir={tmp_path}/runs/a"]
    assert outward(f"sys.argv = {arguments!r}; import medcls.train; medcls.train.main()", tmp_path) == []
    assert (tmp_path / "runs" / "a" / "report.html").is_file()
    # MLflow itself does send: the test would see it.
    made = f"from mlflow import MlflowClient; MlflowClient('sqlite:///{tmp_path}/x.db').create_experiment('a')"
    assert outward(made, tmp_path)
