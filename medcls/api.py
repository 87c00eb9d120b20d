"""medcls from Python: each function runs the command of the same name, and returns its results as an object."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from medcls.errors import MedclsError

if TYPE_CHECKING:
    # What is heavy is imported where it is used, so that `import medcls` is light.
    from pathlib import Path

    from medcls.cli.python_results import Audit, Evaluation, Run

Location = str | os.PathLike[str]


def train(
    root: Location | None = None,
    *,
    positive_class: str | None = None,
    model: str | None = None,
    run_dir: Location | None = None,
    **settings: Any,  # noqa: ANN401 - each setting has its own type
) -> Run:
    """Train a classifier and evaluate its best checkpoint, as `python -m medcls.train` does.

    Parameters
    ----------
    root : path, optional
        The folder of images (`data.root`).
    positive_class : str, optional
        Required for a task with two classes, unless the data's configuration names it.
    model : str, optional
        The name of a file in `conf/model`.
    run_dir : path, optional
        The run folder (`hydra.run.dir`); by default a new one in `runs/`.
    **settings
        Any other setting of the command by its name: `seed=1`, or `**{"trainer.max_epochs": 20}`.

    Returns
    -------
    Run

    Raises
    ------
    MedclsError
        Whatever the command refuses: a setting, the images, the split.
    """
    from medcls.cli.python_results import Run
    from medcls.train import run as command

    given = {"data.root": root, "positive_class": positive_class, "model": model, "hydra.run.dir": run_dir}
    _, folder = _run(command, "train", given, settings)
    return Run(folder)


def probe(
    root: Location | None = None,
    *,
    positive_class: str | None = None,
    models: str | list[str] | None = None,
    run_dir: Location | None = None,
    **settings: Any,  # noqa: ANN401
) -> Run:
    """Fit logistic regression to the features of a frozen network, as `python -m medcls.probe` does.

    Parameters
    ----------
    root, positive_class, run_dir, **settings
        As of `train`.
    models : str or list of str, optional
        Names of files in `conf/model`, or run folders, whose features are joined.

    Returns
    -------
    Run

    Raises
    ------
    MedclsError
        Whatever the command refuses.
    """
    from medcls.cli.python_results import Run
    from medcls.probe import run as command

    given = {"data.root": root, "positive_class": positive_class, "models": models, "hydra.run.dir": run_dir}
    _, folder = _run(command, "probe", given, settings)
    return Run(folder)


def evaluate(
    run: Location | None = None,
    *,
    split: str | None = None,
    root: Location | None = None,
    predictions: Location | None = None,
    run_dir: Location | None = None,
    **settings: Any,  # noqa: ANN401
) -> Evaluation:
    """Evaluate a run, another site's images or any tool's predictions, as `python -m medcls.evaluate` does.

    Parameters
    ----------
    run : Run or path, optional
        The run to evaluate.
    split : str, optional
        Its split; by default `test`.
    root : path, optional
        A folder of other images to evaluate the run on (`data.root`).
    predictions : path, optional
        A table of any tool, instead of a run: `path`, `label`, `prob_<class>`.
    run_dir : path, optional
        The folder of the results, where they do not belong to the run; by default a new one in `evaluations/`.
    **settings
        As of `train`.

    Returns
    -------
    Evaluation

    Raises
    ------
    MedclsError
        Whatever the command refuses.
    """
    from medcls.cli.python_results import Evaluation
    from medcls.evaluate import run as command

    given = {"run": run, "split": split, "data.root": root, "predictions": predictions, "hydra.run.dir": run_dir}
    folder, _ = _run(command, "evaluate", given, settings)
    return Evaluation(folder)


def audit(
    root: Location | None = None,
    *,
    positive_class: str | None = None,
    run_dir: Location | None = None,
    **settings: Any,  # noqa: ANN401
) -> Audit:
    """Look for what is wrong with a data set, as `python -m medcls.audit` does.

    Parameters
    ----------
    root, positive_class, **settings
        As of `train`.
    run_dir : path, optional
        The folder of the audit (`hydra.run.dir`); by default a new one in `audits/`.

    Returns
    -------
    Audit
        `errors` counts what invalidates results; no exception is raised for them.

    Raises
    ------
    MedclsError
        Whatever the command refuses.
    """
    from medcls.audit import run as command
    from medcls.cli.python_results import Audit

    given = {"data.root": root, "positive_class": positive_class, "hydra.run.dir": run_dir}
    _, folder = _run(command, "audit", given, settings)
    return Audit(folder)


def _run(
    task: Callable[[Any], Any], config_name: str, given: Mapping[str, Any], settings: Mapping[str, Any]
) -> tuple[Any, Path]:
    from medcls.cli.overrides import override_of
    from medcls.cli.python_calls import run_from_python

    named = {key: value for key, value in given.items() if value is not None}
    if twice := sorted(named.keys() & settings.keys()):
        raise MedclsError(
            f"{twice[0]} is given twice, by its own argument and as a setting: give it once.", kind="given_twice"
        )
    return run_from_python(task, config_name, [override_of(key, value) for key, value in {**named, **settings}.items()])


def callable_module(function: Callable[..., Any]) -> type[ModuleType]:
    """The class of a command's module, which can be called like this function."""

    def call(self: ModuleType, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - those of the function
        return function(*args, **kwargs)

    own = inspect.signature(function)
    module = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    call.__signature__ = own.replace(parameters=[module, *own.parameters.values()])  # type: ignore[attr-defined]
    call.__doc__ = function.__doc__
    return type("Command", (ModuleType,), {"__call__": call})
