"""The predictions table: one row an evaluated image, with its label and its scores.

Every metric of the report is computed from this table alone.
"""

import csv
import dataclasses
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import logsumexp, softmax

from medcls.csv_escaping import escaped, unescaped
from medcls.errors import MedclsError, nearest
from medcls.statistics.hard_labels import are_hard_labels
from medcls.statistics.metrics import check_classes, check_probabilities, predicted_classes
from medcls.statistics.resampling import group_numbers
from medcls.statistics.split import Split
from medcls.wording import at_start, counted, named
from medcls.writing import atomic_write

LOGIT, PROB = "logit_", "prob_"
KEYS = ("path", "label", "group", "split")
MADE_HERE = ("ood", "checkpoint")
KEPT_TOGETHER = "kept_together"  # the manifest's column, absent in tables of other tools and of older runs

# Caveats for metrics of a split that took part in making the classifier.
TOOK_PART = {
    "train": "the network was trained on these images: not a test",
    "val": "these images also chose the checkpoint: an optimistic estimate, not a test",
    "calibration": "thresholds and temperature were fitted on these images",
}

# Caveats for what is fitted on such a split. Images set aside for fitting selected nothing before.
FITTED_TWICE = {
    "train": "the network was trained on these images, and is more confident on them than on new ones",
    "val": "these images also chose the checkpoint, which makes it look better; data.calibration_fraction sets aside "
    "some that chose nothing",
}

# The name of a split in a table becomes part of file names. medcls's own names are recognised in any case.
SPLIT_NAME = re.compile(r"(\w[\w .-]*)?")
OWN_SPLITS = ("train", "val", "calibration", "test", "held_out", "external")

# The splits whose metrics are the result. (External: another site.)
NEVER_FITTED_ON = ("test", "held_out", "external")

# A million times the rounding error between probabilities and logits.
SCORES_AGREE = 1e-6

# With fewer rows a threshold or a temperature is mostly noise.
FEW_ROWS = 50


