"""The images of an earlier run: the same files under the same labels in the same splits."""

from collections.abc import Collection, Sequence
from pathlib import Path

import pandas as pd

from medcls.data.manifest import Manifest, read_rows
from medcls.data.sources.scan import ScanOptions, rescan, scan_images
from medcls.errors import MedclsError
from medcls.wording import counted, enumerated


def reopen(
    table: Path,
    root: Path,
    classes: Sequence[str],
    positive: str | None,
    splits: Collection[str],
    watermarks: tuple[str, ...] = (),
    options: ScanOptions = ScanOptions(),  # noqa: B008 - frozen
) -> Manifest:
    """Read the rows of some splits of a run's `manifest.csv`, and check that the files still have the same content.

    Parameters
    ----------
    table : Path
        The run's `manifest.csv`.
    root : Path
        The folder of its images now.
    classes, positive, watermarks
        Of the run, see `Manifest`.
    """
    saved = read_rows(table)
    for split in splits:
        if not (saved["split"] == split).any():
            there = sorted(set(saved["split"]) - {"unused", "left_out"})
            raise MedclsError(
                f"The run has no image in the split {split!r}: it has {', '.join(there)}.", kind="empty_split"
            )
    rows = saved[saved["split"].isin(splits)].reset_index(drop=True)
    scan, failures = scan_images(root, rows["path"].tolist(), options)
    moved = f"They are expected in {root}: if they were moved, add images=/new/place."
    if failures:
        raise MedclsError(
            f"{len(failures)} of {counted(len(rows), 'image')} cannot be read:\n"
            + "\n".join(f"  {failure}" for failure in failures[:20])
            + f"\n{moved}",
            kind="unreadable_image",
        )
    if changed := _changed(rows, scan):
        scan = rescan(root, scan, changed, options)
    if changed := _changed(rows, scan):
        raise MedclsError(
            f"{counted(len(changed), 'image')} differ from those that the run used: {enumerated(changed, 5)}. Results "
            f"on other images are not this run's: restore them. {moved}",
            kind="images_changed",
        )
    return Manifest(root, tuple(classes), rows, positive, watermarks, scan=scan)


def _changed(rows: pd.DataFrame, scan: pd.DataFrame) -> list[str]:
    """The paths of images whose content differs from the run's; both tables are in the same order."""
    paths: list[str] = rows.loc[scan["content"].to_numpy() != rows["content"].to_numpy(), "path"].tolist()
    return paths


def as_begun(manifest: Manifest, saved: Path) -> Manifest:
    """The same images in the splits of the run's `manifest.csv`; an earlier version of medcls may have made others.

    Whether the network was trained on the saved splits is checked against its checkpoint elsewhere.
    """
    begun, keys = read_rows(saved), ["path", "label", "group", "content"]
    now = manifest.rows.astype(str)
    if not begun[keys].equals(now[keys]) or begun["split"].equals(now["split"]):
        return manifest
    note = "the splits are those of the run's manifest.csv: the same settings would now give others"
    return manifest.with_rows(manifest.rows.assign(split=begun["split"].tolist()), note)
