"""From predictions to a report: the same way after a training, in an evaluation later, and for another tool's table."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from medcls.csv_escaping import escaped, unescaped
from medcls.data.reading.decoded import UnreadableImage
from medcls.data.reading.thumbnails import thumbnail
from medcls.errors import MedclsError
from medcls.evaluation.assessment import Assessment, assess, read_bands
from medcls.evaluation.decision_rules import DecisionRules, fit_decision_rules
from medcls.evaluation.decision_rules import not_fitted as decision_rules_not_fitted
from medcls.evaluation.folds import OUT_OF_FOLD
from medcls.evaluation.label_errors import label_errors
from medcls.evaluation.predictions import Predictions, aggregate, from_logits
from medcls.evaluation.recalibration import METHODS
from medcls.evaluation.sample_size import HALF_WIDTH, check_half_width
from medcls.evaluation.spread import too_alike
from medcls.evaluation.subgroups import Bands
from medcls.evaluation.thresholds import chosen_beforehand, parse_criterion
from medcls.inference.load import Loaded
from medcls.preprocessing import Decoding
from medcls.report.checklists import claim_2024, tripod_ai
from medcls.report.label_page import label_list, label_page
from medcls.report.limitations import LEAK, Rule, limitations
from medcls.report.pages.parts import Thumbnail
from medcls.report.phrases import missed_target, worse_than_chance
from medcls.report.report import numbers, report, without_names
from medcls.report.run_plots import Plot, draw
from medcls.report.sources import Drawn, Sources
from medcls.runs.registry import Readings
from medcls.runs.run_folder import RunFolder, read_json
from medcls.signatures import named_functions
from medcls.statistics.metric_table import MACRO, METRICS
from medcls.statistics.metrics import classification_metrics, predicted_classes
from medcls.wording import counted
from medcls.workflow import terminal
from medcls.workflow import training_plots as training_plots

log = logging.getLogger(__name__)

# What the terminal shows of each split; the report has all.
SHOWN = tuple(metric.identifier for metric in METRICS if metric.short)


@dataclasses.dataclass(frozen=True)
class ReportSettings:
    """How results are to be told: the settings of `conf/evaluation`, read and checked.

    Parameters
    ----------
    operating_point, calibrate, coverage
        As of `decision_rules.fit_decision_rules`.
    aggregate : str or None
        As of `predictions.aggregate`.
    bands : mapping of str to Bands or None
        Columns that make subgroups.
    prevalence : float, mapping, or None
        Where the classifier is to be used.
    precision_of_sensitivity : float
        Half the width that the 95% interval of the sensitivity is to have.
    ordered : tuple of str, or None
        The classes in their order, where they have one.
    resamples, seed : int
        Of every bootstrap.
    purpose : str or None
        What the classifier is for.
    images, paths : bool
        Whether pictures, and names of files, may stand in the report.
    rules, plots : tuple of callable
        Limitation rules and plots of the reader's own.
    """

    operating_point: str
    calibrate: str
    coverage: float
    aggregate: str | None
    bands: Mapping[str, Bands | None]
    prevalence: float | Mapping[str, float] | None
    precision_of_sensitivity: float
    ordered: tuple[str, ...] | None
    resamples: int
    seed: int
    purpose: str | None
    images: bool
    paths: bool
    rules: tuple[Rule, ...] = ()
    plots: tuple[Plot, ...] = ()

    @classmethod
    def read(cls, settings: Mapping[str, Any]) -> "ReportSettings":
        """Read the settings that `conf/evaluation/default.yaml` lists, and `seed`.

        Raises
        ------
        MedclsError
            A value that makes no sense: before anything is trained.
        """
        asked = settings["report"]
        if not isinstance(asked, Mapping):
            raise MedclsError(
                f"report is {asked!r}: give its settings one by one, as report.images=false.", kind="bad_value"
            )
        if not isinstance(asked["images"], bool):
            raise MedclsError(f"report.images is {asked['images']!r}: give true or false.", kind="bad_value")
        if asked["paths"] not in ("shown", "hidden"):
            raise MedclsError(f"report.paths is {asked['paths']!r}: choose shown or hidden.", kind="bad_value")
        if not isinstance(settings["ordered"], list | None):
            raise MedclsError(
                f"ordered is {settings['ordered']!r}: list the classes, as '[mild, moderate, severe]'.",
                kind="bad_value",
            )
        if settings["aggregate"] not in (None, "mean", "max", "median"):
            raise MedclsError(
                f"aggregate is {settings['aggregate']!r}: choose mean, max or median, or null.", kind="bad_value"
            )
        coverage, resamples, seed = settings["coverage"], settings["resamples"], settings["seed"]
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise MedclsError(f"seed is {seed!r}: give a whole number, at least 0.", kind="bad_value")
        if isinstance(coverage, bool) or not isinstance(coverage, int | float) or not 0 < coverage < 1:
            raise MedclsError(f"coverage is {coverage!r}: give a share above 0 and below 1, as 0.9.", kind="bad_value")
        if isinstance(resamples, bool) or not isinstance(resamples, int) or resamples < 100:
            raise MedclsError(f"resamples is {resamples!r}: give a whole number, at least 100.", kind="bad_value")
        return cls(
            operating_point=parse_criterion(str(settings["operating_point"])).text,
            calibrate=_calibrate(settings["calibrate"]),
            coverage=float(coverage),
            aggregate=settings["aggregate"],
            bands=read_bands(settings["subgroups"] or {}),
            prevalence=_prevalence(settings["prevalence"]),
            # Runs of earlier versions do not state it.
            precision_of_sensitivity=check_half_width(settings.get("precision_of_sensitivity", HALF_WIDTH)),
            ordered=None if settings["ordered"] is None else tuple(str(name) for name in settings["ordered"]),
            resamples=resamples,
            seed=seed,
            purpose=asked["purpose"],
            images=asked["images"],
            paths=asked["paths"] == "shown",
            # Runs of earlier versions do not state them.
            rules=named_functions(asked.get("rules", []), "report.rules"),
            plots=named_functions(asked.get("plots", []), "report.plots"),
        )


@dataclasses.dataclass(frozen=True)
class Fitted:
    """What was fitted for images, and for patients or exams where those are told too."""

    images: DecisionRules
    units: DecisionRules | None = None
    aggregate: str | None = None

    def to_plain(self) -> dict[str, Any]:
        """For the checkpoint and `policies.json`."""
        units = None if self.units is None else {"aggregate": self.aggregate, **self.units.to_plain()}
        return {**self.images.to_plain(), "units": units}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Fitted":
        """Read back what `to_plain` gave."""
        units = plain["units"]
        of_units = None if units is None else DecisionRules.from_plain(units)
        return cls(DecisionRules.from_plain(plain), of_units, None if units is None else units["aggregate"])


@dataclasses.dataclass(frozen=True)
class Results:
    """Every split, judged; the last one is the result, and the others stand beside it."""

    splits: tuple[Assessment, ...]
    units: tuple[Assessment, ...]

    @property
    def headline(self) -> Assessment:
        """The split that the report opens with."""
        return self.splits[-1]

    @property
    def headline_units(self) -> Assessment | None:
        """The same, with one row a patient or exam."""
        return self.units[-1] if self.units else None

    def to_plain(self) -> dict[str, Any]:
        """For `metrics.json`: by split, and by split again under `units`."""
        by_split = {one.table.name: one.to_plain() for one in self.splits}
        units = {one.table.name: one.to_plain() for one in self.units}
        return {"checkpoint": self.headline.table.checkpoint, **by_split, **({"units": units} if units else {})}


def fit(table: Predictions, options: ReportSettings) -> Fitted:
    """Fit calibration, threshold and label sets on rows that are not the result; for patients too where asked.

    Raises
    ------
    MedclsError
        As `fit_decision_rules`.
    """
    fitted = fit_quietly(table, options)
    for warning in fitted.images.warnings:
        log.warning(warning)
    return fitted


def fit_quietly(table: Predictions, options: ReportSettings) -> Fitted:
    """Fit as `fit` does, and log no warning: for made-up scores."""
    settings: dict[str, Any] = {"coverage": options.coverage, "seed": options.seed}
    of_images = fit_decision_rules(table, options.operating_point, calibrate=options.calibrate, **settings)
    if options.aggregate is None:
        return Fitted(of_images)
    # Their probabilities are made of calibrated ones.
    joined = aggregate(of_images.calibrate(table), options.aggregate)  # type: ignore[arg-type]
    of_units = fit_decision_rules(joined, options.operating_point, calibrate="none", **settings)
    return Fitted(of_images, of_units, options.aggregate)


def rehearse(rows: pd.DataFrame, classes: Sequence[str], positive: str | None, options: ReportSettings) -> None:
    """Tell made-up scores of a run's images as its results will be told: what cannot be told is found out beforehand.

    Parameters
    ----------
    rows : DataFrame
        The manifest's, each in its split.

    Raises
    ------
    MedclsError
        A column, class or prevalence that these images do not have; patients whose images disagree.
    """

    def scores(split: str) -> Predictions:
        return made_up(rows, split, classes, positive)

    there = set(rows["split"])
    fitted = fit_quietly(scores("calibration" if "calibration" in there else "val"), options)
    result = "held_out" if "held_out" in there else "test"
    judge_quickly([scores(split) for split in ("val", result)], fitted, options)


def made_up(
    rows: pd.DataFrame, split: str, classes: Sequence[str], positive: str | None, checkpoint: str = "made up"
) -> Predictions:
    """Scores of nobody for the images of a split, to find out beforehand whether results can be told as asked."""
    numbers = np.flatnonzero((rows["split"] == split).to_numpy())
    logits = np.random.default_rng(len(numbers)).normal(size=(len(numbers), len(classes)))
    return from_logits(rows, numbers, logits, classes, positive, checkpoint)


def judge_quickly(tables: Sequence[Predictions], fitted: Fitted, options: ReportSettings) -> None:
    """Judge as `judge` does, with hardly a resample: for what is refused, not for what is found."""
    # Whatever else is asked for can be told of any table.
    if not options.bands and options.prevalence is None and options.ordered is None and options.aggregate is None:
        return
    judge(tables, fitted, dataclasses.replace(options, resamples=2))


def not_fitted(table: Predictions, options: ReportSettings) -> Fitted:
    """What a table is judged with where there are no rows to fit on: a threshold chosen beforehand, else 0.5."""
    decision_rules = decision_rules_not_fitted(table)
    if table.positive is not None and (point := chosen_beforehand(table, options.operating_point)) is not None:
        decision_rules = dataclasses.replace(decision_rules, operating_point=point)
    if options.aggregate is None:
        return Fitted(decision_rules)
    units = not_fitted(aggregate(table, options.aggregate), dataclasses.replace(options, aggregate=None))  # type: ignore[arg-type]
    return Fitted(decision_rules, units.images, options.aggregate)


def judge(tables: Sequence[Predictions], fitted: Fitted, options: ReportSettings) -> Results:
    """Judge each table, the result last.

    Rows out of fold are judged by nothing that was fitted: what a probe fits, it fits on them.

    Raises
    ------
    MedclsError
        As `assess`.
    """
    settings: dict[str, Any] = {
        "resamples": options.resamples,
        "seed": options.seed,
        "precision_of_sensitivity": options.precision_of_sensitivity,
        "ordered": options.ordered is not None,
    }
    if options.ordered is not None:
        tables = [table.in_order(options.ordered) for table in tables]
    rules = [not_fitted(table, options) if table.split == OUT_OF_FOLD else fitted for table in tables]
    splits = tuple(
        assess(table, rule.images, bands=options.bands, prevalence=options.prevalence, **settings)
        for table, rule in zip(tables, rules, strict=True)
    )
    units = tuple(
        assess(aggregate(one.table, rule.aggregate), rule.units, **settings)  # type: ignore[arg-type]
        for one, rule in zip(splits, rules, strict=True)
        if rule.units is not None and rule.aggregate is not None
    )
    return Results(splits, units)


def write_results(folder: RunFolder, results: Results, fitted: Fitted, watermarks: Sequence[str]) -> None:
    """Write decision rules, calibrated predictions and metrics into a folder that has begun; nothing is drawn yet."""
    folder.write_json("policies.json", fitted.to_plain())
    for one in results.splits:
        folder.write_predictions(one.table.name, one.table)
    for one in results.units:
        folder.write_predictions(f"{one.table.name}_units", one.table)
    shifted = f"{results.headline.table.name}_at_stated_prevalence"
    if (deployment := results.headline.deployment) is not None:
        folder.write_predictions(shifted, deployment.table)
    else:  # nor may one of an earlier evaluation stand beside figures that know nothing of it
        (folder.predictions / f"{shifted}.csv").unlink(missing_ok=True)
    folder.write_json("metrics.json", {"stamps": tuple(watermarks), **results.to_plain()})


def write_report(
    folder: RunFolder, results: Results, sources: Sources, options: ReportSettings, folds: pd.DataFrame | None = None
) -> None:
    """Draw the figures and write the report; what it tells has been written before."""
    told = results.splits
    if not options.paths:
        names = numbers([one.table for one in (told[-1], *told[:-1])], sources)
        told = tuple(without_names(one, names) for one in told)
    headline, others = told[-1], told[:-1]
    limits = limitations(headline, others, sources, options.rules)
    checklists = [*claim_2024(headline, others, sources, limits), *tripod_ai(headline, others, sources, limits)]
    watermark = " · ".join(sources.watermarks) or None
    with terminal.progress("drawing and writing the report"):
        for one in others:
            draw(one, folder.figures, watermark, seed=options.seed, only=("confusion", "roc"))
        figures = draw(headline, folder.figures, watermark, seed=options.seed, plots=options.plots)
        page, card = report(
            headline,
            others,
            sources,
            figures=[*figures, *sources.drawn],
            units=results.headline_units,
            folds=folds,
            limitations=limits,
            checklists=checklists,
            images=options.images,
            paths=options.paths,
        )
    folder.write_text("report.md", card)
    folder.write_text("report.html", page)


def deliver(
    folder: RunFolder,
    results: Results,
    fitted: Fitted,
    sources: Sources,
    options: ReportSettings,
    of: str,
    folds: pd.DataFrame | None = None,
) -> None:
    """Write, show and report the results of an evaluation into a folder that has begun.

    Parameters
    ----------
    of : str
        What the results are of, as the terminal calls it.
    folds : DataFrame, optional
        The metrics of each fold of a cross-validation.
    """
    if folds is not None:
        folder.write_text("folds.csv", escaped(folds).to_csv(index=False, lineterminator="\n"))
    write_results(folder, results, fitted, sources.watermarks)
    if folds is not None:
        show_folds(folds)
    show(results, sources.readings, of)
    write_report(folder, results, sources, options, folds)
    log.info("the report: %s", folder.report)


def write_label_errors(
    folder: RunFolder, out_of_fold: Predictions, sources: Sources, report_settings: ReportSettings
) -> None:
    """Write a page, a table and a list of the images whose label is probably wrong into a folder that has begun.

    Parameters
    ----------
    out_of_fold : Predictions
        Each row by models that had not seen it.
    """
    found = label_errors(out_of_fold)
    folder.write_text("label_errors.csv", escaped(found.rows).to_csv(index=False, lineterminator="\n"))
    folder.write_text("label_errors.txt", label_list(found))
    with terminal.progress("drawing suspected label errors"):
        page = label_page(
            found,
            name=sources.name,
            watermarks=sources.watermarks,
            made=sources.made,
            thumbnail=sources.picture,
            paths=report_settings.paths,
        )
    path = folder.write_text("label_errors.html", page)
    log.info("%s See %s", found.sentence(), path, extra={"rule": "label_errors"})


def sources_of_run(
    run: RunFolder, loaded: Loaded, options: ReportSettings, named: tuple[str, str], images: Path | None
) -> Sources:
    """Gather what a run folder's files say.

    Parameters
    ----------
    loaded : Loaded
        Its best checkpoint.
    named : tuple of str
        The report's title, and the command that was typed.
    images : Path or None
        Where the images lie, to be shown as the network's preprocessing decodes them.
    """
    config = yaml.safe_load(run.config.read_text(encoding="utf-8"))
    try:
        history = training_plots.read_history(run.logs)
        epochs = 0 if history.empty else int(history["epoch"].max()) + 1
        splits = unescaped(pd.read_csv(run.path / "splits.csv")) if (run.path / "splits.csv").is_file() else None
        model = (run.path / "model.txt").read_text(encoding="utf-8") if (run.path / "model.txt").is_file() else None
    except (ValueError, KeyError) as error:
        raise MedclsError(
            f"{run.path}: the metrics in logs, splits.csv or model.txt are damaged ({error!r}). Bring them back as the "
            "training wrote them, or remove them: the report then goes without.",
            kind="damaged_file",
        ) from error
    return Sources(
        name=named[0],
        made=datetime.now().astimezone(),
        command=named[1],
        purpose=options.purpose,
        watermarks=loaded.watermarks,
        config=config,
        audit=_read_audit(run),
        weights=_read_record(run.path / "weights.json", ("source", "sha256", "reinitialised", "summary")),
        environment=_read_record(run.path / "environment.json", ("packages",)),
        preprocessing=loaded.preprocessing.to_plain(),
        splits=splits,
        model=model,
        history=None if history.empty else history,
        phases=tuple(training_plots.phases(config["schedule"]["phases"], epochs)) if "schedule" in config else None,
        drawn=_drawn_in_training(run),
        probe=_read_record(run.path / "probe.json", ("said", "difference", "folds", "repeats")),
        best_epoch=loaded.epoch,
        picture=None
        if images is None or not options.images
        else lambda path: picture(images / path, loaded.preprocessing.decoding),
    )


def audit_of_folds(folds: Mapping[int, RunFolder]) -> dict[str, Any] | None:
    """What the audits of a cross-validation found: of its images once, of near copies in training fold by fold.

    Parameters
    ----------
    folds : mapping
        Number of the fold to its run; images and checks are the same but for how they are split.
    """
    audits = {fold: _read_audit(run) for fold, run in folds.items()}
    found = [audit for audit in audits.values() if audit is not None]
    if not found:
        return None
    leaks = [
        finding | {"title": f"In fold {fold} {finding['title']}"}
        for fold, audit in audits.items()
        if audit is not None
        for finding in audit["findings"]
        if finding["check"].startswith(LEAK)
    ]
    # That there are none in the first is no news where another fold has some.
    others = [
        finding
        for finding in found[0]["findings"]
        if not finding["check"].startswith(LEAK) and not (leaks and finding["check"] == "leaks")
    ]
    return found[0] | {"findings": [*leaks, *others]}


def _read_audit(run: RunFolder) -> dict[str, Any] | None:
    return _read_record(run.path / "audit.json", ("data", "findings"))


def _read_record(path: Path, wanted: Sequence[str]) -> dict[str, Any] | None:
    """What a run wrote down of itself; None where the file is missing."""
    way_out = "Bring it back, or remove it: the report then goes without."
    try:
        record = read_json(path)
    except MedclsError as error:
        raise MedclsError(f"{error} {way_out}", kind=error.kind) from error
    if record is not None and not (isinstance(record, dict) and set(wanted) <= set(record)):
        raise MedclsError(
            f"{path} is not what a training wrote: it should hold {', '.join(wanted)}. {way_out}", kind="damaged_file"
        )
    return record


def _drawn_in_training(run: RunFolder) -> tuple[Drawn, ...]:
    path = run.figures / "training.svg"
    text = (
        "Loss and metrics by epoch, the learning rate, and what was frozen when. Where the validation loss rises while "
        "the training loss falls, the network learns its images by heart."
    )
    return (Drawn("training", "Learning curves", text, path),) if path.is_file() else ()


def picture(path: Path, decoding: Decoding) -> Thumbnail:
    """A small picture for the report; of a file that cannot be read, why."""
    try:
        return Thumbnail(*thumbnail(path, decoding))
    except UnreadableImage as error:
        return Thumbnail(reason=error.reason)


def show_effect(exact: Predictions, other: Predictions, decision_rules: DecisionRules, how: str) -> None:
    """Print what predictions made with another arithmetic change, on the same images, at the same threshold.

    Parameters
    ----------
    exact, other : Predictions
        Of the same images in the same order.
    decision_rules : DecisionRules
        What both are judged with.
    how : str
        What the other arithmetic is called.
    """
    tables = [decision_rules.calibrate(table) for table in (exact, other)]
    figures = [
        classification_metrics(
            one.labels(), one.probabilities(), one.classes, one.positive, decision_rules.threshold
        ).values
        for one in tables
    ]
    names = [name for name in SHOWN if name in figures[0]]
    table = pd.DataFrame({"metric": names, "exact": [figures[0][name] for name in names]})
    table[how] = [figures[1][name] for name in names]
    table["change"] = [
        "" if np.isnan(after - before) else f"{after - before:+.4f}"
        for before, after in zip(table["exact"], table[how], strict=True)
    ]
    terminal.show_table(table, f"What {how} changes, on {counted(len(exact), 'image')}")
    before, after = (one.probabilities() for one in tables)
    called = [
        predicted_classes(scores, exact.classes, exact.positive, decision_rules.threshold) for scores in (before, after)
    ]
    log.info(
        "%s against exact: a probability differs by %.2g at most, %d of %d calls differ",
        how,
        np.abs(before - after).max(),
        (called[0] != called[1]).sum(),
        len(exact),
    )


def show_folds(folds: pd.DataFrame) -> None:
    """Print the main figures of each fold, their mean, and those of all held-out rows together."""
    told = folds[folds["metric"].isin(SHOWN)]
    whole = told[told["class"].isin(("", MACRO)) | ~told["class"].duplicated(keep=False)]
    of_task = told if told["class"].nunique() <= 2 else whole
    table = of_task.pivot_table(index="metric", columns="fold", values="estimate", sort=False).reset_index()
    terminal.show_table(table, "Out of fold")


def show(results: Results, readings: Readings | None, of: str = "Best checkpoint") -> None:
    """Print what each split says of a classifier, side by side; and what is undefined, or worthless, and why."""
    for said in (worse_than_chance(results.headline), missed_target(results.headline)):
        if said is not None:
            name = results.headline.table.name
            log.warning("%s: %s. %s", name, said.title, said.text, extra={"rule": said.rule})
    columns: dict[str, list[str]] = {}
    names = [name for name in SHOWN if name in results.headline.metrics.values]
    for one in results.splits:
        columns[one.table.name] = [_with_interval(one, name) for name in names]
    terminal.show_table(pd.DataFrame({"metric": names, **columns}), f"{of}, with 95% intervals")
    if (point := results.headline.decision_rules.operating_point) is not None:
        log.info("operating point: probability of %s of at least %s", point.positive_class, point.label())
        if point.promise:
            log.info("%s", point.promise)
    for one in results.splits:
        log.info("%s", one.table.caption())
        if (alike := too_alike(one.table)) is not None:
            log.warning(alike, extra={"rule": "one_answer"})
        undefined = [name for name in one.metrics.reasons if "/" not in name]
        if undefined:
            reasons = one.metrics.why(undefined)
            log.warning("%s: undefined: %s (%s)", one.table.name, ", ".join(undefined), reasons)
        if (note := one.metrics.majority_note()) is not None:
            log.warning("%s: %s", one.table.name, note)
    if (needed := results.headline.cases_needed) is not None:
        log.info("%s", needed.sentence())
    if readings is not None:
        log.info("%s", readings.sentence(), extra={"rule": "test_readings"})


def _with_interval(one: Assessment, name: str) -> str:
    value = one.metrics.values[name]
    rows = one.intervals[one.intervals["metric"] == name]
    # The rows that speak for the whole split: of the positive class, of the mean over classes, or of all rows.
    whole = rows[rows["class"].isin((one.table.positive or MACRO, ""))]
    if value != value:
        return "undefined"
    if whole.empty or whole["low"].isna().all():
        return f"{value:.3f}"
    return f"{value:.3f} ({whole['low'].iloc[0]:.3f} to {whole['high'].iloc[0]:.3f})"


def _calibrate(value: Any) -> str:  # noqa: ANN401 - what a person typed
    """The method; true and false stand for the temperature and none, as they did before there were several."""
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
