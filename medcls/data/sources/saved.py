"""The images of an earlier run, found again: the same files under the same labels in the same splits."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import pandas as pd

from medcls.data.manifest import Manifest, read_rows
from medcls.data.sources.scan import looked_at_again, scan_images
from medcls.errors import MedclsError
from medcls.wording import counted, enumerated


def reopen(
    table: Path,
    root: Path,
    classes: Sequence[str],
    positive: str | None,
    *,
    splits: Collection[str],
    watermarks: tuple[str, ...] = (),
    frame: int = 0,
    remember: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Read the rows of some splits of a run's `manifest.csv`, and see to it that the files still show the same.

    Parameters
    ----------
    table : Path
        The run's `manifest.csv`.
    root : Path
        Where its images lie now.
    classes, positive
        As the run knows them.
    splits : collection of str
        Which rows are wanted.
    stamps, frame, remember, progress
        As of `assembly.assemble`.

    Raises
    ------
    MedclsError
        No such table; no row in a split that is wanted; images that are gone, unreadable or changed.
    """
    every = read_rows(table)
    for split in splits:
        if not (every["split"] == split).any():
            there = sorted(set(every["split"]) - {"unused", "left_out"})
            raise MedclsError(
                f"The run has no image in the split {split!r}: it has {', '.join(there)}.", kind="empty_split"
            )
    rows = every[every["split"].isin(splits)].reset_index(drop=True)
    facts, failures = scan_images(root, rows["path"].tolist(), frame=frame, remember=remember, progress=progress)
    moved = f"They were looked for in {root}: where they lie elsewhere now, name the folder by images=/new/place."
    if failures:
        raise MedclsError(
            f"{len(failures)} of {counted(len(rows), 'image')} cannot be read:\n"
            + "\n".join(f"  {failure}" for failure in failures[:20])
            + f"\n{moved}",
            kind="unreadable_image",
        )
    changed = _changed(rows, facts)
    if changed:
        facts = looked_at_again(root, facts, changed, frame=frame, remember=remember)
        changed = _changed(rows, facts)
    if changed:
        raise MedclsError(
            f"{counted(len(changed), 'image')} no longer show what they did when the run was made: "
            f"{enumerated(changed, 5)}. Figures of other images are not this run's. Bring them back. {moved}",
            kind="images_changed",
        )
    return Manifest(root, tuple(classes), rows, positive, watermarks, facts=facts)


def _changed(rows: pd.DataFrame, facts: pd.DataFrame) -> list[str]:
    """The images whose content is not what the run knew; both tables are in one order."""
    return rows.loc[facts["content"].to_numpy() != rows["content"].to_numpy(), "path"].tolist()


def as_begun(manifest: Manifest, saved: Path) -> Manifest:
    """The same images in the splits that a run began with: an earlier version of medcls may have made others.

    Whether the saved splits are those that the network was trained on, its checkpoint tells.

    Parameters
    ----------
    manifest : Manifest
        Split as the run's settings say.
    saved : Path
        The run's `manifest.csv`.
    """
    begun, keys = read_rows(saved), ["path", "label", "group", "content"]
    now = manifest.rows.astype(str)
    if not begun[keys].equals(now[keys]) or begun["split"].equals(now["split"]):
        return manifest
    note = "the splits are those of the run's manifest.csv: with the same settings other ones would be cut by now"
    return manifest.with_rows(manifest.rows.assign(split=begun["split"].tolist()), note)
