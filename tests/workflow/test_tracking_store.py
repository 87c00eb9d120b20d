"""Where MLflow keeps runs, and that no password is written or shown."""

import os
from pathlib import Path

import pytest
from refusals import refused, refused_command

from medcls import train
from medcls.cli import python_calls
from medcls.workflow import tracking_store

SERVER = "http://127.0.0.1:9"


def test_without_mlflow_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(tracking_store.importlib.util, "find_spec", lambda name: None)
    with refused("missing_extra", "pip install 'medcls[mlflow]'"):
        tracking_store.check_installed()


def test_a_program_gets_its_environment_back(tmp_path, monkeypatch):
    for name in tracking_store.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    with python_calls._process_restored():
        tracking_store.make_client(f"sqlite:///{tmp_path}/a.db")
        assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "3", "what is set already rules"
    assert {name for name in tracking_store.VARIABLES if name in os.environ} == {"MLFLOW_HTTP_REQUEST_TIMEOUT"}


@pytest.mark.parametrize("place", ["{run}/a", "{run}/sweep-1/0"])
def test_runs_and_sweeps_share_a_store(tmp_path, monkeypatch, place):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = Path(place.format(run=tmp_path / "runs"))
    assert tracking_store.choose_store(None, folder) == f"sqlite:///{tmp_path}/runs/mlflow.db"
    assert tracking_store.choose_store(None, tmp_path / "x" / "y") == f"sqlite:///{tmp_path}/x/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", SERVER)
    assert tracking_store.choose_store(None, folder) == SERVER
    assert tracking_store.choose_store("sqlite:////a/b.db", folder) == "sqlite:////a/b.db"


@pytest.mark.parametrize("uri", ["databricks", "ftp://a", "/a/b", "file:///a", "mlruns"])
def test_other_kinds_of_addresses_are_refused(tmp_path, uri):
    with refused("bad_value", uri):
        tracking_store.choose_store(uri, tmp_path)


WITH_PASSWORD = (
    "http://me:hunter2@a.example:5000",
    "postgresql://me:hunter2@a.example/db",
    "postgresql://a.example/db?password=hunter2",
)


@pytest.mark.parametrize("uri", WITH_PASSWORD)
def test_a_password_in_a_setting_is_refused_and_not_repeated(tmp_path, monkeypatch, uri):
    setting = f"logger.mlflow.tracking_uri={uri}"
    for arguments in ([setting], ["-m", setting, "seed=0,1"], [f"+logger.mlflow={{tracking_uri: '{uri}'}}"]):
        error = refused_command(
            "password_in_setting", (), train.main, "logger=mlflow", *arguments, f"hydra.sweep.dir={tmp_path}/sweep"
        )
        assert "hunter2" not in str(error)
    assert not any(tmp_path.iterdir())
    with refused("password_in_setting"):  # of an experiment's file
        tracking_store.choose_store(uri, tmp_path)


@pytest.mark.parametrize("uri", WITH_PASSWORD)
def test_a_password_of_the_environment_is_shown_nowhere(uri):
    shown = tracking_store.without_secrets(f"cannot reach {uri}/api, see {uri}")
    assert "hunter2" not in shown and "me:" not in shown and shown.count("a.example") == 2
    with refused("tracker_failed", "a.example") as raised, tracking_store.errors_before_training(uri):
        raise ConnectionError(f"{uri}/api?token=hunter2 refused")
    assert "hunter2" not in str(raised.value) and raised.value.__suppress_context__
