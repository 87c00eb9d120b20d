"""A comparison of trained classifiers on the same images: each one's metrics, each pair's difference."""

import dataclasses
import itertools
import re
from collections.abc import Sequence
from typing import Any

import pandas as pd

from medcls.errors import MedclsError
from medcls.evaluation.comparing import (
    ALPHA,
    NET_BENEFIT,
    SHOWN_IN_FULL,
    WORDS,
    ModelComparison,
    Question,
    caution,
    compare_all,
    in_order_of,
    measuring,
    watermarks,
)
from medcls.evaluation.decision_curve import acting_from, decision_curve
from medcls.evaluation.non_inferiority import against_margin
from medcls.evaluation.predictions import KEPT_TOGETHER, TOOK_PART, Predictions
from medcls.evaluation.thresholds import OperatingPoint
from medcls.statistics.analytic import WILSON, Interval, undefined
from medcls.statistics.digits import rounded
from medcls.statistics.intervals import intervals
from medcls.statistics.metric_table import LOWER_IS_BETTER, class_of
from medcls.statistics.metrics import FEW_CASES
from medcls.wording import counted, enumerated

CHOSE_THE_BEST = (
    "The same images choose the best one and give its metrics, which favours it: confirm it on other images."
)
NO_GROUPS = "No groups (patients) are known for these images: each counts as independent."


@dataclasses.dataclass(frozen=True)
class ComparedModel:
    """The predictions of one classifier.

    Parameters
    ----------
    name : str
        In tables and sentences.
    place : str
        The run folder, or the file.
    table : Predictions
    point : OperatingPoint or None
        None with more than two classes.
    settings : str
        How its configuration differs from the others'; empty where unknown.
    leak : str
        How many of these images have a near duplicate in its training, by its audit; empty if none has.
    """

    name: str
    place: str
    table: Predictions
    point: OperatingPoint | None
    settings: str = ""
    leak: str = ""


def compare_models(models: Sequence[ComparedModel], question: Question) -> ModelComparison:
    """Compare each pair of classifiers.

    Parameters
    ----------
    models : sequence of ComparedModel
        Two or more, of the same images.
    question : Question

    Raises
    ------
    MedclsError
        Different images, labels, groups or classes; hard labels; a metric that the task does not have; a margin with
        more than two.
    """
    check_same_images(models)
    metrics = question.metrics
    question.check([model.name for model in models], models[0].table.classes)
    estimates = pd.concat([_estimates(model, question) for model in models], ignore_index=True)
    if len(models) > 2:
        first = estimates[estimates["metric"] == metrics[0]].set_index("name")["estimate"]
        order = first.sort_values(ascending=metrics[0] in LOWER_IS_BETTER, kind="stable").index.tolist()
        models = sorted(models, key=lambda model: order.index(model.name))
        estimates = estimates.sort_values("name", key=lambda names: names.map(order.index), kind="stable")
    thresholds = {model.name: model.point.threshold for model in models if model.point is not None}
    pairs = compare_all({model.name: model.table for model in models}, question, thresholds)
    margins = None if question.margin is None else against_margin(pairs, question.margin)
    if len(models) == 2:
        conclusions = (*pairs["sentence"], *(() if margins is None else margins["sentence"]))
    else:
        conclusions = tuple(standing(pairs, estimates, metric) for metric in metrics)
    return ModelComparison(
        kind="classifiers",
        described=tuple(_describe(model) for model in models),
        caption=models[0].table.caption(),
        split=models[0].table.split,
        watermarks=watermarks(models[0].table),
        cautions=tuple(caution(model.name, model.leak) for model in models if model.leak),
        question=question,
        estimates=estimates,
        pairs=pairs,
        margins=margins,
        conclusions=conclusions,
        notes=_notes(models, question),
    )


def _describe(model: ComparedModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "place": model.place,
        "checkpoint": model.table.checkpoint,
        "operating_point": None if model.point is None else model.point.to_plain(),
        "settings": model.settings,
    }


def check_same_images(models: Sequence[ComparedModel]) -> None:
    """Check that all have predictions of the same images and split.

    Raises
    ------
    MedclsError
        Names those that can be compared with each other.
    """
    sets: dict[frozenset[str], list[str]] = {}
    for model in models:
        sets.setdefault(frozenset(model.table.rows["path"]), []).append(model.name)
    if len(sets) == 1:
        splits = {model.table.split.casefold(): model for model in models}
        if len(splits) > 1:
            listed = ", ".join(f"{model.table.split or '(none)'} of {model.name}" for model in splits.values())
            raise MedclsError(
                f"The same images are of different splits ({listed}): a split that chose a checkpoint favours it. "
                "Compare the same split of each.",
                kind="different_splits",
            )
        return
    (mine, here), (theirs, there) = list(sets.items())[:2]
    lines = [f"  {counted(len(paths), 'image')}: {enumerated(names)}" for paths, names in sets.items()]
    raise MedclsError(
        "Classifiers are compared on the same images, and these have predictions of different ones:\n"
        + "\n".join(lines)
        + f"\n({here[0]} and {there[0]} share {len(mine & theirs)}.) Runs with another seed or split hold out other "
        "images: compare runs with the same ones, or evaluate all on the same images.",
        kind="different_images",
    )


def known_from(table: Predictions, other: Predictions) -> Predictions:
    """Fill in groups and split of another tool's table from a run's table of the same images."""
    rows = table.rows
    if (rows["group"] == "").all():
        known = other.rows.set_index("path")
        columns = [name for name in ("group", KEPT_TOGETHER) if name in known]
        rows = rows.assign(**{name: rows["path"].map(known[name]).fillna("") for name in columns})
    if not table.split:
        rows = rows.assign(split=other.split)
    return dataclasses.replace(table, rows=rows)


