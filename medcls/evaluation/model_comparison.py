"""Several classifiers on the same images: each one's figure, every pair's difference, and what may be said of them."""

import dataclasses
import itertools
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from medcls.errors import MedclsError
from medcls.evaluation.comparing import (
    ALPHA,
    NET_BENEFIT,
    WORDS,
    check_metric,
    compare_all,
    in_order_of,
    judges,
    split_of,
)
from medcls.evaluation.decision_curve import acting_from, decision_curve
from medcls.evaluation.non_inferiority import against_margin
from medcls.evaluation.predictions import KEPT_TOGETHER, TOOK_PART, Predictions
from medcls.evaluation.thresholds import OperatingPoint
from medcls.statistics.analytic import WILSON
from medcls.statistics.intervals import split_intervals
from medcls.statistics.metric_table import LOWER_IS_BETTER, class_of
from medcls.statistics.metrics import FEW_CASES
from medcls.wording import counted, enumerated

# Of more classifiers only the pairs with the first are shown; all are tested, corrected for, and in the CSV.
SHOWN_IN_FULL = 10

CHOSE_THE_BEST = (
    "The same images chose the best and give its figure, which flatters it: confirm it on images that chose nothing."
)
NO_GROUPS = "No groups (patients) are known of these images: each counts as one of its own."


@dataclasses.dataclass(frozen=True)
class ComparedModel:
    """One classifier's predictions, and what they are known by.

    Parameters
    ----------
    name : str
        In tables and sentences.
    place : str
        The run folder, or the file.
    table : Predictions
    point : OperatingPoint or None
        From where on it calls the positive class; None with more than two classes.
    settings : str
        In what its configuration differs from that of the others; empty where unknown.
    leak : str
        How many of these images have a near copy in its training, as its audit says it; empty where none has.
    """

    name: str
    place: str
    table: Predictions
    point: OperatingPoint | None
    settings: str = ""
    leak: str = ""


@dataclasses.dataclass(frozen=True)
class Question:
    """What is asked of a contest.

    Parameters
    ----------
    metrics : tuple of str
        Of `comparing.COMPARED`; the first puts more than two contestants in order.
    threshold_probability : float or None
        Of the net benefit: the probability at which a person would act.
    margin : float or None
        By how much the first of two may be worse and still be called not inferior.
    resamples, seed : int
        Of bootstrap and permutation.
    """

    metrics: tuple[str, ...] = ("auroc",)
    threshold_probability: float | None = None
    margin: float | None = None
    resamples: int = 2000
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class ModelComparison:
    """What came out.

    Parameters
    ----------
    models : tuple of ComparedModel
        As given; more than two from the best to the worst by the first metric.
    question : Question
    estimates : DataFrame
        `name, metric, estimate, low, high, method, n, note`: each one's own.
    pairs : DataFrame
        As of `compare_all`.
    margins : DataFrame or None
        As of `non_inferiority.against_margin`, where a margin was stated.
    conclusions : tuple of str
        What can and what cannot be concluded: one sentence or more a metric.
    notes : tuple of str
        What a reader must know of the images and of the thresholds.
    """

    models: tuple[ComparedModel, ...]
    question: Question
    estimates: pd.DataFrame
    pairs: pd.DataFrame
    margins: pd.DataFrame | None
    conclusions: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def metrics(self) -> tuple[str, ...]:
        """What they were compared by."""
        return self.question.metrics

    @property
    def caption(self) -> str:
        """Which images these are, and what part they took."""
        return self.models[0].table.caption()

    @property
    def watermarks(self) -> tuple[str, ...]:
        """What figures of these images must say."""
        return watermarks(self.models[0].table)

    @property
    def cautions(self) -> tuple[str, ...]:
        """What must be known before any is called better: whose training held near copies of these images."""
        return tuple(caution(one.name, one.leak) for one in self.models if one.leak)

    @property
    def shown(self) -> pd.DataFrame:
        """The pairs that a person is shown."""
        if len(self.models) <= SHOWN_IN_FULL:
            return self.pairs
        return self.pairs[self.pairs["a"] == self.models[0].name]

    def to_plain(self) -> dict[str, Any]:
        """For comparison.json."""
        return {
            "images": self.caption,
            "stamps": list(self.watermarks),
            "split": self.models[0].table.split,
            "metrics": list(self.metrics),
            "classifiers": [
                {
                    "name": one.name,
                    "place": one.place,
                    "checkpoint": one.table.checkpoint,
                    "operating_point": None if one.point is None else one.point.to_plain(),
                    "settings": one.settings,
                    "figures": self.estimates[self.estimates["name"] == one.name]
                    .drop(columns="name")
                    .to_dict("records"),
                }
                for one in self.models
            ],
            "comparisons": self.pairs.drop(columns="freedom").to_dict("records"),
            "against_margin": None if self.margins is None else self.margins.to_dict("records"),
            "cautions": list(self.cautions),
            "conclusions": list(self.conclusions),
            "notes": list(self.notes),
        }