@dataclasses.dataclass(frozen=True)
class Predictions:
    """The predictions of one checkpoint on one split, checked when made.

    Parameters
    ----------
    rows : DataFrame
        Text columns `path`, `label`, `group` (empty where unknown), `split`, then the manifest's other columns,
        `kept_together` among them (see `clusters`); float64 columns `logit_<class>` (absent in tables of other tools),
        `prob_<class>` and `ood` (see `energy`; absent without logits); text `checkpoint`, the hash of the weights,
        empty where unknown.
    classes : tuple of str
        Class names in the order of the network's outputs.
    positive : str or None
        The positive class of a binary task; None with more than two classes.

    Raises
    ------
    MedclsError
        Missing columns; an unknown label; invalid probabilities; a repeated path; rows of more than one checkpoint or
        split; a binary task without a positive class.
    """

    rows: pd.DataFrame
    classes: tuple[str, ...]
    positive: str | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        object.__setattr__(self, "rows", self.rows.reset_index(drop=True))
        check_classes(self.classes, self.positive)
        required = [*KEYS, *(PROB + name for name in self.classes), "checkpoint"]
        missing = [column for column in required if column not in self.rows.columns]
        if missing:
            raise MedclsError(
                f"The predictions have no column {', '.join(missing)}; they have {', '.join(self.rows.columns)}."
                f"{nearest(missing[0], self.rows.columns)}",
                kind="missing_column",
            )
        unknown = sorted(set(self.rows["label"]) - set(self.classes))
        if unknown:
            first = self.rows.loc[self.rows["label"] == unknown[0], "path"].iloc[0]
            raise MedclsError(
                f"The predictions hold the label(s) {', '.join(map(repr, unknown))}, as that of {first!r}, and the "
                f"classes are {', '.join(self.classes)}.{nearest(unknown[0], self.classes)}",
                kind="unknown_label",
            )
        check_probabilities(self.probabilities(), len(self.classes), self.rows["path"].tolist())
        if (self.rows["path"] == "").any():
            raise MedclsError(
                f"{(self.rows['path'] == '').sum()} row(s) have no path: name the image of each.", kind="missing_path"
            )
        if self.has_logits and not np.isfinite(self.logits()).all():
            raise MedclsError(
                "The predictions hold logits that are not finite: the network's output has diverged.", kind="not_finite"
            )
        twice = self.rows.loc[self.rows["path"].duplicated(), "path"]
        if len(twice):
            raise MedclsError(
                f"{len(twice)} row(s) repeat an image, as {twice.iloc[0]!r}: leave one row an image.",
                kind="image_twice",
            )
        for column, what in (("checkpoint", "checkpoints"), ("split", "splits")):
            counts = Counter(self.rows[column].tolist())
            if len(counts) > 1:
                listed = ", ".join(f"{name or '(none)'}: {count}" for name, count in counts.items())
                raise MedclsError(
                    f"The predictions mix {len(counts)} {what} ({listed} rows). Evaluate each separately.",
                    kind="mixed_predictions",
                )

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def split(self) -> str:
        """The split that the rows are of; empty for a table of another tool."""
        return str(self.rows["split"].iloc[0]) if len(self) else ""

    @property
    def name(self) -> str:
        """The split if there is one, for files, plots and columns."""
        return self.split or "predictions"

    @property
    def checkpoint(self) -> str:
        """The hash of the weights; empty where unknown."""
        return str(self.rows["checkpoint"].iloc[0]) if len(self) else ""

    @property
    def has_logits(self) -> bool:
        """Whether the table holds logits beside the probabilities."""
        return all(LOGIT + name in self.rows.columns for name in self.classes)

    @property
    def clusters(self) -> list[str]:
        """The name of each row's cluster of dependent rows; empty for a row that stands alone.

        Connected components over groups and over rows that a split kept together as duplicates or near duplicates.
        Intervals and counts of cases use these.
        """
        groups = self.rows["group"].tolist()
        if KEPT_TOGETHER not in self.rows or not self.rows[KEPT_TOGETHER].any():
            return groups
        n, own = len(self), pd.Series([(row,) for row in range(len(self))], dtype=object)
        ends, size = [], n
        for column in ("group", KEPT_TOGETHER):
            # A tuple, which no name can equal, stands for a row without a group.
            numbers, names = pd.factorize(self.rows[column].astype(object).where(self.rows[column] != "", own))
            ends.append(size + numbers)
            size += len(names)
        edges = (np.tile(np.arange(n), len(ends)), np.concatenate(ends))
        graph = coo_array((np.ones(len(edges[0]), dtype=bool), edges), shape=(size, size))
        component = pd.Series(connected_components(graph, directed=False)[1][:n])
        return component.map(dict(zip(component[::-1], self.rows["path"][::-1], strict=True))).tolist()

    def cases_by_class(self) -> dict[str, int]:
        """Number of independent cases of each class: clusters, and rows that stand alone."""
        clusters = pd.Series(self.clusters, index=self.rows.index, dtype=object)
        by_class = {name: clusters[self.rows["label"] == name] for name in self.classes}
        return {name: int(rows[rows != ""].nunique() + (rows == "").sum()) for name, rows in by_class.items()}

    def labels(self) -> NDArray[np.int64]:
        """Return the true class indices `(n,)`, in the order of `classes`."""
        return pd.Categorical(self.rows["label"], categories=list(self.classes)).codes.astype(np.int64)

    def probabilities(self) -> NDArray[np.float64]:
        """Return one column a class, `(n, K)`, in the order of `classes`."""
        return self.rows[[PROB + name for name in self.classes]].to_numpy(np.float64)

    def logits(self) -> NDArray[np.float64]:
        """Return one column a class, `(n, K)`, in the order of `classes`.

        Raises
        ------
        MedclsError
            The table has no logits.
        """
        if not self.has_logits:
            raise MedclsError(
                "These predictions hold no logits (columns logit_<class>), only probabilities.", kind="no_logits"
            )
        return self.rows[[LOGIT + name for name in self.classes]].to_numpy(np.float64)

    def to_split(self, threshold: float | None = None, *, ordered: bool = False) -> Split:
        """Return the rows as arrays with their predicted classes, and `clusters` as groups; see `Split`.

        Hard labels are accepted: they have no ranking, but decisions.
        """
        scores = self.probabilities()
        return Split(
            labels=self.labels(),
            predicted=predicted_classes(scores, self.classes, self.positive, threshold),
            scores=scores,
            groups=group_numbers(self.clusters, len(self)),
            classes=self.classes,
            positive=None if self.positive is None else self.classes.index(self.positive),
            threshold=threshold,
            ordered=ordered,
        )

    def with_probabilities(self, probabilities: ArrayLike) -> "Predictions":
        """Replace the probabilities `(n, K)`; the logits remain the network's output.

        Raises
        ------
        MedclsError
            Invalid probabilities (`check_probabilities`), or another number of rows.
        """
        scores = check_probabilities(probabilities, len(self.classes))
        if len(scores) != len(self):
            raise MedclsError(
                f"{len(scores)} rows of probabilities for the {len(self)} rows of the predictions.", kind="wrong_shape"
            )
        columns = {PROB + name: scores[:, k] for k, name in enumerate(self.classes)}
        return dataclasses.replace(self, rows=self.rows.assign(**columns))

    def in_order(self, classes: Sequence[str]) -> "Predictions":
        """Reorder the classes, such as from mild to severe.

        Raises
        ------
        MedclsError
            Other classes than the table's.
        """
        if sorted(classes) != sorted(self.classes):
            raise MedclsError(
                f"The order of classes is {', '.join(classes)}, and the predictions have "
                f"{', '.join(self.classes)}: name each once.",
                kind="different_classes",
            )
        return dataclasses.replace(self, classes=tuple(classes))

    def check_against(self, paths: Sequence[str]) -> None:
        """Check the table against the manifest's paths of the same split: each exactly once.

        Raises
        ------
        MedclsError
            Images without a prediction, or predictions of images that are not in the split.
        """
        predicted, expected = set(self.rows["path"]), set(paths)
        for names, kind, fault in (
            (sorted(expected - predicted), "missing_predictions", "have no prediction"),
            (sorted(predicted - expected), "not_in_the_manifest", "were predicted but are not in the manifest's split"),
        ):
            if names:
                raise MedclsError(
                    f"{len(names)} image(s) {fault}: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}. "
                    f"(Split {self.split or 'unknown'}: {len(expected)} images in the manifest, {len(predicted)} "
                    "predicted.)",
                    kind=kind,
                )

    def caption(self) -> str:
        """Return one line for plots and tables of these rows: split, counts, and a caveat if the split took part."""
        counts = Counter(self.rows["label"])
        parts = ", ".join(f"{counts[name]} {named(name)}" for name in self.classes)
        words = f"{self.split or 'unnamed split'}, n = {counted(len(self), 'image')} ({parts})"
        has_group = self.rows["group"] != ""
        groups, lone = self.rows.loc[has_group, "group"].nunique(), int((~has_group).sum())
        if groups:
            words += f" of {counted(groups, 'group')}"
            words += f" and {counted(lone, 'image')} without a group" if lone else ""
        clusters = self.clusters
        if "" not in clusters and (cases := len(set(clusters))) < groups + lone:
            words += f", {cases} independent cases"
        note = TOOK_PART.get(self.split)
        return f"{words}; {note}" if note else words

    def write_csv(self, path: Path) -> None:
        """Write the table as UTF-8 CSV, atomically; floats read back bit-equal."""
        with atomic_write(path) as temporary:
            escaped(self.rows).to_csv(temporary, index=False, lineterminator="\n", encoding="utf-8")