def standing(pairs: pd.DataFrame, estimates: pd.DataFrame, metric: str) -> str:
    """Return a sentence on which of three or more classifiers the best one is better than.

    Parameters
    ----------
    pairs, estimates : DataFrame
        As of `ModelComparison`.
    metric : str
    """
    word, of_metric = WORDS[metric], pairs[pairs["metric"] == metric]
    rows = of_metric["rows"].iloc[0]
    if of_metric[["first", "second"]].isna().any(axis=None):
        return f"On these {rows} the {word} cannot be compared: a class has no image here."
    lower = metric in LOWER_IS_BETTER
    ranked = estimates[estimates["metric"] == metric].sort_values("estimate", ascending=lower, kind="stable")
    best, (value, low, high) = ranked["name"].iloc[0], ranked[["estimate", "low", "high"]].to_numpy()[0]
    of_best = of_metric[(of_metric["a"] == best) | (of_metric["b"] == best)]
    clear = (of_best["p_holm"] < ALPHA) & ((of_best["low"] > 0) | (of_best["high"] < 0))
    others = of_best["a"].where(of_best["a"] != best, of_best["b"])
    worse, level = (enumerated(others[which].tolist(), SHOWN_IN_FULL) for which in (clear, ~clear))
    sentence = (
        f"On these {rows} {best} has the {'lowest' if lower else 'highest'} {word} of {len(ranked)}, "
        f"{rounded(value)} (95% interval {rounded(low)} to {rounded(high)}). With p corrected for "
        f"{pairs['p'].notna().sum()} comparisons (Holm) "
    )
    if clear.all():
        return f"{sentence}it is better than {worse}, all others."
    result = f"is better than {worse}, and cannot be told apart from" if clear.any() else "cannot be told apart from"
    return f"{sentence}it {result} {level}. This does not prove that they are equal."


def _estimates(model: ComparedModel, question: Question) -> pd.DataFrame:
    """The metrics of one classifier with their intervals, by the methods of the report."""
    table = model.table
    found = intervals(
        table.to_split(None if model.point is None else model.point.threshold), question.resamples, question.seed
    )
    rows = [
        {
            "metric": metric,
            **dataclasses.asdict(
                _net_benefit(table, question)
                if metric == NET_BENEFIT
                else found[metric, class_of(metric, table.positive)]
            ),
            "name": model.name,
        }
        for metric in question.metrics
    ]
    return pd.DataFrame(rows)


def _net_benefit(table: Predictions, question: Question) -> Interval:
    method = f"MOVER of {WILSON}'s limits"
    if not len(table):
        return dataclasses.replace(undefined(""), method=method)
    row = decision_curve(table, [acting_from(question.threshold_probability)]).iloc[0]
    return Interval(float(row["model"]), float(row["low"]), float(row["high"]), method, len(table))


def _notes(models: Sequence[ComparedModel], question: Question) -> tuple[str, ...]:
    """Caveats beside the conclusions."""
    table = models[0].table
    notes = []
    counts = table.rows["label"].value_counts()
    few = [f"{name} ({counts.get(name, 0)})" for name in table.classes if counts.get(name, 0) < FEW_CASES]
    if few:
        notes.append(f"Fewer than {FEW_CASES} images of {', '.join(few)}: read the intervals, not the estimates.")
    if len(models) > 2:
        notes += [
            CHOSE_THE_BEST,
            "This applies to these trained networks and images like these, not to other trainings or other sites.",
        ]
        notes += [f"Note: {TOOK_PART[table.split]}."] if table.split in TOOK_PART else []
    if (table.rows["group"] == "").all():
        notes.append(NO_GROUPS)
    same: dict[str, list[str]] = {}
    for model in models:
        if model.table.checkpoint:
            same.setdefault(model.table.checkpoint, []).append(model.name)
    notes += [f"{', '.join(names)} have the same weights ({key})." for key, names in same.items() if len(names) > 1]
    if all(re.fullmatch(r"seed=\d+", model.settings) for model in models):
        notes.append(
            "These runs differ only in the seed, so a difference is due to chance in training. Compare several seeds "
            "of each setting with cross_validations=[A,B]."
        )
    notes += [
        f"{first.name} and {second.name} predict the same probabilities for every image."
        for first, second in itertools.combinations(models, 2)
        if _are_equal(first.table, second.table)
    ]
    if NET_BENEFIT in question.metrics:
        notes.append(
            f"Net benefit of acting from a probability of {question.threshold_probability:g} on, in true positives per "
            "image. It assumes calibrated probabilities, and holds at the prevalence of these images."
        )
    if measuring(question.metrics, "probabilities"):
        notes.append("The Brier score measures the probabilities: better ranking and better calibration both lower it.")
    if measuring(question.metrics, "decisions"):
        unfitted = [model.name for model in models if model.point is not None and not model.point.is_fitted]
        if unfitted:
            notes.append(
                f"The threshold of {enumerated(unfitted)} is 0.5, not fitted: metrics at it compare thresholds, not "
                "only networks."
            )
    return tuple(notes)


def _are_equal(first: Predictions, second: Predictions) -> bool:
    """Whether two classifiers predict the same probabilities."""
    return bool((first.probabilities() == in_order_of(first, second).probabilities()).all()) and len(first) > 0
