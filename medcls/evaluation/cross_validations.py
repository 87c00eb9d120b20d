"""Two ways of training held against each other over the folds, and the seeds, of whole cross-validations.

A comparison on one test split speaks of two trained networks. Folds and seeds train anew each time, so that what is
compared is the training; but their training images overlap, and the t test of the folds' differences takes them for
independent. The corrected test makes up for it.
"""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student

from medcls.errors import MedclsError
from medcls.evaluation.comparing import NET_BENEFIT, WORDS, check_metric, check_paired, judges, split_of, verdict
from medcls.evaluation.decision_curve import acting_from, decision_curve
from medcls.evaluation.model_comparison import Question, caution, check_two_for_a_margin, watermarks
from medcls.evaluation.non_inferiority import against_margin
from medcls.evaluation.predictions import Predictions
from medcls.statistics.analytic import LEVEL, holm
from medcls.statistics.arrays import Floats
from medcls.statistics.hard_labels import check_table
from medcls.statistics.metric_table import LOWER_IS_BETTER, class_of, estimates, with_interval
from medcls.wording import counted, enumerated

METHOD = "corrected resampled t (Nadeau and Bengio 2003)"
FEW_FOLDS = 5
"""Under so many differences Student's quantile alone is above 2.7: hardly anything can be told apart."""


@dataclasses.dataclass(frozen=True)
class Fold:
    """One run of a cross-validation.

    Parameters
    ----------
    seed : int
    number : int or None
        Of the fold; None where each seed holds out other images by itself.
    table : Predictions
        Of the images that it held out.
    threshold : float or None
        Its own operating point.
    others : int
        Images that it trained and selected by.
    leak : str
        As of `model_comparison.ComparedModel`.
    """

    seed: int
    number: int | None
    table: Predictions
    threshold: float | None
    others: int
    leak: str = ""

    @property
    def key(self) -> tuple[int, int | None]:
        """By which it is paired."""
        return self.seed, self.number

    @property
    def name(self) -> str:
        """Seed and fold in words."""
        return f"seed {self.seed}" if self.number is None else f"fold {self.number} of seed {self.seed}"


@dataclasses.dataclass(frozen=True)
class CrossValidation:
    """One way of training, over folds and seeds.

    Parameters
    ----------
    name, place, settings
        As of `model_comparison.ComparedModel`.
    folds : tuple of Fold
    """

    name: str
    place: str
    folds: tuple[Fold, ...]
    settings: str = ""


@dataclasses.dataclass(frozen=True)
class Repeated:
    """What came out.

    Parameters
    ----------
    models : tuple of CrossValidation
    question : Question
    estimates : DataFrame
        `name, metric, seed, fold, estimate, n`: of each run; the fold in text, empty where there is none.
    pairs : DataFrame
        `metric, a, b, first, second` (means over the folds), `difference, low, high, p, p_holm, freedom, method`,
        `sd` (of the folds' differences), `correlation` (that the test takes them to have), `verdict` and `sentence`.
    margins : DataFrame or None
        As of `non_inferiority.against_margin`.
    conclusions, notes : tuple of str
        What can and cannot be concluded; what a reader must know.
    """

    models: tuple[CrossValidation, ...]
    question: Question
    estimates: pd.DataFrame
    pairs: pd.DataFrame
    margins: pd.DataFrame | None
    conclusions: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def caption(self) -> str:
        """Over how many folds and seeds, of how many images."""
        folds = self.models[0].folds
        seeds = len({fold.seed for fold in folds})
        images = len({path for fold in folds for path in fold.table.rows["path"]})
        return f"{counted(len(folds), 'run')} of {counted(seeds, 'seed')} each, {counted(images, 'held-out image')}"

    @property
    def watermarks(self) -> tuple[str, ...]:
        """What figures of these images must say."""
        return watermarks(self.models[0].folds[0].table)

    @property
    def cautions(self) -> tuple[str, ...]:
        """What must be known before any is called better: the first run whose training held near copies."""
        first = ((one, next((fold for fold in one.folds if fold.leak), None)) for one in self.models)
        return tuple(caution(f"{one.name}, {fold.name}", fold.leak) for one, fold in first if fold is not None)

    def to_plain(self) -> dict[str, Any]:
        """For comparison.json."""
        return {
            "images": self.caption,
            "stamps": list(self.watermarks),
            "metrics": list(self.question.metrics),
            "cross_validations": [
                {
                    "name": one.name,
                    "place": one.place,
                    "settings": one.settings,
                    "checkpoints": {fold.name: fold.table.checkpoint for fold in one.folds},
                    "figures": self.estimates[self.estimates["name"] == one.name]
                    .drop(columns="name")
                    .to_dict("records"),
                }
                for one in self.models
            ],
            "comparisons": self.pairs.to_dict("records"),
            "against_margin": None if self.margins is None else self.margins.to_dict("records"),
            "cautions": list(self.cautions),
            "conclusions": list(self.conclusions),
            "notes": list(self.notes),
        }