def compare_models(models: Sequence[ComparedModel], question: Question) -> ModelComparison:
    """Compare them all, each with each.

    Parameters
    ----------
    models : sequence of ComparedModel
        Two or more, of the same images.
    question : Question
        By what they are compared.

    Raises
    ------
    MedclsError
        Different images, labels, groups or classes; hard labels; a metric that the task does not have; a margin with
        more than two.
    """
    check_same_images(models)
    metrics = question.metrics
    for metric in metrics:
        check_metric(metric, models[0].table.classes)
    check_two_for_a_margin(question.margin, [one.name for one in models])
    estimates = pd.concat([_own_figures(one, question) for one in models], ignore_index=True)
    if len(models) > 2:
        first = estimates[estimates["metric"] == metrics[0]].set_index("name")["estimate"]
        order = first.sort_values(ascending=metrics[0] in LOWER_IS_BETTER, kind="stable").index.tolist()
        models = sorted(models, key=lambda one: order.index(one.name))
        estimates = estimates.sort_values("name", key=lambda names: names.map(order.index), kind="stable")
    pairs = compare_all(
        {one.name: one.table for one in models},
        metrics,
        {one.name: one.point.threshold for one in models if one.point is not None},
        question.resamples,
        question.seed,
        question.threshold_probability,
    )
    margins = None if question.margin is None else against_margin(pairs, question.margin)
    if len(models) == 2:
        conclusions = (*pairs["sentence"], *(() if margins is None else margins["sentence"]))
    else:
        conclusions = tuple(standing(pairs, estimates, metric) for metric in metrics)
    return ModelComparison(tuple(models), question, estimates, pairs, margins, conclusions, _notes(models, question))


def caution(name: str, leak: str) -> str:
    """What must be known of one whose training held near copies of the images that it is judged on."""
    return (
        f"Before believing this: of {name}, {leak}. What it has learned by heart counts for it here, and need not be "
        "any good on new images."
    )


def check_two_for_a_margin(margin: float | None, names: Sequence[str]) -> None:
    """See to it that a margin has one that is asked about, and one that it is held against.

    Raises
    ------
    MedclsError
        There are more than two.
    """
    if margin is not None and len(names) > 2:
        raise MedclsError(
            f"margin={margin:g} asks whether one is not inferior to another: name two, the one in question first and "
            f"what it is held against second. Here are {len(names)}: {enumerated(names)}.",
            kind="not_two_runs",
        )