def energy(logits: ArrayLike) -> NDArray[np.float64]:
    """Energy of each row of logits `(n, K)`: higher for images unlike the training images.

    `E(x) = -log(sum_k exp(logit_k))`, equation 4 at temperature 1 in Liu et al. 2020, "Energy-based
    Out-of-distribution Detection".
    """
    energies: NDArray[np.float64] = -logsumexp(np.asarray(logits, np.float64), axis=1)
    return energies


def probabilities_of(logits: ArrayLike) -> NDArray[np.float64]:
    """Softmax of logits `(n, K)` in float64, never exactly 0, so that it is never taken for hard labels."""
    probabilities: NDArray[np.float64] = softmax(np.asarray(logits, np.float64), axis=1)
    return probabilities.clip(min=np.finfo(np.float64).tiny)


def uncalibrated(table: Predictions) -> Predictions:
    """Restore the network's own probabilities if the table has logits."""
    return table.with_probabilities(probabilities_of(table.logits())) if table.has_logits else table


def from_logits(
    rows: pd.DataFrame,
    indices: ArrayLike,
    logits: ArrayLike,
    classes: Sequence[str],
    positive: str | None,
    checkpoint: str,
) -> Predictions:
    """Join the logits of one pass over a split to the manifest.

    Parameters
    ----------
    rows : DataFrame
        The manifest: `path, label, group, split` and any other columns. Missing cells become empty text.
    indices : integer array (n,)
        The row of `rows` of each line of `logits`, counted from 0. It comes from the same batch as the image, so the
        order of the pass does not matter.
    logits : float array (n, K)
        The network's outputs.
    classes : sequence of str
        Class names in the order of the columns of `logits`.
    positive : str or None
        The positive class of a binary task.
    checkpoint : str
        Hash of the weights.

    Returns
    -------
    Predictions
        In the order of `rows`.

    Raises
    ------
    MedclsError
        As `Predictions`; shapes that do not fit; a column of the manifest with a reserved name.
    """
    taken = [name for name in rows.columns if name in MADE_HERE or name.startswith((LOGIT, PROB))]
    if taken:
        raise MedclsError(
            f"The manifest has the column(s) {', '.join(taken)}, which are reserved for predictions: rename them.",
            kind="reserved_column",
        )
    scores, order = np.asarray(logits, np.float64), np.asarray(indices)
    if scores.ndim != 2 or scores.shape != (order.size, len(classes)):
        raise MedclsError(
            f"{order.size} rows of {len(classes)} classes need logits of shape ({order.size}, {len(classes)}); these "
            f"have {scores.shape}.",
            kind="wrong_shape",
        )
    if order.size and (order.min() < 0 or order.max() >= len(rows)):
        raise MedclsError(
            f"Row numbers from {order.min()} to {order.max()}, and the manifest has {len(rows)} rows.",
            kind="row_out_of_range",
        )
    if not np.isfinite(scores).all():
        first = rows["path"].iloc[order[np.flatnonzero(~np.isfinite(scores).all(1))[0]]]
        raise MedclsError(
            f"The network's output is not finite, first for {first!r}: its training has diverged.", kind="not_finite"
        )
    ascending = np.argsort(order, kind="stable")
    order, scores = order[ascending], scores[ascending]
    table = rows.iloc[order].reset_index(drop=True)
    table = table[[*(name for name in KEYS if name in table), *(name for name in table if name not in KEYS)]]
    table = table.astype(object).where(table.notna(), "").astype(str)
    probabilities = probabilities_of(scores)
    made = {LOGIT + name: scores[:, k] for k, name in enumerate(classes)}
    made |= {PROB + name: probabilities[:, k] for k, name in enumerate(classes)}
    made["ood"] = energy(scores)
    table = pd.concat([table, pd.DataFrame(made)], axis=1).assign(checkpoint=checkpoint)
    return Predictions(table, tuple(classes), positive)


