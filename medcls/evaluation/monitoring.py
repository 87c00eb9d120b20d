"""New predictions against those of val: drift of scores and images, shares by period, and rates once labels come."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import fisher_exact

from medcls.evaluation.predictions import PROB, Predictions
from medcls.statistics.analytic import LEVEL, holm, wilson_limits
from medcls.statistics.arrays import Floats, Integers
from medcls.statistics.drift import THREE_SIGMA, Drift, control_limits, drift
from medcls.statistics.resampling import group_numbers
from medcls.wording import counted, enumerated, named

SLIGHT_DISTANCE = 0.1
"""Kolmogorov-Smirnov distances up to this are not reported as drift, whatever the number of images."""
SLIGHT_SHARE = 0.03
"""Differences of shares up to this are not reported as drift."""
FEW = 50
"""Independent images below which the verdict says that only a large drift can be found."""


@dataclasses.dataclass(frozen=True)
class Rules:
    """How probabilities and the out-of-distribution score become a decision, and whether an image is referred.

    Parameters
    ----------
    threshold : float or None
        Probability from which on the positive class is predicted; None for the most probable class.
    least : float or None
        Least probability of a label in a conformal set; None without one.
    ood_limit : float or None
        Score above which an image counts as out of distribution; None without one.
    """

    threshold: float | None
    least: float | None
    ood_limit: float | None


@dataclasses.dataclass(frozen=True)
class Watched:
    """What is monitored.

    Parameters
    ----------
    reference : Predictions
        Of val, with calibrated probabilities.
    new : DataFrame
        A row an image: text `path`, `period`, `label` and `group` (both empty where unknown); float `prob_<class>`,
        calibrated as the reference; float `ood`, absent where unknown.
    rates_from : Predictions or None
        What sensitivity and specificity are compared with: test if there is one, since val chose the threshold. Needed
        with labels.
    statistics : mapping of str to (array, array)
        Statistics of images: of each new row, and of each row of the reference; NaN where an image could not be read.
    """

    reference: Predictions
    new: pd.DataFrame
    rules: Rules
    rates_from: Predictions | None = None
    statistics: Mapping[str, tuple[Floats, Floats]] = dataclasses.field(default_factory=dict)

    def distributions(self) -> dict[str, tuple[Floats, Floats]]:
        """The numbers to compare by name: of the new rows, and of the reference."""
        new, reference = self.new, self.reference
        if reference.positive is not None:
            column, name = PROB + reference.positive, f"probability of {named(reference.positive)}"
            found = {name: (new[column].to_numpy(np.float64), reference.rows[column].to_numpy(np.float64))}
        else:
            highest = _probabilities(new, reference.classes).max(axis=1), reference.probabilities().max(axis=1)
            found = {"probability of the predicted class": highest}
        if "ood" in new and "ood" in reference.rows:
            energies = new["ood"].to_numpy(np.float64), reference.rows["ood"].to_numpy(np.float64)
            found["out-of-distribution score"] = energies
        return found | dict(self.statistics)


@dataclasses.dataclass(frozen=True)
class DistributionDrift:
    """A number whose distribution was compared; `p_adjusted` is Holm's over all comparisons."""

    name: str
    drift: Drift
    p_adjusted: float

    @property
    def has_moved(self) -> bool:
        """Whether it has moved beyond chance, and more than slightly."""
        return self.p_adjusted < 1 - LEVEL and self.drift.distance > SLIGHT_DISTANCE

    def __str__(self) -> str:
        one = self.drift
        return (
            f"{self.name}: Kolmogorov-Smirnov distance {one.distance:.2f} ({one.distance_low:.2f} to "
            f"{one.distance_high:.2f}), population stability index {one.stability:.2f} ({one.stability_low:.2f} to "
            f"{one.stability_high:.2f})"
        )