def corrected_t(differences: Floats, ratio: float) -> tuple[tuple[float, float], float]:
    """The 95% interval of a mean difference over folds, and the two-sided p-value for none.

    Nadeau and Bengio 2003, "Inference for the generalization error": the variance of the mean of J differences is
    taken as `(1 / J + n_test / n_train) s^2` instead of `s^2 / J`, as if any two of them had the correlation
    `n_test / (n_test + n_train)`; with J - 1 degrees of freedom. Over several seeds as in Bouckaert and Frank 2004,
    "Evaluating the replicability of significance tests for comparing learning algorithms".

    Parameters
    ----------
    differences : float64 array (J,)
        Two or more.
    ratio : float
        Images held out over images trained and selected by.

    Returns
    -------
    limits, p
        NaN where all differences are the same; p is then 1 if that is 0.
    """
    count, mean, variance = len(differences), float(differences.mean()), float(differences.var(ddof=1))
    error = float(np.sqrt((1 / count + ratio) * variance))
    if not error > 1e-12:
        return (np.nan, np.nan), 1.0 if abs(mean) <= 1e-12 else np.nan
    half = error * float(student.ppf(0.5 + LEVEL / 2, count - 1))
    return (mean - half, mean + half), float(2 * student.sf(abs(mean) / error, count - 1))


def compare_cross_validations(models: Sequence[CrossValidation], question: Question) -> Repeated:
    """Compare each with each, paired by fold and seed.

    Parameters
    ----------
    models : sequence of CrossValidation
        Two or more, of the same folds and seeds, each of the same images.
    question : Question
        By what; its resamples are not needed.

    Raises
    ------
    MedclsError
        Other folds, seeds or images; fewer than two folds; all judged on the same images; a metric that the task does
        not have; a margin with more than two.
    """
    check_same_folds(models)
    models = [
        dataclasses.replace(one, folds=tuple(sorted(one.folds, key=lambda fold: (fold.seed, fold.number or 0))))
        for one in models
    ]
    first = models[0]
    for metric in question.metrics:
        check_metric(metric, first.folds[0].table.classes)
    check_two_for_a_margin(question.margin, [one.name for one in models])
    estimates = pd.DataFrame(
        [
            {
                "name": one.name,
                "metric": metric,
                "seed": fold.seed,
                "fold": "" if fold.number is None else str(fold.number),
                "estimate": value,
                "n": n,
            }
            for one in models
            for fold in one.folds
            for metric, value, n in _figures(fold, question)
        ]
    )
    by_name = {
        key: of["estimate"].to_numpy(np.float64) for key, of in estimates.groupby(["name", "metric"], sort=False)
    }
    ratio = float(np.mean([len(fold.table) / fold.others for one in models for fold in one.folds]))
    rows = []
    for metric in question.metrics:
        for one, other in itertools.combinations(models, 2):
            mine, theirs = by_name[one.name, metric], by_name[other.name, metric]
            undefined = bool(np.isnan([mine, theirs]).any())
            limits, p = ((np.nan, np.nan), np.nan) if undefined else corrected_t(mine - theirs, ratio)
            rows.append(
                {
                    "metric": metric,
                    "a": one.name,
                    "b": other.name,
                    "first": float(mine.mean()),
                    "second": float(theirs.mean()),
                    "difference": float((mine - theirs).mean()),
                    "low": limits[0],
                    "high": limits[1],
                    "p": p,
                    "freedom": float(len(mine) - 1),
                    "method": METHOD,
                    "sd": float((mine - theirs).std(ddof=1)),
                    "correlation": ratio / (1 + ratio),
                }
            )
    pairs = pd.DataFrame(rows)
    pairs["p_holm"] = holm(pairs["p"].to_numpy(np.float64))
    count = int(pairs["p"].notna().sum())
    pairs["verdict"] = [
        verdict(row["metric"], (row["first"], row["second"]), (row["low"], row["high"]), row["p_holm"])
        for row in pairs.to_dict("records")
    ]
    pairs["sentence"] = [_conclusion(row, len(first.folds), count) for row in pairs.to_dict("records")]
    margins = None if question.margin is None else against_margin(pairs, question.margin)
    conclusions = (*pairs["sentence"], *(() if margins is None else margins["sentence"]))
    return Repeated(tuple(models), question, estimates, pairs, margins, conclusions, tuple(_notes(models, ratio)))