def read_csv(path: Path, positive: str | None) -> Predictions:
    """Read a table that `write_csv` wrote, or one of another tool with `path, label, prob_<class>`.

    The classes and their order are those of the `prob_` columns. Every other column is text, as it
    stands in the file; a missing `group`, `split` or `checkpoint` is empty.

    Raises
    ------
    MedclsError
        As `Predictions`; no such file or table; a cell that is not a number where one is expected.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = next(csv.reader(file), [])
        _check_commas(header, path)
        with warnings.catch_warnings():
            # A first row with one cell too many would shift every column, or lose its last cell with a warning.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", index_col=False)
        table = unescaped(table)
    except MedclsError:
        raise
    except (OSError, ValueError, csv.Error, pd.errors.ParserWarning) as error:
        raise MedclsError(
            f"{path} cannot be read as a table of predictions ({error}). It must be UTF-8 text with commas between "
            "cells, and with as many cells in each row as in the header.",
            kind="unreadable_table",
        ) from error
    repeated = [name for name, count in Counter(header).items() if count > 1]
    if repeated:
        raise MedclsError(f"{path} has the column {', '.join(repeated)} more than once.", kind="column_twice")
    classes = tuple(name.removeprefix(PROB) for name in table.columns if name.startswith(PROB))
    missing = [name for name in ("path", "label") if name not in table.columns]
    if missing or not classes:
        raise MedclsError(
            f"{path} is no table of predictions: it has no column {', '.join(missing) or 'prob_<class>'}. It needs "
            f"path, label and prob_<class> for each class; it has {', '.join(map(repr, table.columns))}.",
            kind="missing_column",
        )
    if "" in classes:
        raise MedclsError(
            f"{path} has a column {PROB!r} that names no class: rename it {PROB}<class>.", kind="bad_column_name"
        )
    if len(classes) == 1:
        raise MedclsError(
            f"{path} has probabilities of {classes[0]!r} alone: with two classes add prob_<the other class>, which is "
            f"1 - {PROB}{classes[0]}.",
            kind="missing_column",
        )
    for name in ("group", "split", "checkpoint"):
        if name not in table:
            table[name] = ""
    table["split"] = _split_names(table["split"], path)
    for name in table.columns:
        if name.startswith((LOGIT, PROB)) or name == "ood":
            table[name] = _numbers(table[name], path)
    try:
        made = Predictions(table, classes, positive)
        check_scores_agree(made)
    except MedclsError as error:
        raise MedclsError(f"{path}: {error}", kind=error.kind) from error
    return made


def check_scores_agree(table: Predictions) -> None:
    """Refuse a table of medcls whose probabilities do not belong to its logits.

    A calibration is a slope shared by all classes and an intercept for each, so the differences of log probabilities
    are linear in those of logits. Tables of other tools, without a column `ood`, are not checked.

    Raises
    ------
    MedclsError
        Names the row with the largest deviation.
    """
    if not table.has_logits or "ood" not in table.rows or not len(table):
        return
    scores, probabilities = table.logits(), table.probabilities()
    lines, logs = (np.diff(values, axis=1) for values in (scores, np.log(np.maximum(probabilities, 1e-300))))
    # The median is robust to a few changed rows.
    lines, logs = (values - np.median(values, axis=0) for values in (lines, logs))
    exact = (probabilities > 1e-280).all(axis=1)  # smaller ones are clipped
    wide = np.abs(lines[exact]) > 1e-9
    slope = float(np.median(logs[exact][wide] / lines[exact][wide])) if wide.any() else 1.0
    off = np.where(exact, np.abs(logs - slope * lines).max(axis=1) / (1 + np.abs(logs).max(axis=1)), 0.0)
    off = np.maximum(off, np.abs(table.rows["ood"].to_numpy(np.float64) - energy(scores)))
    if slope <= 0 or off.max() > SCORES_AGREE:
        raise MedclsError(
            f"Probabilities, logits and ood contradict each other, first for {table.rows['path'].iloc[off.argmax()]!r} "
            f"({counted(int((off > SCORES_AGREE).sum()), 'row')} in all): the table was changed. Write it again from "
            "its run with medcls.evaluate.",
            kind="scores_disagree",
        )


def _check_commas(header: Sequence[str], path: Path) -> None:
    mark = next((mark for mark in ";\t|" if len(header) == 1 and mark in header[0]), None)
    if mark is not None:
        raise MedclsError(
            f"{path} has {mark!r} between its cells: save it with commas, and with decimal points.",
            kind="wrong_delimiter",
        )


def _split_names(splits: pd.Series, path: Path) -> pd.Series:
    """Return the splits that a table names, medcls's own in its spelling: `Test` is test."""
    named = {name: name.strip() for name in splits.unique()}
    for name in named.values():
        if not SPLIT_NAME.fullmatch(name):
            raise MedclsError(
                f"{path}: the split {name!r} cannot be part of a file's name: use letters and digits, as test.",
                kind="bad_split_name",
            )
    return splits.map(
        {cell: name.casefold() if name.casefold() in OWN_SPLITS else name for cell, name in named.items()}
    )