def check_same_images(models: Sequence[ComparedModel]) -> None:
    """See to it that all saw the same images; where they did not, say who did.

    Raises
    ------
    MedclsError
        Names those that can be compared with each other.
    """
    sets: dict[frozenset[str], list[str]] = {}
    for one in models:
        sets.setdefault(frozenset(one.table.rows["path"]), []).append(one.name)
    if len(sets) == 1:
        splits = {one.table.split.casefold(): one for one in models}
        if len(splits) > 1:
            listed = ", ".join(f"{one.table.split or '(none)'} of {one.name}" for one in splits.values())
            raise MedclsError(
                f"The same images are of different splits ({listed}): what chose a checkpoint flatters it, and what "
                "was held back does not. Compare the same split of each.",
                kind="different_splits",
            )
        return
    (mine, here), (theirs, there) = list(sets.items())[:2]
    lines = [f"  {counted(len(paths), 'image')}: {enumerated(names)}" for paths, names in sets.items()]
    raise MedclsError(
        "Classifiers are compared on the same images, and these saw different ones:\n" + "\n".join(lines) + "\n"
        f"({here[0]} and {there[0]} share {len(mine & theirs)}.) Runs with another seed, or other settings of the "
        "split, hold other images back: compare those that share theirs, or evaluate all on the same images.",
        kind="different_images",
    )


def watermarks(table: Predictions) -> tuple[str, ...]:
    """What each figure of these images must say, as that they are synthetic."""
    found = table.rows["stamp"].unique().tolist() if "stamp" in table.rows else []
    return tuple(watermark for watermark in found if watermark)


def known_from(table: Predictions, other: Predictions) -> Predictions:
    """Give a table of another tool, where it has none, the groups and the split that a run knows of the same images."""
    rows = table.rows
    if (rows["group"] == "").all():
        known = other.rows.set_index("path")
        told = [name for name in ("group", KEPT_TOGETHER) if name in known]
        rows = rows.assign(**{name: rows["path"].map(known[name]).fillna("") for name in told})
    if not table.split:
        rows = rows.assign(split=other.split)
    return dataclasses.replace(table, rows=rows)


def standing(pairs: pd.DataFrame, estimates: pd.DataFrame, metric: str) -> str:
    """Say of the one with the best figure among three or more which others it beats, and which not.

    Parameters
    ----------
    pairs, estimates : DataFrame
        As of `ModelComparison`.
    metric : str
    """
    word, of_metric = WORDS[metric], pairs[pairs["metric"] == metric]
    if of_metric[["first", "second"]].isna().any(axis=None):
        return f"These {of_metric['rows'].iloc[0]} say nothing of the {word}: a class has no image here."
    lower = metric in LOWER_IS_BETTER
    own = estimates[estimates["metric"] == metric].sort_values("estimate", ascending=lower, kind="stable")
    best, (value, low, high) = own["name"].iloc[0], own[["estimate", "low", "high"]].to_numpy()[0]
    mine = of_metric[(of_metric["a"] == best) | (of_metric["b"] == best)]
    clear = (mine["p_holm"] < ALPHA) & ((mine["low"] > 0) | (mine["high"] < 0))
    others = mine["a"].where(mine["a"] != best, mine["b"])
    beaten, level = others[clear].tolist(), others[~clear].tolist()
    best_of = f"{best} has the {'lowest' if lower else 'highest'} {word} of {len(own)}"
    said = (
        f"On these {mine['rows'].iloc[0]} {best_of}, {value:.3f} (95% interval {low:.3f} to {high:.3f}). With p "
        f"corrected for {pairs['p'].notna().sum()} comparisons (Holm) "
    )
    if beaten:
        said += f"it is better than {enumerated(beaten, SHOWN_IN_FULL)}"
        said += ", and cannot be told apart from " if level else ", all others"
    else:
        said += "it cannot be told apart from any other: "
    said += enumerated(level, SHOWN_IN_FULL)
    return said + (". That is no proof of being equal." if level else ".")