@dataclasses.dataclass(frozen=True)
class Share:
    """A share of images with Wilson's limits; `n` independent images."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.1%} ({self.low:.1%} to {self.high:.1%})"


@dataclasses.dataclass(frozen=True)
class ShareDrift:
    """A share of the new images and of the reference; `p_adjusted` is Holm's over all comparisons.

    `is_rate` marks sensitivity and specificity, which need labels.
    """

    name: str
    here: Share
    there: Share
    p_adjusted: float
    is_rate: bool

    @property
    def has_moved(self) -> bool:
        """Whether it has moved beyond chance, and more than slightly."""
        return self.p_adjusted < 1 - LEVEL and abs(self.here.value - self.there.value) > SLIGHT_SHARE

    def __str__(self) -> str:
        return f"{self.name}: {self.here} against {self.there}"


@dataclasses.dataclass(frozen=True)
class Monitoring:
    """What a monitoring found.

    Parameters
    ----------
    periods : DataFrame
        A row for each period and share: `period`, `name`, `is_rate`, `n` (independent images), `share`, its limits
        `low` and `high`, control limits `lower` and `upper`, their `centre`, and `outside` (beyond the control limits).
    images, independent, labelled : int
        New rows; groups among them, if rows are grouped; rows with a label.
    reference, rates_from : str
        The splits that distributions and rates are compared with; `rates_from` is empty without labels.
    """

    distributions: tuple[DistributionDrift, ...]
    shares: tuple[ShareDrift, ...]
    periods: pd.DataFrame
    images: int
    independent: int
    labelled: int
    reference: str
    rates_from: str

    @property
    def changes(self) -> list[str]:
        """What has changed, one line for each measure; sensitivity and specificity first."""
        lines = [(False, str(one)) for one in self.distributions if one.has_moved]
        for one in self.shares:
            chart = self.periods[self.periods["name"] == one.name]
            beyond = chart.loc[chart["outside"], "period"].tolist()
            where = (
                f"outside its control limits in {len(beyond)} of {counted(len(chart), 'period')} ({enumerated(beyond)})"
            )
            if one.has_moved and beyond and len(chart) > 1:
                lines.append((one.is_rate, f"{one}; {where}"))
            elif one.has_moved:
                lines.append((one.is_rate, str(one)))
            elif beyond:
                lines.append((one.is_rate, f"{one.name}: {where}"))
        return [line for _, line in sorted(lines, key=lambda each: not each[0])]

    def verdict(self) -> str:
        """The result in one to three sentences."""
        count = len(self.changes)
        found = f"{count} of the measures below {'has' if count == 1 else 'have'} changed" if count else "No change"
        sentences = [f"{found} beyond chance against {self.reference}."]
        if self.independent < FEW:
            sentences.append(f"With {counted(self.independent, 'independent image')} only a large change can be found.")
        if not self.labelled:
            sentences.append("Without labels this does not show how well the classifier performs on these images.")
        return " ".join(sentences)

    def to_plain(self) -> dict[str, object]:
        """For monitor.json."""
        return {
            "verdict": self.verdict(),
            "changes": self.changes,
            "images": self.images,
            "independent": self.independent,
            "labelled": self.labelled,
            "reference": self.reference,
            "rates_from": self.rates_from,
            "distributions": [
                {
                    "name": one.name,
                    **dataclasses.asdict(one.drift),
                    "p_adjusted": one.p_adjusted,
                    "has_moved": one.has_moved,
                }
                for one in self.distributions
            ],
            "shares": [dataclasses.asdict(one) | {"has_moved": one.has_moved} for one in self.shares],
            "periods": self.periods.to_dict("records"),
        }


@dataclasses.dataclass(frozen=True)
class _Question:
    """Which rows a share is of, and which of them count, here and in the reference."""

    name: str
    here: tuple[NDArray[np.bool_], NDArray[np.bool_]]
    there: tuple[NDArray[np.bool_], NDArray[np.bool_]]
    reference: Predictions
    is_rate: bool


def monitor(watched: Watched, resamples: int = 2000, seed: int = 0) -> Monitoring:
    """Compare new predictions with those of the reference.

    Distributions are compared by the Kolmogorov-Smirnov distance and the population stability index, shares by Fisher's
    exact test on independent images (groups, where rows are grouped). All p values together are adjusted by Holm's
    method. Control limits of a period hold 99.73% of periods of the same process, and together, over all points of all
    charts, at least 95%.

    Parameters
    ----------
    resamples, seed : int
        Of the bootstrap.

    Returns
    -------
    Monitoring

    Raises
    ------
    ValueError
        No new row, or labels without `rates_from`.
    """
    new, reference = watched.new, watched.reference
    groups = list(new["group"])
    compared = {}
    for name, samples in watched.distributions().items():
        (here, of_here), (there, of_there) = map(_known, samples, (groups, reference.clusters))
        compared[name] = drift(here, there, of_here, of_there, resamples, seed)
    numbers = group_numbers(groups, len(new))
    questions = [question for question in _questions(watched) if question.here[0].any() and question.there[0].any()]
    pairs = [
        (
            _share(*question.here, numbers),
            _share(*question.there, group_numbers(question.reference.clusters, len(question.reference))),
        )
        for question in questions
    ]
    adjusted = holm(
        np.array([one.p_value for one in compared.values()] + [_fisher(here, there) for here, there in pairs])
    )
    distributions = tuple(
        DistributionDrift(name, one, float(p))
        for (name, one), p in zip(compared.items(), adjusted[: len(compared)], strict=True)
    )
    shares = tuple(
        ShareDrift(question.name, here, there, float(p), question.is_rate)
        for question, (here, there), p in zip(questions, pairs, adjusted[len(compared) :], strict=True)
    )
    labelled = int((new["label"] != "").sum())
    return Monitoring(
        distributions,
        shares,
        _by_period(new, numbers, questions, shares),
        len(new),
        len(np.unique(numbers)),
        labelled,
        reference.split,
        watched.rates_from.split if labelled and watched.rates_from is not None else "",
    )


def _known(values: Floats, groups: Sequence[str]) -> tuple[Floats, list[str]]:
    """The values that are known, and the group of each."""
    known = np.isfinite(values)
    return values[known], [group for group, there in zip(groups, known, strict=True) if there]


def _probabilities(rows: pd.DataFrame, classes: Sequence[str]) -> Floats:
    return rows[[PROB + name for name in classes]].to_numpy(np.float64)


def _predicted(probabilities: Floats, reference: Predictions, rules: Rules) -> NDArray[np.int64]:
    """The predicted class of each row, by the operating point in a binary task."""
    if reference.positive is None or rules.threshold is None:
        most_probable: Integers = probabilities.argmax(axis=1)
        return most_probable
    positive = reference.classes.index(reference.positive)
    return np.where(probabilities[:, positive] >= rules.threshold, positive, 1 - positive)


def _questions(watched: Watched) -> Iterator[_Question]:
    """The shares to compare."""
    new, reference, rules = watched.new, watched.reference, watched.rules
    classes, positive = reference.classes, reference.positive
    here, there = _probabilities(new, classes), reference.probabilities()
    predicted, predicted_there = (_predicted(each, reference, rules) for each in (here, there))
    all_here, all_there = np.ones(len(here), bool), np.ones(len(there), bool)
    for k, name in enumerate(classes):
        if positive is None or name == positive:
            title = f"predicted {named(name)}"
            yield _Question(title, (all_here, predicted == k), (all_there, predicted_there == k), reference, False)
    flagged, flagged_there = np.zeros(len(here), bool), np.zeros(len(there), bool)
    if rules.ood_limit is not None and "ood" in new and "ood" in reference.rows:
        flagged = new["ood"].to_numpy(np.float64) > rules.ood_limit
        flagged_there = reference.rows["ood"].to_numpy(np.float64) > rules.ood_limit
        yield _Question("out of distribution", (all_here, flagged), (all_there, flagged_there), reference, False)
    if rules.least is not None:
        undecided, undecided_there = ((each >= rules.least).sum(axis=1) != 1 for each in (here, there))
        yield _Question(
            "referred to a person",
            (all_here, undecided | flagged),
            (all_there, undecided_there | flagged_there),
            reference,
            False,
        )
    labels = new["label"].to_numpy(object)
    if not (labels != "").any():
        return
    if watched.rates_from is None:
        raise ValueError("Labels need predictions to compare the rates with.")
    table = watched.rates_from
    of_table = _predicted(table.probabilities(), reference, rules)
    true = table.rows["label"].to_numpy(object)
    if positive is None:
        for k, name in enumerate(classes):
            title = f"sensitivity for {named(name)}"
            yield _Question(title, (labels == name, predicted == k), (true == name, of_table == k), table, True)
        return
    k = classes.index(positive)
    yield _Question("sensitivity", (labels == positive, predicted == k), (true == positive, of_table == k), table, True)
    other = classes[1 - k]
    yield _Question("specificity", (labels == other, predicted != k), (true == other, of_table != k), table, True)


def _share(asked: NDArray[np.bool_], counts: NDArray[np.bool_], groups: Integers) -> Share:
    """The share of the rows asked about that count, with limits as if each group were one image."""
    value = float(counts[asked].mean())
    n = len(np.unique(groups[asked]))
    return Share(value, *wilson_limits(value, n), n)


def _fisher(here: Share, there: Share) -> float:
    """Fisher's exact test of two shares of independent images."""
    events = [round(one.value * one.n) for one in (here, there)]
    table = [[k, one.n - k] for k, one in zip(events, (here, there), strict=True)]
    return float(fisher_exact(table).pvalue)


