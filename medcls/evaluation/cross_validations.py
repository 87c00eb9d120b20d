"""A comparison of ways of training, over the folds and seeds of whole cross-validations.

A comparison on one test split is of two trained networks. Folds and seeds compare the training, but their training
images overlap, while the t test of the folds' differences assumes independence. The corrected test allows for it.
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
from medcls.evaluation.comparing import (
    NET_BENEFIT,
    Evidence,
    ModelComparison,
    Question,
    caution,
    check_paired,
    concluded,
    measuring,
    watermarks,
)
from medcls.evaluation.decision_curve import acting_from, decision_curve
from medcls.evaluation.non_inferiority import against_margin
from medcls.evaluation.predictions import Predictions
from medcls.statistics.analytic import LEVEL, holm
from medcls.statistics.arrays import Floats
from medcls.statistics.hard_labels import check_scores
from medcls.statistics.metric_table import class_of, estimates, with_interval
from medcls.wording import counted, enumerated

METHOD = "corrected resampled t (Nadeau and Bengio 2003)"
FEW_FOLDS = 5
"""With fewer differences Student's quantile is above 2.7, and hardly anything is significant."""


@dataclasses.dataclass(frozen=True)
class Fold:
    """One run of a cross-validation.

    Parameters
    ----------
    seed : int
    number : int or None
        Of the fold; None if each seed holds out other images.
    table : Predictions
        Of its held-out images.
    threshold : float or None
        Its operating point.
    others : int
        Images used for training and selection.
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
        """What it is paired by."""
        return self.seed, self.number

    @property
    def name(self) -> str:
        """Seed and fold in words."""
        return f"seed {self.seed}" if self.number is None else f"fold {self.number} of seed {self.seed}"


@dataclasses.dataclass(frozen=True)
class CrossValidation:
    """The runs of one way of training.

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


def corrected_t(differences: Floats, ratio: float) -> tuple[tuple[float, float], float]:
    """Return the 95% interval of a mean difference over folds, and its two-sided p-value.

    Nadeau and Bengio 2003, "Inference for the generalization error": the variance of the mean of J differences is
    taken as `(1 / J + n_test / n_train) s^2` instead of `s^2 / J`, as if any two of them had the correlation
    `n_test / (n_test + n_train)`; with J - 1 degrees of freedom. Over several seeds as in Bouckaert and Frank 2004,
    "Evaluating the replicability of significance tests for comparing learning algorithms".

    Parameters
    ----------
    differences : float64 array (J,)
        Two or more.
    ratio : float
        Held-out images over images used for training and selection.

    Returns
    -------
    limits, p
        NaN if all differences are equal; p is then 1 if they are 0.
    """
    count, mean, variance = len(differences), float(differences.mean()), float(differences.var(ddof=1))
    error = float(np.sqrt((1 / count + ratio) * variance))
    if not error > 1e-12:
        return (np.nan, np.nan), 1.0 if abs(mean) <= 1e-12 else np.nan
    half = error * float(student.ppf(0.5 + LEVEL / 2, count - 1))
    return (mean - half, mean + half), float(2 * student.sf(abs(mean) / error, count - 1))


def compare_cross_validations(models: Sequence[CrossValidation], question: Question) -> ModelComparison:
    """Compare each pair of cross-validations, paired by fold and seed.

    Parameters
    ----------
    models : sequence of CrossValidation
        Two or more, of the same folds and seeds, each of the same images.
    question : Question
        Its resamples are not used.

    Raises
    ------
    MedclsError
        Other folds, seeds or images; fewer than two folds; all runs on the same images; a metric that the task does not
        have; a margin with more than two.
    """
    check_same_folds(models)
    models = [
        dataclasses.replace(model, folds=tuple(sorted(model.folds, key=lambda fold: (fold.seed, fold.number or 0))))
        for model in models
    ]
    question.check([model.name for model in models], models[0].folds[0].table.classes)
    runs = [
        {
            "name": model.name,
            "metric": metric,
            "seed": fold.seed,
            "fold": "" if fold.number is None else str(fold.number),
            "estimate": value,
            "n": len(fold.table),
        }
        for model in models
        for fold in model.folds
        for metric, value in _estimates(fold, question).items()
    ]
    estimates = pd.DataFrame(runs)
    by_name = {
        key: rows["estimate"].to_numpy(np.float64) for key, rows in estimates.groupby(["name", "metric"], sort=False)
    }
    ratio = float(np.mean([len(fold.table) / fold.others for model in models for fold in model.folds]))
    rows = []
    for metric in question.metrics:
        for a, b in itertools.combinations(models, 2):
            first, second = by_name[a.name, metric], by_name[b.name, metric]
            is_undefined = bool(np.isnan([first, second]).any())
            limits, p = ((np.nan, np.nan), np.nan) if is_undefined else corrected_t(first - second, ratio)
            rows.append(
                {
                    "metric": metric,
                    "a": a.name,
                    "b": b.name,
                    "first": float(first.mean()),
                    "second": float(second.mean()),
                    "difference": float((first - second).mean()),
                    "low": limits[0],
                    "high": limits[1],
                    "p": p,
                    "freedom": float(len(first) - 1),
                    "method": METHOD,
                    "sd": float((first - second).std(ddof=1)),
                    "correlation": ratio / (1 + ratio),
                }
            )
    pairs = pd.DataFrame(rows)
    pairs["p_holm"] = holm(pairs["p"].to_numpy(np.float64))
    evidence = Evidence(
        comparisons=int(pairs["p"].notna().sum()),
        rows=f"{len(models[0].folds)} pairs of runs",
        interval="corrected 95% interval",
        scope="training with these settings on so many images like these, not to any one trained network",
        undefined="it is undefined in at least one of them",
        same="it is the same in each pair",
    )
    pairs = concluded(pairs, evidence)
    margins = None if question.margin is None else against_margin(pairs, question.margin)
    conclusions = (*pairs["sentence"], *(() if margins is None else margins["sentence"]))
    return ModelComparison(
        kind="cross_validations",
        described=tuple(_describe(model) for model in models),
        caption=_caption(models[0].folds),
        split=models[0].folds[0].table.split,
        watermarks=watermarks(models[0].folds[0].table),
        cautions=_cautions(models),
        question=question,
        estimates=estimates,
        pairs=pairs,
        margins=margins,
        conclusions=conclusions,
        notes=tuple(_notes(models, ratio)),
    )


