"""The settings of `conf/evaluation`: what is fitted, evaluated and reported."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from medcls.errors import MedclsError
from medcls.evaluation.assessment import read_bands
from medcls.evaluation.recalibration import METHODS
from medcls.evaluation.sample_size import HALF_WIDTH, check_half_width
from medcls.evaluation.subgroups import Bands
from medcls.evaluation.thresholds import parse_criterion
from medcls.report.limitations import Rule
from medcls.report.run_plots import Plot
from medcls.signatures import named_functions, named_objects
from medcls.statistics.metric_table import BY_IDENTIFIER, Metric

Aggregate = Literal["mean", "max", "median"]

INTERVALS = ("bootstrap", "Wilson")
"""Intervals of metrics from outside medcls; the other methods belong to certain metrics."""


@dataclasses.dataclass(frozen=True)
class FitSettings:
    """What is fitted on images that are not the result.

    Parameters
    ----------
    operating_point, calibrate, coverage
        As in `decision_rules.fit_decision_rules`.
    aggregate : {"mean", "max", "median"} or None
        As in `predictions.aggregate`; None evaluates by image only.
    """

    operating_point: str
    calibrate: str
    coverage: float
    aggregate: Aggregate | None

    @classmethod
    def read(cls, settings: Mapping[str, Any]) -> "FitSettings":
        """Read these settings of `conf/evaluation/default.yaml`.

        Raises
        ------
        MedclsError
            A setting is missing, or has a value that makes no sense.
        """
        _check_complete(settings, ("operating_point", "calibrate", "coverage", "aggregate"))
        coverage, aggregate = settings["coverage"], settings["aggregate"]
        if isinstance(coverage, bool) or not isinstance(coverage, int | float) or not 0 < coverage < 1:
            raise MedclsError(f"coverage is {coverage!r}: give a number above 0 and below 1, as 0.9.", kind="bad_value")
        if aggregate not in (None, "mean", "max", "median"):
            raise MedclsError(f"aggregate is {aggregate!r}: choose mean, max or median, or null.", kind="bad_value")
        return cls(
            operating_point=parse_criterion(str(settings["operating_point"])).text,
            calibrate=_calibrate(settings["calibrate"]),
            coverage=float(coverage),
            aggregate=aggregate,
        )


@dataclasses.dataclass(frozen=True)
class PageSettings:
    """What the report shows.

    Parameters
    ----------
    purpose : str or None
        What the classifier is for.
    images, paths : bool
        Whether to include images, and the names of files.
    rules, plots : tuple of callable
        Limitation rules and plots from outside medcls.
    metrics : tuple of Metric
        Metrics from outside medcls.
    """

    purpose: str | None
    images: bool
    paths: bool
    rules: tuple[Rule, ...] = ()
    plots: tuple[Plot, ...] = ()
    metrics: tuple[Metric, ...] = ()


@dataclasses.dataclass(frozen=True)
class ReportSettings:
    """How results are evaluated and reported.

    Parameters
    ----------
    bands : mapping of str to Bands or None
        Columns that define subgroups.
    prevalence : float, mapping, or None
        Where the classifier is used.
    precision_of_sensitivity : float
        Half the intended width of the 95% interval of the sensitivity.
    ordered : tuple of str, or None
        The classes in their order, if they have one.
    resamples, seed : int
        For the bootstrap.
    """

    fitting: FitSettings
    page: PageSettings
    bands: Mapping[str, Bands | None]
    prevalence: float | Mapping[str, float] | None
    precision_of_sensitivity: float
    ordered: tuple[str, ...] | None
    resamples: int
    seed: int

    @classmethod
    def read(cls, settings: Mapping[str, Any]) -> "ReportSettings":
        """Read the settings that `conf/evaluation/default.yaml` lists, and `seed`.

        Raises
        ------
        MedclsError
            A setting is missing, or has a value that makes no sense: before anything is trained.
        """
        _check_complete(settings, ("ordered", "resamples", "seed", "report", "subgroups", "prevalence"))
        ordered, resamples, seed = settings["ordered"], settings["resamples"], settings["seed"]
        if not isinstance(ordered, list | None):
            raise MedclsError(
                f"ordered is {ordered!r}: list the classes, as '[mild, moderate, severe]'.", kind="bad_value"
            )
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise MedclsError(f"seed is {seed!r}: give a whole number, at least 0.", kind="bad_value")
        if isinstance(resamples, bool) or not isinstance(resamples, int) or resamples < 100:
            raise MedclsError(f"resamples is {resamples!r}: give a whole number, at least 100.", kind="bad_value")
        return cls(
            fitting=FitSettings.read(settings),
            page=_page(settings["report"]),
            bands=read_bands(settings["subgroups"] or {}),
            prevalence=_prevalence(settings["prevalence"]),
            # Not in runs of earlier versions.
            precision_of_sensitivity=check_half_width(settings.get("precision_of_sensitivity", HALF_WIDTH)),
            ordered=None if ordered is None else tuple(str(name) for name in ordered),
            resamples=resamples,
            seed=seed,
        )


def _check_complete(settings: Mapping[str, Any], names: Sequence[str], group: str = "") -> None:
    """Refuse settings that were removed: on the command line (`~calibrate`), or in a run folder's file."""
    if missing := [f"{group}{name}" for name in names if name not in settings]:
        raise MedclsError(
            f"{', '.join(missing)}: removed, and needed. Give a value, or leave the default as it is.",
            kind="missing_setting",
        )


