"""The scan: every file is read once before anything is trained, and what it shows is kept without its pixels."""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd

from medcls import cpu
from medcls.data.reading import images
from medcls.data.reading.decoded import UnreadableImage
from medcls.data.sources.image_statistics import ImageStatistics, image_statistics
from medcls.data.sources.scan_cache import Row, ScanCache
from medcls.preprocessing import Decoding

log = logging.getLogger(__name__)

BATCH = 1024  # files looked up, read and cached at a time: what a killed process loses
BLOCK = 16_384  # rows turned into arrays at a time: a million of them as Python objects would fill the memory

OWN_COLUMNS = ("content", "width", "height", "format", "mode", "bits", "frames", "bytes", "notes")
COLUMNS = (*OWN_COLUMNS, *(field.name for field in dataclasses.fields(ImageStatistics)))
"""Of a scan: `Decoded.content`, size in pixels, what the file holds, bytes on disk, notes; then `ImageStatistics`."""

Progress = Callable[[int, int], None]
"""Called in the calling thread with how many are done and how many there are."""


@dataclasses.dataclass(frozen=True)
class ScanOptions:
    """How files are read.

    Parameters
    ----------
    frame : int
        Which frame or page, where a file holds several.
    remember : bool
        Use the scan cache: files that have not changed (same place, size and times) are not read again. Unreadable
        files are not cached.
    progress : callable, optional
        See `Progress`.
    """

    frame: int = 0
    remember: bool = True
    progress: Progress | None = None


def scan_images(
    root: Path, paths: Sequence[str], options: ScanOptions = ScanOptions()
) -> tuple[pd.DataFrame, list[UnreadableImage]]:
    """Read every file once, as RGB.

    Parameters
    ----------
    root : Path
        The folder that the paths are relative to.
    paths : sequence of str
        Relative, with forward slashes.

    Returns
    -------
    scan : DataFrame
        Indexed by `path`, in the order given, without unreadable files; columns `COLUMNS`.
    failures : list of UnreadableImage
        All of them, in the order of `paths`.
    """

    def read(path: str) -> Row | UnreadableImage:
        try:
            return _row(root / path, options.frame)
        except UnreadableImage as error:
            # Its cause holds frames, and so the bytes of the file; a long list of failures must not.
            return UnreadableImage(error.reason, error.path, error.kind)

    blocks: list[pd.DataFrame] = []
    rows: dict[str, Row] = {}
    failures: list[UnreadableImage] = []
    report = options.progress or (lambda done, total: None)
    done = 0
    with (
        ThreadPoolExecutor(cpu.available_cores()) as pool,
        ScanCache(root, options.frame, COLUMNS) if options.remember else nullcontext() as cache,
    ):
        for start in range(0, len(paths), BATCH):
            batch = paths[start : start + BATCH]
            known = cache.get(batch) if cache else {}
            if known:
                report(done := done + len(known), len(paths))
            unknown = [path for path in batch if path not in known]
            fresh: dict[str, Row] = {}
            for path, outcome in zip(unknown, pool.map(read, unknown), strict=True):
                if isinstance(outcome, UnreadableImage):
                    failures.append(outcome)
                else:
                    fresh[path] = outcome
                report(done := done + 1, len(paths))
            if cache:
                cache.put(fresh)
            known |= fresh
            rows |= {path: known[path] for path in batch if path in known}
            if len(rows) >= BLOCK:
                blocks.append(_block(rows))
                rows = {}
    if rows or not blocks:
        blocks.append(_block(rows))
    return pd.concat(blocks), failures


def _row(path: Path, frame: int) -> Row:
    """The values of one file, in the order of `COLUMNS`."""
    decoded = images.read(path, Decoding(frame=frame))
    height, width = decoded.pixels.shape[:2]
    own = (decoded.content, width, height, decoded.format, decoded.mode, decoded.bits, decoded.frames)
    size, notes = path.stat().st_size, "; ".join(decoded.notes)
    return [*own, size, notes, *dataclasses.astuple(image_statistics(decoded.pixels))]


def _block(rows: dict[str, Row]) -> pd.DataFrame:
    # Not in the Arrow storage that pandas prefers where pyarrow is installed: it cannot hold a name that is not UTF-8.
    index = pd.Index(list(rows), name="path", dtype=pd.StringDtype("python", na_value=np.nan))
    block = pd.DataFrame(list(rows.values()), index=index, columns=list(COLUMNS))
    return block.astype({"phash": "uint64", "dhash": "uint64"})


def rescan(root: Path, scan: pd.DataFrame, paths: Sequence[str], options: ScanOptions) -> pd.DataFrame:
    """Read some files again without the cache, before a run is refused for what the cache says of them.

    Returns the scan, corrected where a file shows something else; wrong entries leave the cache, with a warning.
    """
    fresh, _ = scan_images(root, paths, ScanOptions(options.frame, remember=False))
    wrong = fresh.index[fresh["content"] != scan.loc[fresh.index, "content"]]
    if wrong.empty:
        return scan
    log.warning(
        "cache: %d entries, such as that of %s, did not match their files, which were read again",
        len(wrong),
        wrong[0],
        extra={"rule": "facts_wrong"},
    )
    if options.remember:
        with ScanCache(root, options.frame, COLUMNS) as cache:
            cache.remove(list(wrong))
    mended: pd.DataFrame = pd.concat([scan.drop(index=wrong), fresh.loc[wrong]]).loc[scan.index]
    return mended


def remove_wrong_entry(root: Path, path: str, content: str, frame: int) -> bool:
    """Remove a file's entry from the cache if it states this content; return whether it did."""
    with ScanCache(root, frame, COLUMNS) as cache:
        row = cache.get([path]).get(path)
        if wrong := row is not None and row[COLUMNS.index("content")] == content:
            cache.remove([path])
    return wrong
