"""Several classifiers on the same images: the difference of each pair, and what can be concluded."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from medcls.errors import MedclsError, nearest
from medcls.evaluation.decision_curve import acting_from, benefit_of_rows
from medcls.evaluation.predictions import TOOK_PART, Predictions
from medcls.statistics.analytic import holm
from medcls.statistics.digits import rounded
from medcls.statistics.metric_table import BY_IDENTIFIER, LOWER_IS_BETTER, METRICS, NAMES, Metric, both_decisions
from medcls.statistics.paired_tests import Draws, PairedTests
from medcls.wording import enumerated

NET_BENEFIT = "net_benefit"  # not in the table of metrics: it needs a stated probability
COMPARED = (*(metric.identifier for metric in METRICS if metric.compared), NET_BENEFIT)
WORDS = NAMES | {NET_BENEFIT: "net benefit"}
ALPHA = 0.05

# With more classifiers only the pairs with the first are shown; all are tested, corrected for, and in the CSV.
SHOWN_IN_FULL = 10

# So many permutations for each comparison that Holm's correction of the smallest possible p-value leaves 0.01.
_PERMUTATIONS_EACH = 100

Verdict = Literal["better", "worse", "undecided", "undefined"]
"""Of the first classifier: `undecided` unless interval and test agree, `undefined` if a value is."""


@dataclasses.dataclass(frozen=True)
class Question:
    """How classifiers are compared.

    Parameters
    ----------
    metrics : tuple of str
        Of `COMPARED`; the first one ranks more than two classifiers.
    threshold_probability : float or None
        Of the net benefit: the probability from which a person would act, the same for all.
    margin : float or None
        How much worse the first of two may be and still count as not inferior.
    resamples, seed : int
        Of bootstrap and permutation.
    """

    metrics: tuple[str, ...] = ("auroc",)
    threshold_probability: float | None = None
    margin: float | None = None
    resamples: int = 2000
    seed: int = 0

    def check(self, names: Sequence[str], classes: Sequence[str]) -> None:
        """Check that these classifiers can be compared so.

        Raises
        ------
        MedclsError
            A metric that the task does not have; a margin with more than two classifiers.
        """
        for metric in self.metrics:
            check_metric(metric, classes)
        if self.margin is not None and len(names) > 2:
            raise MedclsError(
                f"margin={self.margin:g} tests whether one classifier is not inferior to another: give two, the one in "
                f"question first. There are {len(names)}: {enumerated(names)}.",
                kind="not_two_runs",
            )


@dataclasses.dataclass(frozen=True)
class ModelComparison:
    """A comparison of trained classifiers, or of whole cross-validations.

    Parameters
    ----------
    kind : {"classifiers", "cross_validations"}
    described : tuple of mapping
        `name`, `place`, `settings` and more of each model, for comparison.json; more than two classifiers from the best
        to the worst by the first metric.
    caption, split : str
        Of the images.
    watermarks : tuple of str
        Of plots of these images.
    cautions : tuple of str
        Warnings about models trained on near duplicates of these images.
    question : Question
    estimates : DataFrame
        `name, metric, estimate, n` and more of each classifier or run.
    pairs : DataFrame
        As of `compare_all`, or of `compare_cross_validations`.
    margins : DataFrame or None
        As of `non_inferiority.against_margin`, if there is a margin.
    conclusions : tuple of str
        One sentence or more a metric.
    notes : tuple of str
        Caveats.
    """

    kind: Literal["classifiers", "cross_validations"]
    described: tuple[Mapping[str, Any], ...]
    caption: str
    split: str
    watermarks: tuple[str, ...]
    cautions: tuple[str, ...]
    question: Question
    estimates: pd.DataFrame
    pairs: pd.DataFrame
    margins: pd.DataFrame | None
    conclusions: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the models."""
        return tuple(str(model["name"]) for model in self.described)

    @property
    def shown(self) -> pd.DataFrame:
        """The pairs that the page shows."""
        return self.pairs if len(self.names) <= SHOWN_IN_FULL else self.pairs[self.pairs["a"] == self.names[0]]

    def to_plain(self) -> dict[str, Any]:
        """For comparison.json."""
        by_name = {str(name): table.drop(columns="name") for name, table in self.estimates.groupby("name")}
        # The degrees of freedom of a normal interval are infinite, which JSON has no number for.
        pairs = self.pairs.drop(columns="freedom") if self.kind == "classifiers" else self.pairs
        return {
            "images": self.caption,
            "stamps": list(self.watermarks),
            "split": self.split,
            "metrics": list(self.question.metrics),
            self.kind: [
                {**model, "figures": by_name[name].to_dict("records")}
                for name, model in zip(self.names, self.described, strict=True)
            ],
            "comparisons": pairs.to_dict("records"),
            "against_margin": None if self.margins is None else self.margins.to_dict("records"),
            "cautions": list(self.cautions),
            "conclusions": list(self.conclusions),
            "notes": list(self.notes),
        }