def check_same_folds(models: Sequence[CrossValidation]) -> None:
    """See to it that all have the same folds of the same images, and that not every run is judged on the same ones.

    Raises
    ------
    MedclsError
        Names what is missing, or differs.
    """
    first = models[0]
    for one in models:
        twice = [f"{fold.name}" for fold in one.folds if Counter(each.key for each in one.folds)[fold.key] > 1]
        if twice:
            raise MedclsError(
                f"{one.name} has {twice[0]} more than once: give each run of a cross-validation once.",
                kind="run_given_twice",
            )
    for one in models[1:]:
        mine, theirs = ({fold.key: fold for fold in each.folds} for each in (first, one))
        for here, there, name in ((mine, theirs, first.name), (theirs, mine, one.name)):
            if alone := [fold.name for key, fold in here.items() if key not in there]:
                raise MedclsError(
                    f"{counted(len(alone), 'run')} of {name} alone: {enumerated(alone)}. Cross-validations are "
                    f"compared fold by fold: {first.name} has {len(mine)}, {one.name} has {len(theirs)}.",
                    kind="different_folds",
                )
        for key, fold in mine.items():
            check_paired(fold.table, theirs[key].table, (f"{first.name}, {fold.name},", f"{one.name}, {fold.name},"))
    if len(first.folds) < 2:
        raise MedclsError(
            f"{first.name} has one run alone: a cross-validation has two folds, or seeds, or more.", kind="too_few_runs"
        )
    if len({frozenset(fold.table.rows["path"]) for fold in first.folds}) == 1:
        raise MedclsError(
            f"All {len(first.folds)} runs of {first.name} are judged on the same images, as where a test split came "
            "with the data: how much the figures owe to these very images, their spread does not show. Train folds "
            "(-m data.folds=5 data.fold=0,1,2,3,4), or compare single runs with runs=[A,B].",
            kind="same_test_images",
        )


def _figures(fold: Fold, question: Question) -> list[tuple[str, float, int]]:
    """Each metric of one fold, at its own operating point, and the images held out."""
    table = fold.table
    split = split_of(table, fold.threshold)
    if judges(question.metrics, "ranking"):
        check_table(split.labels, split.scores, split.classes, split.positive)
    keys = [(metric.identifier, name) for metric, name in with_interval(split)]
    found = dict(zip(keys, estimates(split, np.ones((1, len(table))))[0].tolist(), strict=True))
    values = []
    for metric in question.metrics:
        if metric == NET_BENEFIT:
            value = float(decision_curve(table, [acting_from(question.threshold_probability)]).iloc[0]["model"])
        else:
            value = found[metric, class_of(metric, table.positive)]
        values.append((metric, value, len(table)))
    return values


def _conclusion(row: dict[Any, Any], folds: int, comparisons: int) -> str:
    """Say what can and what cannot be concluded of one pair."""
    a, b, word, lower = row["a"], row["b"], WORDS[row["metric"]], row["metric"] in LOWER_IS_BETTER
    runs = f"{folds} pairs of runs"
    if np.isnan([row["first"], row["second"]]).any():
        return f"These {runs} say nothing of the {word} of {a} and {b}: it is undefined in at least one of them."
    means = f"{word}{' (lower is better)' if lower else ''} {row['first']:.3f} against {row['second']:.3f} on average"
    if np.isnan(row["low"]):
        return f"These {runs} cannot tell {a} and {b} apart: {means}, the same difference in each pair."
    chance = "p < 0.001" if row["p_holm"] < 0.001 else f"p = {row['p_holm']:.3f}"
    if comparisons > 1:
        chance += f" after Holm's correction for {comparisons} comparisons"
    means += (
        f", mean difference {row['difference']:+.3f} (corrected 95% interval {row['low']:+.3f} to {row['high']:+.3f}, "
        f"{chance})"
    )
    better, worse = (a, b) if (row["difference"] > 0) is not lower else (b, a)
    if row["verdict"] != "undecided":
        return (
            f"Over these {runs} {better} is better than {worse}: {means}. This is said of training with these settings "
            "on so many images like these, not of any one trained network."
        )
    if row["low"] > 0 or row["high"] < 0:
        left_open = f"the interval of this comparison alone leaves out 0 in favour of {better}, a hint to be tried anew"
    else:
        gain, loss = (-row["low"], row["high"]) if lower else (row["high"], -row["low"])
        left_open = f"{a} may be better by up to {gain:.3f} or worse by up to {loss:.3f}"
    return f"These {runs} cannot tell {a} and {b} apart: {means}. Nor do they show that the two are equal: {left_open}."


def _notes(models: Sequence[CrossValidation], ratio: float) -> list[str]:
    """What the test assumes, and what weakens it here."""
    folds = models[0].folds
    notes = [
        f"The corrected test assumes that the differences of the runs are about normal, and that any two are "
        f"correlated by {ratio / (1 + ratio):.2f}, the share of images held out, because their training images "
        "overlap. That is a rule of thumb: no unbiased estimate of this variance exists (Bengio and Grandvalet 2004).",
    ]
    if len(folds) < FEW_FOLDS:
        notes.append(f"{len(folds)} pairs of runs can hardly tell anything apart: take more folds, or more seeds.")
    numbers = {seed: [fold.number for fold in folds if fold.seed == seed] for seed in {fold.seed for fold in folds}}
    if any(len(of) < max(len(each) for each in numbers.values()) for of in numbers.values()):
        notes.append("Not every seed has the same number of folds: those that are missing are not judged.")
    if all((fold.table.rows["group"] == "").all() for fold in folds):
        notes.append("No groups (patients) are known of these images: one patient may be on both sides of a fold.")
    return notes
