"""How many images of each class there are, in each split, and what figures so many cases can carry."""

import math

import numpy as np
import pandas as pd

from medcls.auditing.findings import Finding
from medcls.data.manifest import Manifest
from medcls.data.splits.split import cluster_numbers
from medcls.wording import at_start, counted, named

FEW = 30
"""Cases of a class in test under which its figures say next to nothing."""

MOST_NAMED = 8
"""So many classes are named with their counts in one line; of more, the smallest and the largest."""

ASSUMED = 0.9
"""The sensitivity for which the width of the interval is shown."""

SMALL_EFFECT = 0.1
"""Cohen's w: from here on a shift between splits is called one (Cohen 1988, "small")."""

SIGNIFICANT = 0.01


def counts(manifest: Manifest) -> list[Finding]:
    """Images of each class, and whether one outweighs the others."""
    rows = manifest.rows
    table = _counts(manifest.rows["label"], manifest.classes)
    share = table["share"]
    largest, smallest = table.iloc[int(share.argmax())], table.iloc[int(share.argmin())]
    ratio = largest["images"] / max(1, smallest["images"])
    imbalanced = smallest["share"] < 0.5 / len(manifest.classes)
    values = {"images": len(rows), "classes": len(manifest.classes), "largest_to_smallest": float(ratio)}
    values |= {f"images_{row['class']}": int(row["images"]) for _, row in table.iterrows()}
    values |= {"majority_baseline": float(largest["share"])}
    text = (
        f"Always saying {largest['class']} is right for {largest['share']:.1%}: an accuracy is to be held against it."
    )
    if imbalanced:
        text += (
            f" {smallest['class']} has less than half of an equal share: without counterweight a network tends to "
            "overlook it. loss.class_weights=balanced or data.sampler=balanced (not both) makes up for it; watch "
            "AUROC, not accuracy."
        )
    each = [f"{row['class']} {row['images']:,} ({row['share']:.1%})" for _, row in table.iterrows()]
    named = ", ".join(each)
    if len(each) > MOST_NAMED:  # the table names them all
        named = f"{len(each)} classes, from {each[int(share.argmin())]} to {each[int(share.argmax())]}"
    return [Finding("classes", "warning" if imbalanced else "information", named, text, values, table.round(3))]


def prevalence(manifest: Manifest) -> list[Finding]:
    """Whether the splits that came with the data hold the classes in the same shares as training does."""
    rows = manifest.rows
    given = set(rows["given_split"])
    return [
        _shift(pd.crosstab(rows["given_split"], rows["label"]).loc[["train", other]], other)
        for other in ("val", "test")
        if {"train", other} <= given
    ]


def _shift(table: pd.DataFrame, other: str) -> Finding:
    """Hold one split's classes against training's, in a table of two rows and a column a class."""
    from scipy.stats import chi2_contingency

    present = table.loc[:, table.sum() > 0]
    shares = present.div(present.sum(axis=1), axis=0)
    train, there = shares.iloc[0], shares.iloc[1]
    p = float(chi2_contingency(present.to_numpy(), correction=False).pvalue) if present.shape[1] > 1 else 1.0
    # A class that training lacks counts as if it had one image there.
    expected = train.clip(lower=1 / float(present.iloc[0].sum()))
    effect = float(np.sqrt(((there - train) ** 2 / expected).sum()))
    most = str((there - train).abs().idxmax())
    said = f"{named(most)} is {train[most]:.1%} of train and {there[most]:.1%} of {other}"
    text = (
        f"Chi-square test {_p(p)}, Cohen's w {effect:.2f}; called a shift from p < {SIGNIFICANT} and "
        f"w >= {SMALL_EFFECT} on."
    )
    values = {"p": p, "cohens_w": effect}
    values |= {f"train_{label}": float(share) for label, share in train.items()}
    values |= {f"{other}_{label}": float(share) for label, share in there.items()}
    shown = shares.round(3).rename_axis("split").reset_index().rename_axis(columns=None)
    if p < SIGNIFICANT and effect >= SMALL_EFFECT:
        text += (
            " A threshold and a calibration fitted on images cut from train carry over badly, and so do accuracy, PPV "
            "and NPV; AUROC, sensitivity and specificity are touched less. The images may differ in more than "
            "prevalence: look at both."
        )
        title = f"{at_start(other)} is shifted against train: {said}"
        return Finding(f"prevalence_{other}", "warning", title, text, values, shown)
    if effect >= SMALL_EFFECT:
        text += " Chance alone may make such a difference between so few images, and it may be a shift all the same."
        title = f"Whether {other} holds the classes in the shares of train cannot be told from so few images: {said}"
        return Finding(f"prevalence_{other}", "information", title, text, values, shown)
    title = f"{at_start(other)} holds the classes in about the shares of train: {said}"
    return Finding(f"prevalence_{other}", "good", title, text, values, shown)


