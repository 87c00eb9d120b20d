"""What an evaluation is asked: which settings mean something beside which, and how its results are reported."""

from __future__ import annotations

import shlex
import sys
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

# What a run's checkpoint already has: given here, it is fitted anew.
STORED = ("calibrate", "operating_point", "coverage", "aggregate")

# What means nothing beside what is judged, and why.
_KNOWN = "a run knows the class that it looks for"
_OWN_ROWS = "a run is fitted on its own val or calibration images"
_TABLE = "a table comes with its scores, and no image is read"
_FOLDS = "folds are judged as each was stored, which is exactly"
IGNORED = {
    "run": {"positive_class": _KNOWN, "val": _OWN_ROWS},
    "images of another site": {
        "positive_class": _KNOWN,
        "val": _OWN_ROWS,
        "split": "all images of another site are judged",
        "images": "data.root says where they lie",
    },
    "runs": {
        "positive_class": _KNOWN,
        "val": _OWN_ROWS,
        "split": "folds are judged on what each held out",
        "precision": _FOLDS,
        "compile": _FOLDS,
    },
    "predictions": {
        "split": "all rows of a table are judged, and its column split names them",
        "images": _TABLE,
        "views": _TABLE,
        "precision": _TABLE,
        "compile": _TABLE,
        "data": _TABLE,
    },
}


def command() -> str:
    """What was typed."""
    return f"python -m medcls.evaluate {shlex.join(sys.argv[1:])}"


def typed_keys() -> list[str]:
    """The settings that the command line names, as `data.root`."""
    return [override.lstrip("+~").split("=")[0] for override in HydraConfig.get().overrides.task]


def given() -> list[str]:
    """The settings that the command line names; those of a group as the group: `data` for `data.root=...`."""
    return ["data" if name.startswith("data.") else name for name in typed_keys()]


def names_external_images() -> bool:
    """Whether the command line names images of another place."""
    return "data" in given()


def refuse_ignored_settings(judged: str) -> None:
    """Refuse what was typed and would change nothing: whoever typed it believes that it does.

    Raises
    ------
    MedclsError
        Names the settings.
    """
    what = "images of another site" if judged == "run" and names_external_images() else judged
    meant = {name: why for name, why in IGNORED[what].items() if name in given()}
    if meant:
        reasons = "; ".join(dict.fromkeys(meant.values()))
        raise MedclsError(
            f"{', '.join(meant)} would change nothing beside {what}: {reasons}. Leave it out.", kind="idle_setting"
        )


def check_has_threshold(classes: Sequence[str], positive: str | None, refit: Sequence[str]) -> None:
    """Refuse an operating point where there is none.

    Raises
    ------
    MedclsError
        More than two classes.
    """
    if positive is None and "operating_point" in refit:
        raise MedclsError(
            f"operating_point means nothing with {len(classes)} classes, of which the most probable is called: "
            "leave it out.",
            kind="idle_setting",
        )


def check_split(split: str, trained: TrainedRun) -> None:
    """Refuse a split that the run does not have.

    Raises
    ------
    MedclsError
        Lists those that can be evaluated.
    """
    there = [name for name in ("test", "held_out", "val", "calibration", "train") if name in trained.splits]
    if split not in there and there == ["train"]:
        raise MedclsError(
            f"split={split}: {trained.folder.path} is a probe that judged all its images out of fold, and its "
            "checkpoint has seen them all. Evaluate other images (data.root=/other/site), or its predictions as they "
            f"are: predictions={trained.folder.predictions / 'out_of_fold.csv'}",
            kind="unknown_split",
        )
    if split not in there:
        raise MedclsError(f"split={split}: this run has {', '.join(there)} to evaluate.", kind="unknown_split")


def read_report_settings(cfg: DictConfig, own: DictConfig | None = None) -> tuple[ReportSettings, tuple[str, ...]]:
    """How results are to be told, and which of what a checkpoint stores is to be fitted anew.

    What is not given is as the run has it (`own`, its configuration); without a run, as a training would.
    """
    from medcls.workflow.report_settings import ReportSettings

    if isinstance(cfg.views, bool) or not isinstance(cfg.views, int) or cfg.views < 1:
        raise MedclsError(f"views is {cfg.views!r}: give a whole number, 1 for each image alone.", kind="bad_value")
    asked = plain(cfg)
    refit = tuple(name for name in STORED if asked[name] is not None)
    default = plain(OmegaConf.load(configurations() / "conf" / "evaluation" / "default.yaml"))
    as_trained = default if own is None else default | {name: plain(own[name]) for name in STORED if name in own}
    return ReportSettings.read(asked | {name: as_trained[name] for name in STORED if name not in refit}), refit