def _own_figures(one: ComparedModel, question: Question) -> pd.DataFrame:
    """One contestant's figures with their intervals, by the methods of the report."""
    table = one.table
    # Not by `intervals`, which takes no hard labels: another tool's calls can be compared, though not by an AUROC.
    split = split_of(table, None if one.point is None else one.point.threshold)
    found = split_intervals(split, question.resamples, question.seed)
    if NET_BENEFIT in question.metrics:
        found = pd.concat([found, _own_benefit(table, question)], ignore_index=True)
    over = {
        metric: table.positive if metric == NET_BENEFIT else class_of(metric, table.positive)
        for metric in question.metrics
    }
    rows = [found[(found["metric"] == metric) & (found["class"] == name)] for metric, name in over.items()]
    return pd.concat(rows).drop(columns="class").assign(name=one.name)


def _own_benefit(table: Predictions, question: Question) -> pd.DataFrame:
    """One line as of `intervals`, of the net benefit."""
    line: dict[str, Any] = {
        "metric": NET_BENEFIT,
        "class": table.positive,
        "method": f"MOVER of {WILSON}'s limits",
        "note": "",
    }
    if not len(table):
        return pd.DataFrame([line | {"estimate": np.nan, "low": np.nan, "high": np.nan, "n": 0}])
    found = decision_curve(table, [acting_from(question.threshold_probability)]).iloc[0]
    line |= {"estimate": found["model"], "low": found["low"], "high": found["high"], "n": len(table)}
    return pd.DataFrame([line])


def _notes(models: Sequence[ComparedModel], question: Question) -> tuple[str, ...]:
    """What a reader must know beside the sentences."""
    table = models[0].table
    notes = []
    counts = table.rows["label"].value_counts()
    few = [f"{name} ({counts.get(name, 0)})" for name in table.classes if counts.get(name, 0) < FEW_CASES]
    if few:
        notes.append(f"Fewer than {FEW_CASES} images of {', '.join(few)}: read the intervals, not the figures.")
    if len(models) > 2:
        notes += [
            CHOSE_THE_BEST,
            "This is said of these trained networks and of images like these, not of other trainings or other sites.",
        ]
        notes += [f"Mind: {TOOK_PART[table.split]}."] if table.split in TOOK_PART else []
    if (table.rows["group"] == "").all():
        notes.append(NO_GROUPS)
    same: dict[str, list[str]] = {}
    for one in models:
        if one.table.checkpoint:
            same.setdefault(one.table.checkpoint, []).append(one.name)
    notes += [f"{', '.join(names)} have the same weights ({key})." for key, names in same.items() if len(names) > 1]
    if all(re.fullmatch(r"seed=\d+", one.settings) for one in models):
        notes.append(
            "These runs differ in nothing but the seed: a difference is one of trainings by chance, not of settings. "
            "Several seeds of each setting are compared with cross_validations=[A,B]."
        )
    notes += [
        f"{one.name} and {other.name} give the same probability for every image: there is nothing to tell apart."
        for one, other in itertools.combinations(models, 2)
        if _answer_alike(one.table, other.table)
    ]
    if NET_BENEFIT in question.metrics:
        notes.append(
            f"Net benefit of acting from a probability of {question.threshold_probability:g} on, in true positives for "
            "each image. It takes the probabilities at their word and holds at the prevalence of these images."
        )
    if judges(question.metrics, "probabilities"):
        notes.append(
            "The Brier score judges the probabilities themselves: better order and better calibration both lower it."
        )
    if judges(question.metrics, "decisions"):
        unfitted = [one.name for one in models if one.point is not None and not one.point.is_fitted]
        if unfitted:
            notes.append(
                f"The threshold of {enumerated(unfitted)} is 0.5, not fitted: what is counted at a threshold compares "
                "thresholds as much as networks."
            )
    return tuple(notes)


def _answer_alike(first: Predictions, second: Predictions) -> bool:
    """Whether two classifiers give the same probabilities throughout."""
    return bool((first.probabilities() == in_order_of(first, second).probabilities()).all()) and len(first) > 0
