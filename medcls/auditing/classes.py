"""Images of each class in each split, and the precision of metrics on them."""

import math

import numpy as np
import pandas as pd

from medcls.auditing.findings import Finding
from medcls.data.manifest import Manifest
from medcls.data.splits.split import cluster_numbers
from medcls.wording import counted, named

FEW = 30
"""Cases of a class in test below which its metrics are nearly uninformative."""

MOST_NAMED = 8
"""Classes named in one line; of more, only the smallest and the largest."""

ASSUMED = 0.9
"""The sensitivity whose interval is shown."""

SMALL_EFFECT = 0.1
"""Cohen's w of a shift between splits (Cohen 1988, "small")."""

SIGNIFICANT = 0.01


def counts(manifest: Manifest) -> list[Finding]:
    """Images of each class, and whether the classes are imbalanced."""
    rows = manifest.rows
    table = _counts(manifest.rows["label"], manifest.classes)
    share = table["share"]
    largest, smallest = table.iloc[int(share.argmax())], table.iloc[int(share.argmin())]
    ratio = largest["images"] / max(1, smallest["images"])
    imbalanced = smallest["share"] < 0.5 / len(manifest.classes)
    values = {"images": len(rows), "classes": len(manifest.classes), "largest_to_smallest": float(ratio)}
    values |= {f"images_{row['class']}": int(row["images"]) for _, row in table.iterrows()}
    values |= {"majority_baseline": float(largest["share"])}
    text = f"Accuracy of the baseline that predicts {largest['class']} for every image: {largest['share']:.1%}."
    if imbalanced:
        text += (
            f" {smallest['class']} has less than half of an equal share, and networks tend to miss it: use "
            "loss.class_weights=balanced or data.sampler=balanced (not both), and look at AUROC, not accuracy."
        )
    each = [f"{row['class']} {row['images']:,} ({row['share']:.1%})" for _, row in table.iterrows()]
    named = ", ".join(each)
    if len(each) > MOST_NAMED:  # the table has all
        named = f"{len(each)} classes, from {each[int(share.argmin())]} to {each[int(share.argmax())]}"
    return [Finding("classes", "warning" if imbalanced else "information", named, text, values, table.round(3))]


def prevalence(manifest: Manifest) -> list[Finding]:
    """Whether the splits that came with the data have the class shares of training."""
    rows = manifest.rows
    given = set(rows["given_split"])
    return [
        _shift(pd.crosstab(rows["given_split"], rows["label"]).loc[["train", other]], other)
        for other in ("val", "test")
        if {"train", other} <= given
    ]


def _shift(table: pd.DataFrame, other: str) -> Finding:
    """Compare one split's classes with training's, in a table of two rows and a column a class."""
    from scipy.stats import chi2_contingency

    present = table.loc[:, table.sum() > 0]
    shares = present.div(present.sum(axis=1), axis=0)
    train, there = shares.iloc[0], shares.iloc[1]
    p = float(chi2_contingency(present.to_numpy(), correction=False).pvalue) if present.shape[1] > 1 else 1.0
    # A class missing from training counts as one image there.
    expected = train.clip(lower=1 / float(present.iloc[0].sum()))
    effect = float(np.sqrt(((there - train) ** 2 / expected).sum()))
    most = str((there - train).abs().idxmax())
    largest = f"{named(most)} is {train[most]:.1%} of train and {there[most]:.1%} of {other}"
    text = f"Chi-square test {_p(p)}, Cohen's w {effect:.2f}; a shift has p < {SIGNIFICANT} and w >= {SMALL_EFFECT}."
    values = {"p": p, "cohens_w": effect}
    values |= {f"train_{label}": float(share) for label, share in train.items()}
    values |= {f"{other}_{label}": float(share) for label, share in there.items()}
    shown = shares.round(3).rename_axis("split").reset_index().rename_axis(columns=None)
    if p < SIGNIFICANT and effect >= SMALL_EFFECT:
        text += (
            " Thresholds and calibration fitted on part of train transfer badly, and so do accuracy, PPV and NPV; "
            "AUROC, sensitivity and specificity are affected less. The images may differ in more than prevalence: look "
            "at both."
        )
        title = f"Class shares of {other} and train differ: {largest}"
        return Finding(f"prevalence_{other}", "warning", title, text, values, shown)
    if effect >= SMALL_EFFECT:
        text += " With so few images the difference may be chance, or a shift."
        title = f"Too few images to compare the class shares of {other} and train: {largest}"
        return Finding(f"prevalence_{other}", "information", title, text, values, shown)
    title = f"Class shares of {other} and train are about the same: {largest}"
    return Finding(f"prevalence_{other}", "good", title, text, values, shown)


def small_test(manifest: Manifest, divided: Manifest | None, half_width: float = 0.05) -> list[Finding]:
    """The interval of a sensitivity on the test images of each class, and the cases needed for a given width."""
    from medcls.statistics.analytic import rows_for

    known, column = (manifest, "given_split") if divided is None else (divided, "split")
    test = (known.rows[column] == "test").to_numpy()
    if not test.any():
        return []
    rows = known.rows[test]
    # Duplicates and images of one patient count once.
    cases = pd.Series(cluster_numbers(known.rows)[test], rows.index).groupby(rows["label"]).nunique()
    table = pd.DataFrame(
        [_precision(label, int((rows["label"] == label).sum()), int(count)) for label, count in cases.items()]
    )
    candidates = table[table["class"] == known.positive] if known.positive in cases.index else table
    worst = candidates.iloc[int(candidates["independent cases"].argmin())]
    few = table.loc[table["independent cases"] < FEW, "class"]
    width = (
        f"with {counted(worst['independent cases'], 'case')} of class {worst['class']}, the interval of a sensitivity "
        f"of {ASSUMED:.2f} is {worst['low']:.2f} to {worst['high']:.2f}"
    )
    needed = math.ceil(rows_for(ASSUMED, half_width))
    if worst["independent cases"] < needed:
        width += f"; \N{PLUS-MINUS SIGN}{half_width:g} needs {needed:,} cases"
    text = (
        f"Wilson's 95% interval for {worst['found']} of {worst['independent cases']}. Smaller differences cannot be "
        "detected on this test split; cross-validation (data.folds=5) tests on every image once and has narrower "
        "intervals."
    )
    values: dict[str, float | int | str | None] = {"half_width": half_width, "cases_needed": needed}
    for _, row in table.iterrows():
        values |= {
            f"cases_{row['class']}": int(row["independent cases"]),
            f"low_{row['class']}": float(row["low"]),
            f"high_{row['class']}": float(row["high"]),
        }
    table = table.round(3).rename(columns={"found": f"found at {ASSUMED:.2f}"})
    if few.empty:
        title = f"Precision of the test split: {width}"
        return [Finding("small_test", "information", title, text, values, table)]
    text = f"Fewer than {FEW} cases: {', '.join(few)}. {text}"
    return [Finding("small_test", "warning", f"Small test split: {width}", text, values, table)]


def _counts(labels: pd.Series, classes: tuple[str, ...]) -> pd.DataFrame:
    images = labels.value_counts().reindex(list(classes), fill_value=0)
    return pd.DataFrame({"class": classes, "images": images.to_numpy(), "share": (images / len(labels)).to_numpy()})


def _precision(label: object, images: int, cases: int) -> dict[str, object]:
    """Cases found at the assumed sensitivity, and their Wilson interval."""
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