def _by_period(
    new: pd.DataFrame, groups: Integers, questions: Sequence[_Question], shares: Sequence[ShareDrift]
) -> pd.DataFrame:
    """Each share in each period, with control limits from the reference."""
    periods = list(dict.fromkeys(new["period"]))
    in_period = {period: (new["period"] == period).to_numpy() for period in periods}
    outside = min(THREE_SIGMA, (1 - LEVEL) / max(1, len(periods) * len(questions)))
    rows = []
    for question, share in zip(questions, shares, strict=True):
        asked, counts = question.here
        for period, member in in_period.items():
            if not (asked & member).any():
                continue
            here = _share(asked & member, counts, groups)
            lower, upper = control_limits(here.n, round(share.there.value * share.there.n), share.there.n, outside)
            rows.append(
                {
                    "period": period,
                    "name": question.name,
                    "is_rate": question.is_rate,
                    "n": here.n,
                    "share": here.value,
                    "low": here.low,
                    "high": here.high,
                    "lower": lower,
                    "upper": upper,
                    "centre": share.there.value,
                    "outside": not lower <= here.value <= upper,
                }
            )
    columns = ["period", "name", "is_rate", "n", "share", "low", "high", "lower", "upper", "centre", "outside"]
    return pd.DataFrame(rows, columns=columns).astype({"is_rate": bool, "outside": bool})
