"""Every file looked at once, before anything is trained: what it holds, and whether it can be read at all."""

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pandas as pd

from medcls import cpu
from medcls.data.reading import images
from medcls.data.reading.images import UnreadableImage
from medcls.data.sources.fact_store import Fact, FactStore
from medcls.data.sources.traits import Traits, traits
from medcls.preprocessing import Decoding

log = logging.getLogger(__name__)

# How many files are asked for, read and remembered at a time: what a kill can lose.
BATCH = 1024
# How many rows become arrays at a time.
BLOCK = 16_384


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

    def values(self) -> Fact:
        """In the order of `COLUMNS`."""
        own = [getattr(self, field.name) for field in dataclasses.fields(self)]
        return [*own[:-1], *dataclasses.astuple(self.traits)]


COLUMNS = (
    *(field.name for field in dataclasses.fields(Facts) if field.name != "traits"),
    *(field.name for field in dataclasses.fields(Traits)),
)


def scan_images(
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
        Take what is known of a file that has not changed (same place, size and times) from the cache,
        and keep what is found out there. Unreadable files are not remembered.
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
            return UnreadableImage(error.reason, error.path, error.kind)

    table = FactsTable()
    failures: list[UnreadableImage] = []
    say = progress or (lambda done, total: None)
    done = 0
    with (
        ThreadPoolExecutor(cpu.available_cores()) as pool,
        FactStore(root, frame, COLUMNS) if remember else nullcontext() as store,
    ):
        for start in range(0, len(paths), BATCH):
            chunk = paths[start : start + BATCH]
            facts = store.recall(chunk) if store else {}
            if facts:
                say(done := done + len(facts), len(paths))
            unread = [path for path in chunk if path not in facts]
            fresh: dict[str, Fact] = {}
            for path, outcome in zip(unread, pool.map(look, unread), strict=True):
                if isinstance(outcome, UnreadableImage):
                    failures.append(outcome)
                else:
                    fresh[path] = outcome.values()
                say(done := done + 1, len(paths))
            if store:
                store.keep(fresh)
            facts |= fresh
            table.add([path for path in chunk if path in facts], facts)
    return table.frame(), failures


def looked_at_again(
    root: Path, facts: pd.DataFrame, paths: Sequence[str], *, frame: int = 0, remember: bool = True
) -> pd.DataFrame:
    """Read some files again, whatever the cache says of them, before a run is refused for what it says.

    Parameters
    ----------
    root, frame, remember
        As of `scan_images`.
    facts : DataFrame
        As `scan_images` gave them.
    paths : sequence of str
        Which of them.

    Returns
    -------
    DataFrame
        `facts`, and where a file shows something else, what it shows. The cache forgets such a file, and that is said.
    """
    fresh, _ = scan_images(root, paths, frame=frame, remember=False)
    wrong = fresh.index[fresh["content"] != facts.loc[fresh.index, "content"]]
    if wrong.empty:
        return facts
    log.warning(
        "cache: of %d file(s), such as %s, it said what they do not show: they were read again",
        len(wrong),
        wrong[0],
        extra={"rule": "facts_wrong"},
    )
    if remember:
        with FactStore(root, frame, COLUMNS) as store:
            store.forget(list(wrong))
    together = pd.concat([facts.drop(index=wrong), fresh.loc[wrong]])
    return together.loc[facts.index]


def forgotten(root: Path, path: str, content: str, *, frame: int = 0) -> bool:
    """Make the cache forget a file of which it says this content, though the file shows another and has not changed.

    Returns
    -------
    bool
        False where it says nothing of the file as it is now, or something else.
    """
    with FactStore(root, frame, COLUMNS) as store:
        said = store.recall([path]).get(path)
        if wrong := said is not None and said[COLUMNS.index("content")] == content:
            store.forget([path])
    return wrong


class FactsTable:
    """Rows gathered into blocks of arrays as they come: a million of them as Python objects would fill the memory."""

    def __init__(self) -> None:
        self._paths: list[str] = []
        self._rows: list[Fact] = []
        self._blocks: list[pd.DataFrame] = []

    def add(self, paths: Sequence[str], facts: Mapping[str, Fact]) -> None:
        """Append these, in the order of `paths`."""
        self._paths += paths
        self._rows += [facts[path] for path in paths]
        if len(self._rows) >= BLOCK:
            self._close_block()

    def frame(self) -> pd.DataFrame:
        """All that was added, indexed by path."""
        self._close_block()
        return pd.concat(self._blocks, ignore_index=True).set_axis(pd.Index(self._paths, name="path", dtype="str"))

    def _close_block(self) -> None:
        if not self._rows and self._blocks:
            return
        block = pd.DataFrame(self._rows, columns=list(COLUMNS))
        self._blocks.append(block.astype({"phash": "uint64", "dhash": "uint64"}))
        self._rows = []
