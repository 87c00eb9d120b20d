"""Where MLflow keeps the runs: a server, a database, or by default a SQLite file beside the run folders."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from medcls.errors import MedclsError
from medcls.runs.run_folder import PARENTS
from medcls.runs.stored import refuse_passwords

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

STORE, ARTIFACTS = "mlflow.db", "mlartifacts"
"""The default store, and the folder of its artifacts beside it."""

SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql")

LONGEST_REASON = 200

# Read by MLflow when it is imported, or at each request.
_ALWAYS = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}
# By default MLflow repeats a request seven times and waits two minutes for each answer, while the training waits too.
_UNLESS_SET = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
VARIABLES = (*_ALWAYS, *_UNLESS_SET)
"""Environment variables that `make_client` sets."""

_SQLITE = "sqlite:///"


def check_installed() -> None:
    """Check that MLflow is installed.

    Raises
    ------
    MedclsError
        It is not.
    """
    if importlib.util.find_spec("mlflow") is None:
        raise MedclsError("logger=mlflow needs MLflow: pip install 'medcls[mlflow]'", kind="missing_extra")


def choose_store(tracking_uri: str | None, folder: Path) -> str:
    """Return the tracking URI of a run: as set, of `MLFLOW_TRACKING_URI`, or of a SQLite file.

    The SQLite file is `mlflow.db` in `parent_of_runs`.

    Parameters
    ----------
    tracking_uri : str or None
        The setting.
    folder : Path
        The run folder.

    Raises
    ------
    MedclsError
        A setting with a password, which config.yaml and the report would show; an unknown kind of URI.
    """
    refuse_passwords({"mlflow": {"tracking_uri": tracking_uri}})
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}{parent_of_runs(folder) / STORE}"
    scheme, separator, _ = uri.partition("://")
    if not separator or scheme.partition("+")[0] not in SCHEMES:
        raise MedclsError(
            f"logger.mlflow.tracking_uri, or MLFLOW_TRACKING_URI, is {without_secrets(uri)!r}: give the address of a "
            "server, such as http://host:5000, or of a database, such as sqlite:////path/mlflow.db.",
            kind="bad_value",
        )
    if uri.startswith(_SQLITE):
        uri = f"{_SQLITE}{Path(uri.removeprefix(_SQLITE)).expanduser().absolute()}"
    return uri


def parent_of_runs(folder: Path) -> Path:
    """Return the folder `runs` that a run folder is in, at any depth since sweeps have folders; else its parent."""
    folder = folder.absolute()
    return next((parent for parent in folder.parents if parent.name in PARENTS), folder.parent)


def sqlite_file(uri: str) -> Path | None:
    """Return the file of a SQLite URI; None for any other."""
    return Path(uri.removeprefix(_SQLITE)) if uri.startswith(_SQLITE) else None


def make_client(uri: str) -> MlflowClient:
    """Return a client, with the usage statistics that MLflow sends to its makers turned off."""
    os.environ.update(_ALWAYS)
    for name, value in _UNLESS_SET.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def without_secrets(text: str) -> str:
    """Return a text without the user, password and query of each URI in it."""
    return re.sub(r"(?<=://)[^/\s@]*@|(?<=\S)\?\S*", "", text)


def reason(error: BaseException) -> str:
    """Return why a call of MLflow failed, without secrets: the first line of the innermost cause."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    lines = str(error).strip().splitlines()
    return without_secrets(lines[0])[:LONGEST_REASON] if lines else type(error).__name__


@contextlib.contextmanager
def errors_before_training(uri: str) -> Iterator[None]:
    """Raise what fails in the block as a `MedclsError`."""
    try:
        yield
    except MedclsError:
        raise
    except Exception as error:  # noqa: BLE001 - of HTTP, databases, MLflow: all are the address, or who is there
        raise MedclsError(
            f"MLflow cannot be used at {without_secrets(uri)}: {reason(error)}. Start its server or correct "
            "logger.mlflow.tracking_uri (or MLFLOW_TRACKING_URI); or train without it, by logger=default.",
            kind="tracker_failed",
        ) from None  # the error's own text may show a password


@contextlib.contextmanager
def errors_logged(what: str) -> Iterator[None]:
    """Log what fails in the block as a warning: a training is not lost to its tracker.

    Parameters
    ----------
    what : str
        What the block logs.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 - of HTTP, databases, MLflow: none may end a training
        log.warning(
            "MLflow failed (%s), and does not have all of this: %s. The run folder has it",
            reason(error),
            what,
            extra={"rule": "tracker_failed"},
        )