def _page(settings: Any) -> PageSettings:  # noqa: ANN401 - what a person typed
    if not isinstance(settings, Mapping):
        raise MedclsError(
            f"report is {settings!r}: give its settings one by one, as report.images=false.", kind="bad_value"
        )
    _check_complete(settings, ("purpose", "images", "paths"), "report.")
    if not isinstance(settings["images"], bool):
        raise MedclsError(f"report.images is {settings['images']!r}: give true or false.", kind="bad_value")
    if settings["paths"] not in ("shown", "hidden"):
        raise MedclsError(f"report.paths is {settings['paths']!r}: choose shown or hidden.", kind="bad_value")
    return PageSettings(
        purpose=settings["purpose"],
        images=settings["images"],
        paths=settings["paths"] == "shown",
        # Not in runs of earlier versions.
        rules=named_functions(settings.get("rules", []), "report.rules"),
        plots=named_functions(settings.get("plots", []), "report.plots"),
        metrics=_metrics(settings.get("metrics", [])),
    )


def _metrics(names: object) -> tuple[Metric, ...]:
    metrics = named_objects(names, "report.metrics")
    for name, metric in metrics.items():
        if not isinstance(metric, Metric):
            raise MedclsError(f"report.metrics names {name}, which is no Metric.", kind="unknown_target")
        if metric.identifier in {"n", "support", *BY_IDENTIFIER}:
            raise MedclsError(
                f"report.metrics names {name}, whose identifier {metric.identifier!r} is taken.", kind="bad_value"
            )
        if metric.interval not in INTERVALS:
            raise MedclsError(
                f"report.metrics names {name}, whose interval is {metric.interval!r}: give {' or '.join(INTERVALS)}.",
                kind="bad_value",
            )
    return tuple({metric.identifier: metric for metric in metrics.values()}.values())


def _calibrate(value: Any) -> str:  # noqa: ANN401 - what a person typed
    """Check the method; runs of earlier versions have true (temperature) and false (none)."""
    method = ("temperature" if value else "none") if isinstance(value, bool) else value
    if method not in METHODS:
        raise MedclsError(
            f"calibrate is {value!r}: choose {', '.join(METHODS[:-1])} or {METHODS[-1]}.", kind="bad_value"
        )
    return str(method)


def _prevalence(value: Any) -> float | dict[str, float] | None:  # noqa: ANN401 - what a person typed
    shares = value if isinstance(value, Mapping) else {"": value}
    for share in shares.values():
        if value is not None and (isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1):
            raise MedclsError(
                f"prevalence is {value!r}: give shares above 0 and below 1, as 0.02 or '{{ill: 0.02}}'.",
                kind="bad_value",
            )
    if value is None:
        return None
    return {str(name): float(share) for name, share in value.items()} if isinstance(value, Mapping) else float(value)