def check_one_checkpoint(*tables: Predictions) -> str:
    """Return the one checkpoint behind all tables of a report.

    Raises
    ------
    MedclsError
        They come from different checkpoints.
    """
    checkpoints = {table.checkpoint for table in tables}
    if len(checkpoints) > 1:
        listed = ", ".join(f"{table.split or 'unnamed split'}: {table.checkpoint or '(none)'}" for table in tables)
        raise MedclsError(
            f"These predictions come from different checkpoints ({listed}), and a report is of one. Evaluate every "
            "split with the same checkpoint.",
            kind="different_checkpoints",
        )
    return checkpoints.pop() if checkpoints else ""


def check_may_fit(table: Predictions, what: str) -> tuple[str, ...]:
    """Refuse to fit `what` (as "a temperature") on rows whose metrics are the result.

    Returns
    -------
    tuple of str
        Caveats for a fit on these rows, in sentences.

    Raises
    ------
    MedclsError
        Rows of the test, a held-out or an external split, no rows, or hard labels instead of scores.
    """
    # Tables of other tools may spell it differently.
    if table.split.strip().casefold() in NEVER_FITTED_ON:
        raise MedclsError(
            f"{at_start(what)} cannot be fitted on the split {table.split!r}, whose metrics are the result. Fit it on "
            "val, or on a part set aside for it (data.calibration_fraction).",
            kind="fitted_on_the_result",
        )
    if len(table) == 0:
        raise MedclsError(f"{at_start(what)} cannot be fitted on a table without rows.", kind="no_rows")
    if are_hard_labels(table.probabilities()):
        raise MedclsError(
            f"{at_start(what)} cannot be fitted on hard labels: every value is exactly 0 or 1. Give each class's "
            "probability.",
            kind="hard_labels",
        )
    caveats = []
    if len(table) < FEW_ROWS:
        caveats.append(f"Fitted on {len(table)} rows, fewer than {FEW_ROWS}: uncertain.")
    if table.split in FITTED_TWICE:
        caveats.append(f"Fitted on {table.split}: {FITTED_TWICE[table.split]}.")
    elif not table.split:
        caveats.append("Fitted on rows of an unnamed split, which may be the ones the result is computed on.")
    return tuple(caveats)