def _describe(model: CrossValidation) -> dict[str, Any]:
    checkpoints = {fold.name: fold.table.checkpoint for fold in model.folds}
    return {"name": model.name, "place": model.place, "settings": model.settings, "checkpoints": checkpoints}


def _caption(folds: Sequence[Fold]) -> str:
    """Numbers of runs, seeds and images."""
    seeds = len({fold.seed for fold in folds})
    images = len({path for fold in folds for path in fold.table.rows["path"]})
    return f"{counted(len(folds), 'run')} of {counted(seeds, 'seed')} each, {counted(images, 'held-out image')}"


def _cautions(models: Sequence[CrossValidation]) -> tuple[str, ...]:
    """Warn about the first run of each model trained on near duplicates of its held-out images."""
    first = ((model, next((fold for fold in model.folds if fold.leak), None)) for model in models)
    return tuple(caution(f"{model.name}, {fold.name}", fold.leak) for model, fold in first if fold is not None)


def check_same_folds(models: Sequence[CrossValidation]) -> None:
    """Check that all have the same folds of the same images, and that the folds hold out different ones.

    Raises
    ------
    MedclsError
        Names what is missing or differs.
    """
    first = models[0]
    for model in models:
        counts = Counter(fold.key for fold in model.folds)
        twice = [fold.name for fold in model.folds if counts[fold.key] > 1]
        if twice:
            raise MedclsError(
                f"{model.name} has {twice[0]} more than once: give each run of a cross-validation once.",
                kind="run_given_twice",
            )
    for model in models[1:]:
        mine, theirs = ({fold.key: fold for fold in each.folds} for each in (first, model))
        for here, there, name in ((mine, theirs, first.name), (theirs, mine, model.name)):
            if alone := [fold.name for key, fold in here.items() if key not in there]:
                raise MedclsError(
                    f"{counted(len(alone), 'run')} of {name} alone: {enumerated(alone)}. Cross-validations are "
                    f"compared fold by fold: {first.name} has {len(mine)}, {model.name} has {len(theirs)}.",
                    kind="different_folds",
                )
        for key, fold in mine.items():
            names = f"{first.name}, {fold.name},", f"{model.name}, {fold.name},"
            check_paired(fold.table, theirs[key].table, names)
    if len(first.folds) < 2:
        raise MedclsError(
            f"{first.name} has only one run: a cross-validation has at least two folds or seeds.", kind="too_few_runs"
        )
    if len({frozenset(fold.table.rows["path"]) for fold in first.folds}) == 1:
        raise MedclsError(
            f"All {len(first.folds)} runs of {first.name} hold out the same images, as with a test split that came "
            "with the data, so their spread does not include that of the images. Train folds (-m data.folds=5 "
            "data.fold=0,1,2,3,4), or compare single runs with runs=[A,B].",
            kind="same_test_images",
        )


def _estimates(fold: Fold, question: Question) -> dict[str, float]:
    """Each metric of one fold, at its own operating point."""
    split = fold.table.to_split(fold.threshold)
    if measuring(question.metrics, "ranking"):
        check_scores(split)
    keys = [(metric.identifier, name) for metric, name in with_interval(split)]
    values = dict(zip(keys, estimates(split)[0].tolist(), strict=True))
    if NET_BENEFIT in question.metrics:
        curve = decision_curve(fold.table, [acting_from(question.threshold_probability)])
        values[NET_BENEFIT, ""] = float(curve.iloc[0]["model"])
    return {
        metric: values[metric, "" if metric == NET_BENEFIT else class_of(metric, fold.table.positive)]
        for metric in question.metrics
    }


def _notes(models: Sequence[CrossValidation], ratio: float) -> list[str]:
    """Assumptions of the test, and caveats."""
    folds = models[0].folds
    notes = [
        f"The corrected test assumes that the differences of the runs are about normal, and that any two have a "
        f"correlation of {ratio / (1 + ratio):.2f}, the share of held-out images, because their training images "
        "overlap. That is a rule of thumb: no unbiased estimate of this variance exists (Bengio and Grandvalet 2004).",
    ]
    if len(folds) < FEW_FOLDS:
        notes.append(f"{len(folds)} pairs of runs can hardly tell anything apart: use more folds or seeds.")
    numbers = {seed: [fold.number for fold in folds if fold.seed == seed] for seed in {fold.seed for fold in folds}}
    if len({len(of_seed) for of_seed in numbers.values()}) > 1:
        notes.append("Not every seed has the same number of folds: missing ones do not count.")
    if all((fold.table.rows["group"] == "").all() for fold in folds):
        notes.append("No groups (patients) are known for these images: one patient may be in training and held out.")
    return notes