def small_test(manifest: Manifest, divided: Manifest | None, half_width: float = 0.05) -> list[Finding]:
    """How wide an interval the test images of each class would leave, and how many cases a stated width takes."""
    from medcls.statistics.analytic import rows_for

    held, column = (manifest, "given_split") if divided is None else (divided, "split")
    test = (held.rows[column] == "test").to_numpy()
    if not test.any():
        return []
    rows = held.rows[test]
    # Copies and images of one patient do not count twice.
    cases = pd.Series(cluster_numbers(held.rows)[test], rows.index).groupby(rows["label"]).nunique()
    table = pd.DataFrame(
        [_precision(label, int((rows["label"] == label).sum()), int(count)) for label, count in cases.items()]
    )
    told = table[table["class"] == held.positive] if held.positive in cases.index else table
    worst = told.iloc[int(told["independent cases"].argmin())]
    few = table.loc[table["independent cases"] < FEW, "class"]
    width = (
        f"with {counted(worst['independent cases'], 'case')} of {worst['class']}, a sensitivity of {ASSUMED:.2f} "
        f"would come with {worst['low']:.2f} to {worst['high']:.2f}"
    )
    takes = math.ceil(rows_for(ASSUMED, half_width))
    if worst["independent cases"] < takes:
        width += f"; \N{PLUS-MINUS SIGN}{half_width:g} takes {takes:,} cases"
    text = (
        f"Wilson's 95% interval, for {worst['found']} of {worst['independent cases']} found. Differences smaller than "
        "its width cannot be seen on this test split: cross-validation (data.folds=5) judges every image once, and "
        "so narrows it."
    )
    values: dict[str, float | int | str | None] = {"half_width": half_width, "cases_needed": takes}
    for _, row in table.iterrows():
        values |= {
            f"cases_{row['class']}": int(row["independent cases"]),
            f"low_{row['class']}": float(row["low"]),
            f"high_{row['class']}": float(row["high"]),
        }
    table = table.round(3).rename(columns={"found": f"found at {ASSUMED:.2f}"})
    if few.empty:
        title = f"What the test split can tell: {width}"
        return [Finding("small_test", "information", title, text, values, table)]
    text = f"Under {FEW} cases: {', '.join(few)}. {text}"
    return [Finding("small_test", "warning", f"A small test split: {width}", text, values, table)]


def _counts(labels: pd.Series, classes: tuple[str, ...]) -> pd.DataFrame:
    images = labels.value_counts().reindex(list(classes), fill_value=0)
    return pd.DataFrame({"class": classes, "images": images.to_numpy(), "share": (images / len(labels)).to_numpy()})


def _precision(label: object, images: int, cases: int) -> dict[str, object]:
    """How many of so many cases are found at the sensitivity assumed, and Wilson's interval for that."""
    from scipy.stats import binomtest

    found = round(ASSUMED * cases)
    interval = binomtest(found, cases).proportion_ci(method="wilson")
    return {
        "class": label,
        "test images": images,
        "independent cases": cases,
        "found": found,
        "low": float(interval.low),
        "high": float(interval.high),
    }


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