def check_fitted_with(table: Predictions, checkpoint: str, what: str) -> None:
    """Refuse to apply what was fitted with another checkpoint than the table's.

    Raises
    ------
    MedclsError
        Both checkpoints are known, and differ.
    """
    if checkpoint and table.checkpoint and checkpoint != table.checkpoint:
        raise MedclsError(
            f"The {what} was fitted with checkpoint {checkpoint}, and these predictions come from {table.checkpoint}. "
            "Fit it again on val with the same checkpoint.",
            kind="different_checkpoints",
        )


def aggregate(table: Predictions, how: Literal["mean", "max", "median"], by: str = "group") -> Predictions:
    """Aggregate the rows of each patient or exam into one.

    In a binary task the positive class's probabilities are aggregated (so `max` means "as suspicious as the worst
    image"), and a group is positive if any of its images is. With more classes each class's probabilities are
    aggregated and divided by their sum, and the images of a group must have one label.

    Parameters
    ----------
    table : Predictions
    how : {"mean", "max", "median"}
        How the probabilities are aggregated.
    by : str
        The column to aggregate by: `group`, or any other column of the manifest. A row where it is empty stays alone.

    Returns
    -------
    Predictions
        `path` is the group's name (the image's, for a row that stands alone); `images` counts its rows. Other columns
        keep what all rows of the group share, and are empty otherwise. There are no logits.

    Raises
    ------
    MedclsError
        An unknown column or method; with more than two classes a group with several labels; one that spans several
        groups; one with the name of another's image.
    """
    if how not in ("mean", "max", "median"):
        raise MedclsError(f"Predictions are aggregated by mean, max or median, not {how!r}.", kind="bad_value")
    if by not in table.rows.columns:
        raise MedclsError(
            f"There is no column {by!r} to aggregate by.{nearest(by, table.rows.columns)}", kind="unknown_column"
        )
    names = table.rows[by].where(table.rows[by] != "", table.rows["path"])
    # A row that stands alone must not fall into a group that has its path as a name.
    keys = [names.rename("name"), (table.rows[by] == "").rename("alone")]
    scores = [name for name in table.rows.columns if name.startswith((LOGIT, PROB))]
    groups = table.rows.drop(columns=["path", "ood", *scores], errors="ignore").groupby(keys, sort=True)
    first, is_shared = groups.first(), groups.nunique() == 1
    _check_aggregated(table, first, is_shared, by)
    rows = first.where(is_shared, "").reset_index(level="alone", drop=True)
    probabilities = table.rows[[PROB + name for name in table.classes]].groupby(keys, sort=True).agg(how)
    aggregated = probabilities.to_numpy(np.float64, copy=True)
    if table.positive is None:
        aggregated /= aggregated.sum(axis=1, keepdims=True)
    else:
        index = table.classes.index(table.positive)
        aggregated[:, 1 - index] = 1 - aggregated[:, index]
        is_case = (table.rows["label"] == table.positive).groupby(keys, sort=True).any().to_numpy()
        rows["label"] = np.where(is_case, table.positive, table.classes[1 - index])
    rows["images"] = groups.size().astype(str).to_numpy()
    rows.insert(0, "path", rows.index.astype(str))
    columns = {PROB + name: aggregated[:, k] for k, name in enumerate(table.classes)}
    rows = rows.drop(columns="checkpoint").assign(**columns, checkpoint=table.checkpoint)
    return Predictions(rows, table.classes, table.positive)


