"""Log a training, and then its results, to MLflow. MLflow is an extra, and is imported only when it is used."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import filelock
import torch
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

import medcls
from medcls.runs import records
from medcls.runs.records import Configuration, Environment
from medcls.runs.run_folder import read_json
from medcls.runs.stored import trackers
from medcls.workflow import tracking_content, tracking_store
from medcls.workflow.tracking_store import ARTIFACTS, errors_before_training, errors_logged
from medcls.workflow.training_plots import read_history
from medcls.writing import atomic_write

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

log = logging.getLogger(__name__)

RECORD = "mlflow.json"
"""The file of a run folder that names its MLflow run."""

IDENTITY = "medcls.run"
"""The tag with the identity of the training (`workflow.resuming.identity`)."""

# Of one request (mlflow/utils/validation.py).
METRICS_AT_ONCE, SETTINGS_AT_ONCE = 1000, 100

PAUSE, LONGEST_PAUSE = 30.0, 600.0
"""Seconds after a failure before MLflow is tried again: the first, doubled each time, and at most."""


class MlflowLogger(Logger):
    """Logs the settings of a training, the metrics of each epoch, and at the end its results and files.

    What fails before the first epoch is an error. What fails later is a warning and the training goes on: metrics wait
    in memory, and are sent when MLflow answers again, or at the end.

    Parameters
    ----------
    save_dir : str
        The run folder.
    tracking_uri : str, optional
        See `tracking_store.choose_store`.
    experiment : str
        Its name; it is made if it does not exist.

    Raises
    ------
    MedclsError
        MLflow is not installed; the URI has a password or is of an unknown kind; the server does not answer.
    """

    def __init__(self, save_dir: str, tracking_uri: str | None = None, experiment: str = "medcls") -> None:
        super().__init__()
        tracking_store.check_installed()
        self._folder, self._experiment = Path(save_dir), experiment
        self._uri = tracking_store.choose_store(tracking_uri, self._folder)
        self._run = ""
        self._rates: dict[str, float] = {}
        self._waiting: list[Metric] = []
        self._logged: dict[str, set[tuple[int, float]]] | None = None
        self._failures, self._not_before = 0, 0.0
        if tracking_store.sqlite_file(self._uri) is None:  # a file is made when the run begins
            with errors_before_training(self._uri):
                self._client.search_experiments(max_results=1)

    @property
    def name(self) -> str:
        """The experiment."""
        return self._experiment

    @property
    def version(self) -> str:
        """The identifier of the MLflow run; empty before the training begins."""
        return self._run

    @property
    def _client(self) -> MlflowClient:
        return tracking_store.make_client(self._uri)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Lightning's
        """Do nothing: settings are read from the run folder."""

    @rank_zero_only
    def log_graph(self, model: torch.nn.Module, input_array: torch.Tensor | None = None) -> None:
        """Begin or continue the MLflow run; Lightning calls this once, before the first epoch.

        Raises
        ------
        MedclsError
            MLflow failed.
        """
        with errors_before_training(self._uri):
            self._begin()

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log the metrics of an epoch with its number as the step, and with them the last learning rates."""
        if "epoch" not in metrics:  # learning rates, of each step
            self._rates.update(metrics)
            return
        self._add({name: value for name, value in metrics.items() if name != "epoch"}, int(metrics["epoch"]))
        self._add(self._rates, int(metrics["epoch"]))
        self._rates = {}
        if time.monotonic() >= self._not_before:
            self._send()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Send what waits; if the training failed, set the status of the run."""
        if self._run:
            self._send()
        if status == "failed" and not self._failures:
            self.end(sys.exc_info()[1])

    @rank_zero_only
    def end(self, error: BaseException | None) -> None:
        """Set the status of the run to killed or failed."""
        if not self._run:
            return
        with errors_logged("how the run ended"):
            self._client.set_terminated(self._run, "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")

    @rank_zero_only
    def log_results(self) -> None:
        """Log the results, which are in the run folder: nothing here raises an error."""
        with errors_logged("metrics with intervals, plots, report and best checkpoint"):
            if not self._run:  # the training had ended before
                self._begin()
            client = self._client
            self._add(tracking_content.results_of_run(self._folder), 0)
            self._send_all()
            for path in tracking_content.files_of_run(self._folder, Configuration.read(self._folder)):
                place = path.parent.relative_to(self._folder).as_posix()
                client.log_artifact(self._run, str(path), None if place == "." else place)
            if watermark := tracking_content.watermark_of_run(self._folder):
                client.set_tag(self._run, "medcls.watermark", watermark)
            client.set_terminated(self._run, "FINISHED")
            log.info("MLflow run %s: %s", self._run, tracking_store.without_secrets(self._uri))

    def _begin(self) -> None:
        store = tracking_store.sqlite_file(self._uri)
        if store is None:
            self._begin_at(None)
            return
        store.parent.mkdir(parents=True, exist_ok=True)
        # Of runs that start at the same time, one makes the tables and the experiment.
        with filelock.FileLock(f"{store}.lock"):
            self._begin_at(str(store.parent / ARTIFACTS))

    def _begin_at(self, artifacts: str | None) -> None:
        """Find or make the MLflow run, and log the settings."""
        client, identity = self._client, _identity(self._folder)
        self._run = self._earlier_run(client, identity)
        if self._run:
            self._logged = {}
            client.update_run(self._run, status="RUNNING")
            self._add_earlier_epochs(client)
        else:
            known = client.get_experiment_by_name(self._experiment)
            experiment = (
                client.create_experiment(self._experiment, artifact_location=artifacts)
                if known is None
                else known.experiment_id
            )
            tags = {IDENTITY: identity, "medcls.version": medcls.__version__, "mlflow.source.name": "medcls.train"}
            # With the name of its sweep, in which it is only a number.
            name = self._folder.absolute().relative_to(tracking_store.parent_of_runs(self._folder)).as_posix()
            self._run = client.create_run(experiment, tags=tags, run_name=name).info.run_id
            record = {"run_id": self._run, "store": tracking_store.without_secrets(self._uri)}
            with atomic_write(self._folder / RECORD) as temporary:
                temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        self._log_settings(client)

    def _earlier_run(self, client: MlflowClient, identity: str) -> str:
        """Return the run that an earlier start of this training made; empty if there is none."""
        record = read_json(self._folder / RECORD)
        if not isinstance(record, dict) or not identity:
            return ""
        from mlflow.exceptions import MlflowException

        try:
            found = client.get_run(str(record.get("run_id")))
        except MlflowException:
            found = None
        if found is not None and found.data.tags.get(IDENTITY) == identity:
            return str(found.info.run_id)
        log.warning(
            "MLflow has no run %s of this training, which %s names: a new run is made, without the epochs so far",
            record.get("run_id"),
            self._folder / RECORD,
            extra={"rule": "tracked_run_not_found"},
        )
        return ""

    def _add_earlier_epochs(self, client: MlflowClient) -> None:
        """Add epochs of the CSV log that MLflow does not have: it may not have answered then."""
        history = read_history(self._folder / "logs")
        if history.empty:
            return
        for number, row in history.drop(columns="step").groupby("epoch").last().iterrows():
            epoch = int(cast(float, number))
            missing = {
                str(name): float(value)
                for name, value in row.dropna().items()
                if epoch not in {step for step, _ in self._known(client, tracking_content.name_for(str(name)))}
            }
            self._add(missing, epoch)

    def _log_settings(self, client: MlflowClient) -> None:
        """Log all settings. MLflow does not change a parameter: one that a resume changed becomes a tag."""
        from mlflow.entities import Param, RunTag

        settings = tracking_content.settings_of(Configuration.read(self._folder))
        known = client.get_run(self._run).data.params
        new = [Param(name, value) for name, value in settings.items() if name not in known]
        changed = {name: value for name, value in settings.items() if known.get(name, value) != value}
        for start in range(0, len(new), SETTINGS_AT_ONCE):
            client.log_batch(self._run, params=new[start : start + SETTINGS_AT_ONCE])
        client.log_batch(self._run, tags=[RunTag(f"resumed.{name}", value) for name, value in changed.items()])

    def _add(self, metrics: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        for name, value in metrics.items():
            self._waiting.append(Metric(tracking_content.name_for(name), float(value), now, step))

    def _send(self) -> None:
        """Send the metrics that wait; the first of several failures is logged."""
        try:
            self._send_all()
        except Exception as error:  # noqa: BLE001 - of HTTP, databases, MLflow: none may end a training
            self._not_before = time.monotonic() + min(LONGEST_PAUSE, PAUSE * 2**self._failures)
            self._failures += 1
            if self._failures == 1:
                log.warning(
                    "MLflow does not answer (%s). The training goes on, and its metrics wait until MLflow answers",
                    tracking_store.reason(error),
                    extra={"rule": "tracker_failed"},
                )

    def _send_all(self) -> None:
        client = self._client
        while self._waiting:
            new = [metric for metric in self._waiting[:METRICS_AT_ONCE] if not self._is_logged(client, metric)]
            part = list({(metric.key, metric.step, metric.value): metric for metric in new}.values())
            client.log_batch(self._run, metrics=part)
            for metric in part if self._logged is not None else ():
                self._known(client, metric.key).add((metric.step, metric.value))
            self._waiting = self._waiting[METRICS_AT_ONCE:]
        if self._failures:
            log.info("MLflow answers again, and has all metrics so far", extra={"rule": "tracker_is_back"})
        self._failures, self._not_before = 0, 0.0

    def _is_logged(self, client: MlflowClient, metric: Metric) -> bool:
        """Whether an earlier start logged this value: a resumed run repeats the epoch in which it was interrupted."""
        return self._logged is not None and (metric.step, metric.value) in self._known(client, metric.key)

    def _known(self, client: MlflowClient, key: str) -> set[tuple[int, float]]:
        """Return the epochs and values of a metric that earlier starts logged."""
        logged = self._logged = {} if self._logged is None else self._logged
        if key not in logged:
            logged[key] = {(one.step, one.value) for one in client.get_metric_history(self._run, key)}
        return logged[key]


@contextlib.contextmanager
def tracked(loggers: Sequence[Logger]) -> Iterator[None]:
    """Log the results that the block writes into the run folder, or that the block failed."""
    trackers = [logger for logger in loggers if isinstance(logger, MlflowLogger)]
    try:
        yield
    except BaseException as error:
        for tracker in trackers:
            tracker.end(error)
        raise
    for tracker in trackers:
        tracker.log_results()


def log_evaluation(folder: Path, *, trust: bool) -> None:
    """Log a later evaluation of a run to the MLflow run of its training; do nothing for a run without one.

    Parameters
    ----------
    folder : Path
        The run folder, with the new results.
    trust : bool
        Follow an address that only the run folder names.
    """
    config = Configuration.read(folder)
    if config is None or not (folder / RECORD).is_file():
        return
    address = next(iter(trackers(config.setting("logger")).values()), None)
    if address is not None and not trust and "MLFLOW_TRACKING_URI" not in os.environ:
        log.warning(
            "MLflow does not get this evaluation: only the run folder names its address, %s. If you know it, set "
            "MLFLOW_TRACKING_URI to it",
            address,
            extra={"rule": "tracker_of_run_folder"},
        )
        return
    with errors_logged("this evaluation"):
        experiment = str(config.setting("logger.mlflow.experiment"))
        MlflowLogger(str(folder), address if trust else None, experiment).log_results()


def _identity(folder: Path) -> str:
    environment = records.read(folder / "environment.json", Environment)
    return "" if environment is None else environment.run
