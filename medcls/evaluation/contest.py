"""Several classifiers on the same images: each one's figure, every pair's difference, and what may be said of them."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import pandas as pd

from medcls.errors import MedclsError
from medcls.evaluation.comparing import ALPHA, METRICS, WORDS, check_metric, compare_all
from medcls.evaluation.intervals import MACRO, Split, split_intervals
from medcls.evaluation.metrics import FEW_CASES, predicted_classes
from medcls.evaluation.predictions import KEPT_TOGETHER, TOOK_PART, Predictions
from medcls.evaluation.resampling import group_numbers
from medcls.evaluation.thresholds import OperatingPoint
from medcls.wording import counted, enumerated

# Of more classifiers only the pairs with the first are shown; all are tested, corrected for, and in the CSV.
SHOWN_IN_FULL = 10

AT_A_THRESHOLD = METRICS[1:]


@dataclasses.dataclass(frozen=True)
class Contestant:
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
class Contest:
    """What came out.

    Parameters
    ----------
    contestants : tuple of Contestant
        As given; more than two in the descending order of the first metric.
    metrics : tuple of str
    figures : DataFrame
        `name, metric, estimate, low, high, method, n, note`: each one's own.
    pairs : DataFrame
        As of `compare_all`.
    conclusions : tuple of str
        What can and what cannot be concluded: one sentence or more a metric.
    notes : tuple of str
        What a reader must know of the images and of the thresholds.
    """

    contestants: tuple[Contestant, ...]
    metrics: tuple[str, ...]
    figures: pd.DataFrame
    pairs: pd.DataFrame
    conclusions: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def caption(self) -> str:
        """Which images these are, and what part they took."""
        return self.contestants[0].table.caption()

    @property
    def stamps(self) -> tuple[str, ...]:
        """What figures of these images must say."""
        return stamps(self.contestants[0].table)

    @property
    def cautions(self) -> tuple[str, ...]:
        """What must be known before any is called better: whose training held near copies of these images."""
        return tuple(
            f"Before believing this: of {one.name}, {one.leak}. What it has learned by heart counts for it here, and "
            "need not be any good on new images."
            for one in self.contestants
            if one.leak
        )

    @property
    def shown(self) -> pd.DataFrame:
        """The pairs that a person is shown."""
        if len(self.contestants) <= SHOWN_IN_FULL:
            return self.pairs
        return self.pairs[self.pairs["a"] == self.contestants[0].name]

    def to_plain(self) -> dict[str, Any]:
        """For comparison.json."""
        return {
            "images": self.caption,
            "stamps": list(self.stamps),
            "split": self.contestants[0].table.split,
            "metrics": list(self.metrics),
            "classifiers": [
                {
                    "name": one.name,
                    "place": one.place,
                    "checkpoint": one.table.checkpoint,
                    "operating_point": None if one.point is None else one.point.to_plain(),
                    "settings": one.settings,
                    "figures": self.figures[self.figures["name"] == one.name].drop(columns="name").to_dict("records"),
                }
                for one in self.contestants
            ],
            "comparisons": self.pairs.to_dict("records"),
            "cautions": list(self.cautions),
            "conclusions": list(self.conclusions),
            "notes": list(self.notes),
        }


def contest(contestants: Sequence[Contestant], metrics: Sequence[str], resamples: int, seed: int) -> Contest:
    """Compare them all, each with each.

    Parameters
    ----------
    contestants : sequence of Contestant
        Two or more, of the same images.
    metrics : sequence of str
        Of `comparing.METRICS`; the first puts more than two contestants in order.
    resamples, seed : int
        Of bootstrap and permutation.

    Raises
    ------
    MedclsError
        Different images, labels, groups or classes; hard labels; a metric that the task does not have.
    """
    check_same_images(contestants)
    for metric in metrics:
        check_metric(metric, contestants[0].table.classes)
    figures = pd.concat([_own_figures(one, metrics, resamples, seed) for one in contestants], ignore_index=True)
    if len(contestants) > 2:
        first = figures[figures["metric"] == metrics[0]].set_index("name")["estimate"]
        order = first.sort_values(ascending=False, kind="stable").index.tolist()
        contestants = sorted(contestants, key=lambda one: order.index(one.name))
        figures = figures.sort_values("name", key=lambda names: names.map(order.index), kind="stable")
    pairs = compare_all(
        {one.name: one.table for one in contestants},
        metrics,
        {one.name: one.point.threshold for one in contestants if one.point is not None},
        resamples,
        seed,
    )
    if len(contestants) == 2:
        conclusions = tuple(pairs["sentence"])
    else:
        conclusions = tuple(standing(pairs, figures, metric) for metric in metrics)
    notes = _notes(contestants, metrics)
    return Contest(tuple(contestants), tuple(metrics), figures, pairs, conclusions, notes)


def check_same_images(contestants: Sequence[Contestant]) -> None:
    """See to it that all saw the same images; where they did not, say who did.

    Raises
    ------
    MedclsError
        Names those that can be compared with each other.
    """
    sets: dict[frozenset[str], list[str]] = {}
    for one in contestants:
        sets.setdefault(frozenset(one.table.rows["path"]), []).append(one.name)
    if len(sets) == 1:
        splits = {one.table.split.casefold(): one for one in contestants}
        if len(splits) > 1:
            listed = ", ".join(f"{one.table.split or '(none)'} of {one.name}" for one in splits.values())
            raise MedclsError(
                f"The same images are of different splits ({listed}): what chose a checkpoint flatters it, and what "
                "was held back does not. Compare the same split of each."
            )
        return
    (mine, here), (theirs, there) = list(sets.items())[:2]
    lines = [f"  {counted(len(paths), 'image')}: {enumerated(names)}" for paths, names in sets.items()]
    raise MedclsError(
        "Classifiers are compared on the same images, and these saw different ones:\n" + "\n".join(lines) + "\n"
        f"({here[0]} and {there[0]} share {len(mine & theirs)}.) Runs with another seed, or other settings of the "
        "split, hold other images back: compare those that share theirs, or evaluate all on the same images."
    )


def stamps(table: Predictions) -> tuple[str, ...]:
    """What each figure of these images must say, as that they are synthetic."""
    found = table.rows["stamp"].unique().tolist() if "stamp" in table.rows else []
    return tuple(stamp for stamp in found if stamp)


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


def standing(pairs: pd.DataFrame, figures: pd.DataFrame, metric: str) -> str:
    """Say of the one with the best figure among three or more which others it beats, and which not.

    Parameters
    ----------
    pairs, figures : DataFrame
        As of `Contest`.
    metric : str
    """
    word, of_metric = WORDS.get(metric, metric), pairs[pairs["metric"] == metric]
    if of_metric["p"].isna().any():
        return f"These {of_metric['rows'].iloc[0]} say nothing of the {word}: a class has no image here."
    own = figures[figures["metric"] == metric].sort_values("estimate", ascending=False, kind="stable")
    best, (value, low, high) = own["name"].iloc[0], own[["estimate", "low", "high"]].to_numpy()[0]
    mine = of_metric[(of_metric["a"] == best) | (of_metric["b"] == best)]
    clear = (mine["p_holm"] < ALPHA) & ((mine["low"] > 0) | (mine["high"] < 0))
    others = mine["a"].where(mine["a"] != best, mine["b"])
    beaten, level = others[clear].tolist(), others[~clear].tolist()
    said = (
        f"On these {mine['rows'].iloc[0]} {best} has the highest {word} of {len(own)}, {value:.3f} (95% "
        f"interval {low:.3f} to {high:.3f}). With p corrected for {pairs['p'].notna().sum()} "
        "comparisons (Holm) "
    )
    if beaten:
        said += f"it is better than {enumerated(beaten, SHOWN_IN_FULL)}"
        said += ", and cannot be told apart from " if level else ", all others"
    else:
        said += "it cannot be told apart from any other: "
    said += enumerated(level, SHOWN_IN_FULL)
    return said + (". That is no proof of being equal." if level else ".")


def _own_figures(one: Contestant, metrics: Sequence[str], resamples: int, seed: int) -> pd.DataFrame:
    """One contestant's figures with their intervals, by the methods of the report."""
    table = one.table
    index = None if table.positive is None else table.classes.index(table.positive)
    scores, threshold = table.probabilities(), None if one.point is None else one.point.threshold
    # Not by `intervals`, which takes no hard labels: another tool's calls can be compared, though not by an AUROC.
    split = Split(
        labels=table.labels(),
        predicted=predicted_classes(scores, table.classes, table.positive, threshold),
        scores=scores,
        groups=group_numbers(table.clusters, len(table)),
        classes=table.classes,
        positive=index,
    )
    found = split_intervals(split, resamples, seed)
    over = table.positive or MACRO
    rows = [
        found[(found["metric"] == metric) & (found["class"] == ("" if metric == "accuracy" else over))]
        for metric in metrics
    ]
    return pd.concat(rows).drop(columns="class").assign(name=one.name)


