"""The images of another site, mapped to the classes of a run by name, never by guessing."""

from collections.abc import Collection, Mapping, Sequence

import pandas as pd

from medcls.data.manifest import as_list
from medcls.errors import MedclsError, is_key, typed_label_map
from medcls.wording import counted, enumerated, listed


def match_classes(
    found: Collection[str],
    classes: Sequence[str],
    label_map: Mapping[str, Sequence[str]] | None = None,
    *,
    leave_out_unmapped: bool = False,
) -> tuple[dict[str, str], list[str]]:
    """Find the run's class of each label of another site.

    A label is a class of the run, or a label that the run's own `data.label_map` maps to a class. If no name is equal,
    one that differs only in case is used. With `leave_out_unmapped`, other labels are left out.

    Returns
    -------
    mapping, notes
        `{label: class}`, without labels left out; notes on every label that is not a class itself.

    Raises
    ------
    MedclsError
        A label that is neither, or could be either.
    """
    classes = [str(name) for name in classes]
    own = {str(old): str(new) for new, olds in (label_map or {}).items() for old in as_list(olds)}
    own = {old: new for old, new in own.items() if new in classes}
    labels = sorted(set(found))
    # If all labels fit one of the two, a label that fits both is of that one.
    readings = [
        table
        for table in ({name: name for name in classes}, own)
        if table and all(_named(label, table) for label in labels)
    ]
    tables = readings if len(readings) == 1 else [{name: name for name in classes}, own]
    meanings = {label: [(name, table[name]) for table in tables for name in _named(label, table)] for label in labels}
    meant = {label: sorted({new for _, new in names}) for label, names in meanings.items()}
    mapping = {label: new[0] for label, new in meant.items() if len(new) == 1}
    unknown = [label for label in labels if not meant[label]]
    if ambiguous := [label for label in labels if len(meant[label]) > 1]:
        label = ambiguous[0]
        raise MedclsError(
            f"The label {label!r} of these images could be {' or '.join(map(repr, meant[label]))}: it is a class of "
            "the run, and the run's data.label_map maps it to another. "
            + _options([*ambiguous, *unknown], classes, mapping),
            kind="ambiguous_class",
        )
    mapped, other_case = [], []
    for label in mapping:
        name = meanings[label][0][0]
        if mapping[label] != name:
            mapped.append(f"{label} to {mapping[label]}")
        elif name != label:
            other_case.append(f"{label} as {name}")
    if unknown and not (leave_out_unmapped and own and mapping):
        raise MedclsError(
            f"These images have the class(es) {enumerated(unknown)}; the run knows {', '.join(classes)}"
            + (f", and by its data.label_map {', '.join(own)}" if own else "")
            + f". {_options(unknown, classes, mapping)}",
            kind="unknown_class",
        )
    notes = []
    if mapped:
        notes.append(f"the run's data.label_map applies: {', '.join(mapped)}")
    if other_case:
        notes.append(f"names that differ only in case are taken as the same: {', '.join(other_case)}")
    if unknown:
        notes.append(f"left out by the run's data.leave_out_unmapped: {enumerated(unknown)}")
    return mapping, notes


def _named(label: str, table: Mapping[str, str]) -> list[str]:
    """The names of a table that equal a label, or else those that differ only in case."""
    return [label] if label in table else [name for name in table if name.casefold() == label.casefold()]


def _options(labels: Sequence[str], classes: Sequence[str], mapping: Mapping[str, str]) -> str:
    """The settings that give labels a class, each with the known `mapping`, since a typed map replaces the run's."""
    if not all(is_key(name) for name in classes):
        return (
            f"Rename {'it' if len(labels) == 1 else 'them'} to the run's classes, whose names cannot be typed in "
            "data.label_map."
        )

    def line(by_label: Mapping[str, str]) -> str:
        olds = {name: [old for old, new in by_label.items() if new == name] for name in classes}
        return typed_label_map({name: labels for name, labels in olds.items() if labels})

    condition = "it is" if len(labels) == 1 else "they are all"
    lines = [f"{line({**mapping, **dict.fromkeys(labels, name)})}    if {condition} {name}" for name in classes]
    left_out = [f"{line(mapping)} data.leave_out_unmapped=true    to leave them out"] if mapping else []
    each = "" if len(labels) == 1 else "If they are of several classes, edit one of these. "
    return f"Map {enumerated(labels)} to a class. {each}Add one of:\n{listed([*left_out, *lines])}"


def leave_out_again(
    rows: pd.DataFrame, excluded: Collection[str], known: pd.DataFrame
) -> tuple[pd.DataFrame, list[str]]:
    """Leave out the paths that the run excluded, if these are the images of the run.

    A path alone is no proof: another site's `a/1.png` is another image. The paths count if most of the images that the
    run knows have the run's content here. `rows` and `known`, the run's manifest, have `path` and `content`.
    """
    named = rows["path"].isin(excluded)
    if not named.any():
        return rows, []
    content = dict(zip(known["path"], known["content"], strict=True))
    here = rows["path"].map(content)
    same = int((here.notna() & (here == rows["content"])).sum())
    paths = (
        f"{counted(int(named.sum()), 'path')} of the run's data.exclude: {enumerated(rows.loc[named, 'path'].tolist())}"
    )
    if same > int(here.notna().sum()) / 2:
        return rows[~named], [f"left out {paths}"]
    return rows, [f"kept {paths}: these are other images than the run's, with the same names"]