def compare_all(
    tables: Mapping[str, Predictions],
    question: Question,
    thresholds: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """Compare every pair of several classifiers, with p-values corrected for the number of comparisons.

    Parameters
    ----------
    tables : mapping of str to Predictions
        By name; all of the same images, in any order. With more than two classes AUROC, average precision and F1 are
        the mean over classes of one against the rest.
    question : Question
        There are more permutations than resamples if many comparisons need them; otherwise no p-value could be small
        enough after the correction.
    thresholds : mapping of str to float, optional
        Operating points by the same names; 0.5 where one is missing.

    Returns
    -------
    DataFrame
        One row a metric and pair: `metric, a, b, first, second` (the values), `difference, low, high` (first minus
        second, with its 95% interval), `p`, `method`, `freedom` (of the interval; infinite for a normal one), `n` and
        `rows` (those that the metric counts, and in words), `p_holm`, `verdict` (see `verdict`) and `sentence`.

    Raises
    ------
    MedclsError
        Different rows, labels, groups or classes; hard labels where scores are needed; a metric that is unknown or
        that the task does not have; a net benefit without a threshold probability.
    """
    names, first = list(tables), next(iter(tables.values()))
    for name in names[1:]:
        check_paired(first, tables[name], (names[0], name))
    for metric in question.metrics:
        check_metric(metric, first.classes)
    points = thresholds or {}
    splits = [in_order_of(first, table).to_split(points.get(name)) for name, table in tables.items()]
    pairs = list(itertools.combinations(range(len(names)), 2))
    permutations = max(question.resamples, _PERMUTATIONS_EACH * len(pairs) * len(question.metrics))
    tests = PairedTests(splits, pairs, Draws(question.resamples, permutations, question.seed))
    rows: list[dict[str, Any]] = []
    for metric in question.metrics:
        known = BY_IDENTIFIER.get(metric)
        counted = tests.counted_rows(known)
        if known is None:
            at, counts = acting_from(question.threshold_probability), [split.count() for split in splits]
            benefits = [benefit_of_rows(each.one_vs_rest[0].is_case, each.one_vs_rest[0].scores, at) for each in counts]
            values, differences = tests.compare_means(np.stack(benefits), counted)
        else:
            values, differences = tests.compare(known)
        words = f"{counted.sum()} images"
        if first.positive and known is not None and known.rows in ("cases", "others"):
            is_positive = known.rows == "cases"
            words += f" of class {next(name for name in first.classes if (name == first.positive) is is_positive)!r}"
        if splits[0].is_grouped:
            words += f" from {splits[0].group_count(counted)} groups"
        for (i, j), found in zip(pairs, differences, strict=True):
            row = {"a": names[i], "b": names[j], "metric": metric, "first": values[i], "second": values[j]}
            row |= {"difference": values[i] - values[j]} | found._asdict() | {"n": int(counted.sum()), "rows": words}
            rows.append(row)
    table = pd.DataFrame(rows)
    table["p_holm"] = holm(table["p"].to_numpy(np.float64))
    evidence = Evidence(comparisons=int(table["p_holm"].notna().sum()), caveat=TOOK_PART.get(first.split, ""))
    return concluded(table, evidence)


def metrics_of(classes: Sequence[str]) -> tuple[str, ...]:
    """Return the metrics by which classifiers of these classes can be compared."""
    return COMPARED if len(classes) == 2 else tuple(name for name in COMPARED if _is_of_several(name))


def _is_of_several(metric: str) -> bool:
    """Whether it exists with more than two classes, where no rate has one class as its rows."""
    known = BY_IDENTIFIER.get(metric)
    return known is not None and (known.compared != "McNemar" or known.rows == "all")


def measuring(metrics: Sequence[str], what: str) -> list[Metric]:
    """Return those of some metrics that measure the decisions, the ranking, ...; see `Metric.measures`."""
    return [BY_IDENTIFIER[name] for name in metrics if name in BY_IDENTIFIER and BY_IDENTIFIER[name].measures == what]


def check_metric(metric: str, classes: Sequence[str]) -> None:
    """Check that classifiers of these classes can be compared by a metric.

    Raises
    ------
    MedclsError
        There is no such metric, or not with so many classes.
    """
    if metric not in COMPARED:
        raise MedclsError(
            f"Classifiers cannot be compared by {metric!r}, but by {', '.join(COMPARED)}."
            f"{nearest(str(metric), COMPARED)}",
            kind="unknown_metric",
        )
    if metric not in metrics_of(classes):
        raise MedclsError(
            f"With {len(classes)} classes there is no single {WORDS[metric]}: use {enumerated(metrics_of(classes))}.",
            kind="not_binary",
        )


def check_paired(first: Predictions, second: Predictions, names: tuple[str, str]) -> None:
    """Check that two tables have the same images, labels, groups and classes.

    Raises
    ------
    MedclsError
        They differ in any of these.
    """
    if (set(first.classes), first.positive) != (set(second.classes), second.positive):
        raise MedclsError(
            f"{names[0]} has the classes {', '.join(first.classes)} (positive: {first.positive}), {names[1]} has "
            f"{', '.join(second.classes)} (positive: {second.positive}): only the same classes can be compared.",
            kind="different_classes",
        )
    here, there = first.rows.set_index("path"), second.rows.set_index("path")
    for mine, theirs, name in ((here, there, names[0]), (there, here, names[1])):
        only = mine.index.difference(theirs.index)
        if len(only):
            raise MedclsError(
                f"{len(only)} image(s) were predicted by {name} alone, as {only[0]!r}: two classifiers are compared on "
                f"the same images. {names[0]} has {len(here)}, {names[1]} has {len(there)}.",
                kind="different_images",
            )
    there = there.loc[here.index]
    for column in ("label", "group"):
        differ = here.index[here[column].to_numpy() != there[column].to_numpy()]
        if len(differ):
            raise MedclsError(
                f"{len(differ)} image(s) have another {column} in {names[0]} than in {names[1]}, as {differ[0]!r} "
                f"({here.loc[differ[0], column]!r} and {there.loc[differ[0], column]!r}): correct the tables first.",
                kind="rows_disagree",
            )


def in_order_of(first: Predictions, table: Predictions) -> Predictions:
    """Return the same rows and classes, in the order of the first table's."""
    rows = table.rows.set_index("path").loc[first.rows["path"]].reset_index()
    return dataclasses.replace(table, rows=rows, classes=first.classes)


def watermarks(table: Predictions) -> tuple[str, ...]:
    """Return the watermarks of plots of these images, as SYNTHETIC."""
    watermarks = table.rows["stamp"].unique().tolist() if "stamp" in table.rows else []
    return tuple(watermark for watermark in watermarks if watermark)


def caution(name: str, leak: str) -> str:
    """Return a warning about a classifier trained on near duplicates of the images that it is evaluated on."""
    return (
        f"Warning: of {name}, {leak}. Images it has memorised count in its favour here, and say nothing about new "
        "images."
    )


# ------------------------------------------------------------------ conclusions


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What comparisons rest on, for their sentences.

    Parameters
    ----------
    comparisons : int
        Number of p-values that were corrected together.
    rows : str
        What was counted, in words; empty for the column `rows`.
    interval : str
    scope : str
        What a result applies to, and what not.
    undefined : str
        Why a value may be undefined.
    same : str
        Why a difference may have no interval.
    caveat : str
        About the split; may be empty.
    """

    comparisons: int = 1
    rows: str = ""
    interval: str = "95% interval"
    scope: str = "these two trained networks and images like these, not to other trainings or other sites"
    undefined: str = "a class has no image here"
    same: str = "every resample gives the same difference"
    caveat: str = ""


def concluded(pairs: pd.DataFrame, evidence: Evidence) -> pd.DataFrame:
    """Add the columns `verdict` and `sentence` to a table of comparisons, as of `compare_all`."""
    rows = pairs.to_dict("records")
    verdicts = [verdict(row) for row in rows]
    return pairs.assign(verdict=verdicts, sentence=[conclusion(row, evidence) for row in rows])


def verdict(row: Mapping[Any, Any]) -> Verdict:
    """Return the verdict on the first of two classifiers; better or worse only if interval and test agree."""
    if np.isnan([row["first"], row["second"]]).any():
        return "undefined"
    if not (row["p_holm"] < ALPHA and (row["low"] > 0 or row["high"] < 0)):
        return "undecided"
    return "better" if (row["low"] > 0) is not (row["metric"] in LOWER_IS_BETTER) else "worse"


def p_text(p: float, comparisons: int) -> str:
    """Format a corrected p-value."""
    text = "p < 0.001" if p < 0.001 else f"p = {rounded(p)}"
    return text + (f" after Holm's correction for {comparisons} comparisons" if comparisons > 1 else "")


def conclusion(row: Mapping[Any, Any], evidence: Evidence) -> str:
    """Return what can and what cannot be concluded from a comparison."""
    metric, a, b, low, high, p = (row[name] for name in ("metric", "a", "b", "low", "high", "p_holm"))
    word, lower, rows = WORDS[metric], metric in LOWER_IS_BETTER, evidence.rows or row["rows"]
    result = verdict(row)
    if result == "undefined":
        needs_both = metric in BY_IDENTIFIER and both_decisions in BY_IDENTIFIER[metric].needs
        constant = ", or one of the two predicts the same class for every image" if needs_both else ""
        return f"On these {rows} the {word} of {a} and {b} cannot be compared: {evidence.undefined}{constant}."
    name = f"{word} (lower is better)" if lower else word
    values = f"{name} {rounded(row['first'])} against {rounded(row['second'])}"
    if np.isnan([low, high, p]).any():
        return (
            f"These {rows} cannot tell {a} and {b} apart: {values}, and the difference has no interval, because "
            f"{evidence.same}."
        )
    difference = row["difference"]
    values += (
        f", difference {difference:+.3f} ({evidence.interval} {low:+.3f} to {high:+.3f}, "
        f"{p_text(p, evidence.comparisons)})"
    )
    caveat = f" Note: {evidence.caveat}." if evidence.caveat else ""
    better, worse = (a, b) if (difference > 0) is not lower else (b, a)
    if result != "undecided":
        return f"On these {rows} {better} is better than {worse}: {values}. This applies to {evidence.scope}.{caveat}"
    if low > 0 or high < 0:
        rest = f"the interval excludes 0 in favour of {better}, but the test is not significant"
    else:
        gain, loss = (-low, high) if lower else (high, -low)
        rest = f"{a} may be better by up to {rounded(gain)} or worse by up to {rounded(loss)}"
    return (
        f"These {rows} cannot tell {a} and {b} apart: {values}. They do not show that the two are equal: {rest}."
        f"{caveat}"
    )
