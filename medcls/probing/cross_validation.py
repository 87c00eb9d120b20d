"""Repeated, nested cross-validation: each row judged by models that saw neither it nor what belongs with it."""

import concurrent.futures
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from threadpoolctl import threadpool_limits

from medcls import cpu
from medcls.probing.logistic import STRENGTHS, Floats, Integers, fit_path, log_losses

FEWEST_FOLDS = 3
"""Within what one fold leaves, at least two others must be left to choose the penalty by."""

TREES, LEAST_IN_A_LEAF = 100, 5

NEVER_SURER = 1e-3
"""The least share of a class that a forest is taken to give: trees that all agree are not certain."""

ROUNDED = 9
"""Decimals of logits: beyond, folds that give the same for every row would differ, and be ranked, by rounding alone."""

Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class OutOfFold:
    """What a nested cross-validation found.

    Parameters
    ----------
    logits : ndarray
        float64 `(R, n, K)`: of each repetition, every row by the model whose training left its fold out.
    strengths : ndarray
        float64 `(R, folds)`: the `C` that was chosen within what each fold leaves.
    strength : float
        The `C` by which all rows' own model is to be fitted: that of the lowest log loss out of fold.
    losses : ndarray
        float64 `(C,)`: the mean log loss out of fold at each strength. Its lowest chose `strength`, and is flattered
        for that; the logits are not.
    """

    logits: Floats
    strengths: Floats
    strength: float
    losses: Floats

    @property
    def mean_logits(self) -> Floats:
        """The mean over the repetitions, `(n, K)`."""
        return np.asarray(self.logits.mean(axis=0))


def cross_validate(
    features: np.ndarray,
    labels: Integers,
    num_classes: int,
    folds: Integers,
    strengths: Sequence[float] = STRENGTHS,
    progress: Progress | None = None,
) -> OutOfFold:
    """Logistic regression out of fold, its penalty chosen by the lowest log loss within what each fold leaves.

    The inner folds are the other outer folds of the same repetition, so groups stay together there too; and the model
    that leaves out folds a and b serves the choice within either, so that F folds take F (F - 1) / 2 inner models
    rather than F (F - 1).

    Parameters
    ----------
    features : ndarray
        float32 `(n, d)`.
    labels : ndarray
        Class indices `(n,)`.
    num_classes : int
        K.
    folds : ndarray
        int64 `(R, n)`: of each repetition the fold of each row, from 0; at least three, none empty.
    strengths : sequence of float
        In ascending order.
    progress : callable, optional
        Called with models done and models in all.

    Returns
    -------
    OutOfFold
    """
    repeats, n = folds.shape
    parts = [
        (repeat, held)
        for repeat in range(repeats)
        for size in (1, 2)
        for held in itertools.combinations(range(int(folds[repeat].max()) + 1), size)
    ]

    def held_out_logits(part: tuple[int, tuple[int, ...]]) -> Floats:
        """Logits `(C, held, K)` of the rows that were left out, at each strength."""
        held = np.isin(folds[part[0]], part[1])
        shift = prior_shift(labels, ~held, num_classes)
        found = [one.logits(features[held]) for one in fit_path(features[~held], labels[~held], num_classes, strengths)]
        return (np.stack(found) + shift).round(ROUNDED)

    single = np.empty((repeats, len(strengths), n, num_classes))
    inner = {repeat: np.zeros((int(folds[repeat].max()) + 1, len(strengths))) for repeat in range(repeats)}
    for done, (part, logits) in enumerate(zip(parts, in_threads(held_out_logits, parts), strict=True), start=1):
        repeat, held = part
        rows = np.flatnonzero(np.isin(folds[repeat], held))
        if len(held) == 1:
            single[repeat][:, rows] = logits
        else:
            losses = log_losses(logits, labels[rows])
            for outer, other in (held, held[::-1]):
                inner[repeat][outer] += losses[:, folds[repeat][rows] == other].sum(axis=1)
        if progress is not None:
            progress(done, len(parts))

    chosen = np.stack([inner[repeat].argmin(axis=1) for repeat in range(repeats)])
    logits = np.stack([single[r, chosen[r][folds[r]], np.arange(n)] for r in range(repeats)])
    losses = np.mean([log_losses(single[repeat], labels).mean(axis=1) for repeat in range(repeats)], axis=0)
    tried = np.asarray(strengths)
    return OutOfFold(logits, tried[chosen], float(tried[losses.argmin()]), losses)


def forest_out_of_fold(numbers: np.ndarray, labels: Integers, num_classes: int, folds: Integers) -> Floats:
    """Random forests out of fold, on the same folds: for a few numbers of any scale, with thresholds and bands.

    Parameters
    ----------
    numbers : ndarray
        `(n, d)`; NaN where one is missing.
    labels, num_classes, folds
        As of `cross_validate`.

    Returns
    -------
    ndarray
        Logarithms of the shares, as logits, float64 `(R, n, K)`.
    """
    logits = np.empty((*folds.shape, num_classes))
    for repeat, cut in enumerate(folds):
        for fold in range(int(cut.max()) + 1):
            held = cut == fold
            forest = RandomForestClassifier(
                TREES, min_samples_leaf=LEAST_IN_A_LEAF, random_state=0, n_jobs=cpu.available_cores()
            )
            forest.fit(numbers[~held], labels[~held])
            shares = np.zeros((int(held.sum()), num_classes))
            shares[:, forest.classes_] = forest.predict_proba(numbers[held])
            logits[repeat, held] = np.log(np.maximum(shares, NEVER_SURER)) + prior_shift(labels, ~held, num_classes)
    return logits.round(ROUNDED)


def prior_shift(labels: Integers, trained: np.ndarray, num_classes: int) -> Floats:
    """What brings logits of a model fitted to some rows to the class shares of all rows, `(K,)`.

    The more of a class a fold holds out, the fewer have trained, and the lower is that class's score there: pooled
    over folds, scores that know nothing would fall below chance.
    """
    counts = np.bincount(labels, minlength=num_classes), np.bincount(labels[trained], minlength=num_classes)
    shares = [np.maximum(count, 0.5) / count.sum() for count in counts]
    return np.asarray(np.log(shares[0]) - np.log(shares[1]))


def in_threads(work: Callable[[Any], Floats], tasks: Sequence[Any]) -> Iterator[Floats]:
    """Results in the order of the tasks, one thread a core, each of them computing alone: the same on any machine."""
    with threadpool_limits(1), concurrent.futures.ThreadPoolExecutor(cpu.available_cores()) as pool:
        yield from pool.map(work, tasks)
