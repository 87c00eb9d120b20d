"""Settings of an evaluation: which go together, and how its results are reported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from medcls.cli.building import plain
from medcls.cli.shipped import configurations
from medcls.cli.trained_runs import TrainedRun
from medcls.errors import MedclsError

if TYPE_CHECKING:
    from medcls.workflow.report_settings import ReportSettings

# What a run's checkpoint stores: a value given here replaces it, by a new fit.
STORED = ("calibrate", "operating_point", "coverage", "aggregate")

# Settings that have no effect on each kind of evaluation, and why.
_KNOWN = "a run has its own positive class"
_OWN_ROWS = "a run is fitted on its own val or calibration images"
_TABLE = "a table has its scores already, and no image is read"
_FOLDS = "folds are evaluated as they were stored, with exact predictions"
IGNORED = {
    "run": {"positive_class": _KNOWN, "val": _OWN_ROWS},
    "images of another site": {
        "positive_class": _KNOWN,
        "val": _OWN_ROWS,
        "split": "all images of another site are evaluated",
        "images": "data.root names their folder",
    },
    "runs": {
        "positive_class": _KNOWN,
        "val": _OWN_ROWS,
        "split": "folds are evaluated on the images that each held out",
        "precision": _FOLDS,
        "compile": _FOLDS,
    },
    "predictions": {
        "split": "all rows of a table are evaluated, and its column split names them",
        "images": _TABLE,
        "views": _TABLE,
        "precision": _TABLE,
        "compile": _TABLE,
        "data": _TABLE,
    },
}


def typed_keys() -> list[str]:
    """The settings on the command line, such as `data.root`."""
    return [override.lstrip("+~").split("=")[0] for override in HydraConfig.get().overrides.task]


def typed_groups() -> list[str]:
    """The settings on the command line, with `data` for all of its group (`data.root=...`)."""
    return ["data" if name.startswith("data.") else name for name in typed_keys()]


def names_external_images() -> bool:
    """Whether the command line names images other than the run's own."""
    return "data" in typed_groups()


def refuse_ignored_settings(evaluated: str) -> None:
    """Refuse settings that were typed and would have no effect.

    Raises
    ------
    MedclsError
        There are such settings; names them.
    """
    what = "images of another site" if evaluated == "run" and names_external_images() else evaluated
    ignored = {name: why for name, why in IGNORED[what].items() if name in typed_groups()}
    if ignored:
        reasons = "; ".join(dict.fromkeys(ignored.values()))
        raise MedclsError(
            f"{', '.join(ignored)} would have no effect with {what}: {reasons}. Leave it out.", kind="idle_setting"
        )


def check_has_threshold(classes: Sequence[str], positive: str | None, refit: Sequence[str]) -> None:
    """Refuse an operating point in a task with more than two classes.

    Raises
    ------
    MedclsError
        `refit` names one, and there is no positive class.
    """
    if positive is None and "operating_point" in refit:
        raise MedclsError(
            f"operating_point has no effect with {len(classes)} classes, of which the most probable is predicted: "
            "leave it out.",
            kind="idle_setting",
        )


def check_split(split: str, trained: TrainedRun) -> None:
    """Refuse a split that the run does not have.

    Raises
    ------
    MedclsError
        Lists the splits that can be evaluated.
    """
    possible = [name for name in ("test", "held_out", "val", "calibration", "train") if name in trained.splits]
    if split not in possible and possible == ["train"]:
        raise MedclsError(
            f"split={split}: {trained.folder.path} is a probe that predicted all its images out of fold, and its "
            "checkpoint was fitted on all of them. Evaluate other images (data.root=/other/site), or its predictions "
            f"as they are: predictions={trained.folder.predictions / 'out_of_fold.csv'}",
            kind="unknown_split",
        )
    if split not in possible:
        raise MedclsError(f"split={split}: this run has {', '.join(possible)} to evaluate.", kind="unknown_split")


def read_report_settings(cfg: DictConfig, own: DictConfig | None = None) -> tuple[ReportSettings, tuple[str, ...]]:
    """The report settings, and the names of the stored decision rules that are to be fitted again.

    A setting that is not given is taken from the run (`own`, its configuration), else from the defaults of a training.
    """
    from medcls.workflow.report_settings import ReportSettings

    if isinstance(cfg.views, bool) or not isinstance(cfg.views, int) or cfg.views < 1:
        raise MedclsError(f"views is {cfg.views!r}: give a whole number, 1 for each image alone.", kind="bad_value")
    asked = plain(cfg)
    refit = tuple(name for name in STORED if asked[name] is not None)
    default = plain(OmegaConf.load(configurations() / "conf" / "evaluation" / "default.yaml"))
    as_trained = default if own is None else default | {name: plain(own[name]) for name in STORED if name in own}
    return ReportSettings.read(asked | {name: as_trained[name] for name in STORED if name not in refit}), refit