def _notes(contestants: Sequence[Contestant], metrics: Sequence[str]) -> tuple[str, ...]:
    """What a reader must know beside the sentences."""
    table = contestants[0].table
    notes = []
    counts = table.rows["label"].value_counts()
    few = [f"{name} ({counts.get(name, 0)})" for name in table.classes if counts.get(name, 0) < FEW_CASES]
    if few:
        notes.append(f"Fewer than {FEW_CASES} images of {', '.join(few)}: read the intervals, not the figures.")
    if len(contestants) > 2:
        notes += [
            "The same images chose the best and give its figure, which flatters it: confirm it on images that chose "
            "nothing.",
            "This is said of these trained networks and of images like these, not of other trainings or other sites.",
        ]
        notes += [f"Mind: {TOOK_PART[table.split]}."] if table.split in TOOK_PART else []
    if (table.rows["group"] == "").all():
        notes.append("No groups (patients) are known of these images: each counts as one of its own.")
    same: dict[str, list[str]] = {}
    for one in contestants:
        if one.table.checkpoint:
            same.setdefault(one.table.checkpoint, []).append(one.name)
    notes += [f"{', '.join(names)} have the same weights ({key})." for key, names in same.items() if len(names) > 1]
    if set(metrics) & set(AT_A_THRESHOLD):
        unfitted = [one.name for one in contestants if one.point is not None and not one.point.is_fitted]
        if unfitted:
            notes.append(
                f"The threshold of {enumerated(unfitted)} is 0.5, not fitted: accuracy, sensitivity and specificity "
                "compare thresholds as much as networks."
            )
    return tuple(notes)