def _check_aggregated(table: Predictions, first: pd.DataFrame, is_shared: pd.DataFrame, by: str) -> None:
    """Refuse groups without one label or one group; `first` and `is_shared` are indexed by name."""
    faults = {"group": "spans several groups, so its rows are not independent of others"}
    if table.positive is None:
        faults["label"] = "has images under several labels, which with more than two classes cannot become one"
    for column, fault in faults.items():
        mixed = first.index[~is_shared[column]]
        if len(mixed):
            raise MedclsError(
                f"{mixed[0][0]!r} in column {by!r} {fault}; {len(mixed)} such in all. Aggregate by another column, or "
                "not at all.",
                kind="mixed_unit",
            )
    names = first.index.get_level_values("name")
    if names.has_duplicates:
        raise MedclsError(
            f"{names[names.duplicated()][0]!r} is a value of column {by!r}, and also the path of an image that stands "
            "alone: rename one of them.",
            kind="ambiguous_name",
        )


def _numbers(cells: pd.Series, path: Path) -> NDArray[np.float64]:
    """Parse cells as float64 by Python, which reads back exactly what was written."""
    numbers = np.empty(len(cells))
    for row, cell in enumerate(cells.tolist()):  # a list is faster to iterate than a column
        try:
            numbers[row] = float(cell)
        except ValueError as error:
            raise MedclsError(
                f"{path}, line {row + 2}, column {cells.name}: {cell!r} is not a number.", kind="not_a_number"
            ) from error
    return numbers
