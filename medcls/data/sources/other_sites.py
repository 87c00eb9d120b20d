"""The images of another site, under the classes of the run that judges them: paired by name, never by guess."""

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

    A label is a class of the run, or one that the run's own `data.label_map` puts under a class. Where no name is
    the same, one that differs in case alone is.

    Parameters
    ----------
    found : collection of str
        The site's labels.
    classes : sequence of str
        The run's, in its order.
    label_map : mapping, optional
        The run's own: `{class: [labels as its images came]}`.
    leave_out_unmapped : bool
        The run's own: labels that are neither are left out, as they were for the run.

    Returns
    -------
    mapping, notes
        `{label: class}`, without what is left out; what was done other than taking a class by its very name.

    Raises
    ------
    MedclsError
        A label that is neither, or that could be either.
    """
    classes = [str(name) for name in classes]
    own = {str(old): str(new) for new, olds in (label_map or {}).items() for old in as_list(olds)}
    own = {old: new for old, new in own.items() if new in classes}
    labels = sorted(set(found))
    # Where every label is of one kind alone, a name that exists in both is of that kind too.
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
            "the run, and the run's own data.label_map puts it under another. "
            + _asked([*ambiguous, *unknown], classes, mapping),
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
            + f". {_asked(unknown, classes, mapping)}",
            kind="unknown_class",
        )
    notes = []
    if mapped:
        notes.append(f"the run's own data.label_map applies: {', '.join(mapped)}")
    if other_case:
        notes.append(f"names that differ in upper and lower case alone are taken as the same: {', '.join(other_case)}")
    if unknown:
        notes.append(f"left out, as the run's data.leave_out_unmapped has it: {enumerated(unknown)}")
    return mapping, notes


def _named(label: str, table: Mapping[str, str]) -> list[str]:
    """The names of a table that a label stands for: itself, or else those that differ in case alone."""
    return [label] if label in table else [name for name in table if name.casefold() == label.casefold()]


def _asked(labels: Sequence[str], classes: Sequence[str], mapping: Mapping[str, str]) -> str:
    """The settings that give labels a class, as they are typed: each is whole, for a map that is typed is the only one.

    Parameters
    ----------
    labels, classes : sequence of str
        What a person must decide, and between what.
    mapping : mapping of str to str
        The labels whose class is known.
    """
    if not all(is_key(name) for name in classes):
        return (
            f"Name {'it' if len(labels) == 1 else 'them'} as the run's classes are named: those cannot be typed in "
            "data.label_map."
        )

    def line(of: Mapping[str, str]) -> str:
        return typed_label_map(
            {name: [old for old, new in of.items() if new == name] for name in classes if name in of.values()}
        )

    those = "it is" if len(labels) == 1 else "they are all"
    lines = [f"{line({**mapping, **dict.fromkeys(labels, name)})}    if {those} {name}" for name in classes]
    left_out = [f"{line(mapping)} data.leave_out_unmapped=true    to leave them out"] if mapping else []
    each = "" if len(labels) == 1 else "Where they are of several classes, share them out in one of these. "
    return f"What {enumerated(labels)} means is for you to say. {each}Add one of:\n{listed([*left_out, *lines])}"


def leave_out_again(
    rows: pd.DataFrame, excluded: Collection[str], known: pd.DataFrame
) -> tuple[pd.DataFrame, list[str]]:
    """Leave out what the run left out by path, where these are the images that it was trained from.

    A path alone proves nothing: another site's `a/1.png` is another image. It counts where images that the run
    knows lie at their own paths.

    Parameters
    ----------
    rows : DataFrame
        The site's: `path`, `content`.
    excluded : collection of str
        The paths that the run's own `data.exclude` and `data.exclude_file` name.
    known : DataFrame
        The run's manifest: `path`, `content`.

    Returns
    -------
    rows, notes
        What is left, and what was done, in words.
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
    return rows, [f"kept {paths}: the run's images do not lie here, so these are others of the same name"]
