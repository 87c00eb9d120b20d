"""Every file looked at once, before anything is trained: what it holds, and whether it can be read at all."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from medcls.data import images
from medcls.data.images import UnreadableImage
from medcls.data.traits import Traits, traits
from medcls.preprocessing import Decoding

# How many pictures are handed to the threads at a time: bounds the queue, and how long a Ctrl-C waits.
BATCH = 256


@dataclasses.dataclass(frozen=True, slots=True)
class Facts:
    """What is kept of a file: its `content` (see `Decoded.content`); sizes in pixels, as it stands; bytes on disk."""

    content: str
    width: int
    height: int
    format: str
    mode: str
    bits: int
    frames: int
    bytes: int
    notes: str
    traits: Traits


def survey(
    root: Path,
    paths: Sequence[str],
    *,
    frame: int = 0,
    remember: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[pd.DataFrame, list[UnreadableImage]]:
    """Read every file once, as RGB, and keep what it shows but not its pixels.

    Parameters
    ----------
    root : Path
        The folder that the paths are relative to.
    paths : sequence of str
        Relative, with forward slashes.
    frame : int
        Which frame or page of several.
    remember : bool
        Take what is known of a file that has not changed (same place, size and time) from the cache,
        and keep what is found out there.
    progress : callable, optional
        Called in this thread with how many files are done and how many there are.

    Returns
    -------
    facts : DataFrame
        Indexed by `path`, in the order given, unreadable files left out. Columns: those of `Facts`
        but for `traits`, then those of `Traits`.
    failures : list of UnreadableImage
        All of them, in the order of `paths`.
    """

    def look(path: str) -> Facts | UnreadableImage:
        try:
            decoded = images.read(root / path, Decoding(frame=frame))
            return Facts(
                decoded.content,
                decoded.pixels.shape[1],
                decoded.pixels.shape[0],
                decoded.format,
                decoded.mode,
                decoded.bits,
                decoded.frames,
                (root / path).stat().st_size,
                "; ".join(decoded.notes),
                traits(decoded.pixels),
            )
        except UnreadableImage as error:
            # Its cause holds frames, and so the bytes of the file; a long list of failures must not.
            return UnreadableImage(error.reason, error.path)

    found: list[dict[str, object]] = []
    readable: list[str] = []
    failures: list[UnreadableImage] = []
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for start in range(0, len(paths), BATCH):
            chunk = paths[start : start + BATCH]
            for path, outcome in zip(chunk, pool.map(look, chunk), strict=True):
                if isinstance(outcome, UnreadableImage):
                    failures.append(outcome)
                else:
                    flat = dataclasses.asdict(outcome)
                    glance = flat.pop("traits")
                    found.append(flat | glance)
                    readable.append(path)
                if progress is not None:
                    progress(len(readable) + len(failures), len(paths))
    columns = [field.name for kind in (Facts, Traits) for field in dataclasses.fields(kind) if field.name != "traits"]
    facts = pd.DataFrame(found, columns=columns, index=pd.Index(readable, name="path"))
    return facts.astype({"phash": "uint64", "dhash": "uint64"}), failures
