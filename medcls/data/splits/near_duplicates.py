"""Near copies: pictures that look almost the same but differ in their pixels, found without comparing all pairs.

Perceptual hashes tell them: of one picture saved again, resized, brightened or marked with callipers they differ in a
few bits. Pairs whose 64-bit hashes lie close are candidates; the 256-bit hash, which sees finer detail, decides.

The thresholds were chosen by looking at pairs of five public sets (brain MRI twice, breast ultrasound, chest X-rays,
dermoscopy). The 64-bit hashes alone will not do: at 8 and 10 bits thousands of chest X-rays of different children
count as one, for all chests have one composition. The finer hash parts them: the closest two differ in 40 of 256
bits, while 38 still holds together what is one ultrasound view. Neighbouring slices of one MRI examination fall
within it too, as they should: they must not stand on two sides of a split.

A frame that all pictures share, as the black round fundus photographs, and a shade are most of what the hashes see. So
a candidate counts only where what is left within the frame, once the shade is taken off, agrees too (`texture` in
`medcls.data.sources.traits`). Of different pictures about half of the cells do; of the pairs of the ultrasound set and
the small MRI set at least 94%, of those of the other MRI set, many of them neighbouring slices, at least 80% in
nineteen pairs of twenty.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from medcls.errors import MedclsError

PHASH_DISTANCE = 8
"""Bits of 64."""
DHASH_DISTANCE = 10
"""Bits of 64."""
DETAIL_DISTANCE = 38
"""Bits of 256."""

AGREEMENT = 0.7
"""Share of the cells of both textures that must be brighter, or darker, in both: by chance it is one half."""
FEW_CELLS = 16

BLANK = 0.004
"""A picture whose grey values spread less than this, of 1, has nothing on it to compare: one step of 255."""

# Multi-index hashing (Norouzi, Punjani and Fleet, CVPR 2012). Wide bands find few false candidates; with three of
# them, hashes within 8 bits agree in one band but for 2. The bits of the cosine transform are taken column by column:
# so bands of real pictures collide less often than row by row, by up to a half in the five sets.
BAND_BITS = (22, 21, 21)
COLUMNS_FIRST = np.arange(64).reshape(8, 8).T.ravel()
CHUNK = 1 << 22  # candidate pairs looked at in one go: bounds the memory


def near_pairs(scan: pd.DataFrame) -> pd.DataFrame:
    """Find the pairs of pictures that look almost the same.

    Copies with the same content are not pairs, and all but the first path of a picture stand back: whoever joins
    pairs into groups joins equal contents as well. Different pictures with the same three hashes are each paired with
    the first of them, which alone is compared with others, so that a thousand alike give a thousand pairs, not half
    a million. Blank pictures take no part.

    Parameters
    ----------
    scan : DataFrame
        Indexed by path, with the columns `content`, `contrast`, `phash`, `dhash` and `detail`: see `scan_images`.

    Returns
    -------
    DataFrame
        Columns `first` and `second` (paths, `first` < `second`), `phash_distance`, `dhash_distance` (bits of 64) and
        `detail_distance` (bits of 256); sorted by the paths.
    """
    seen = scan[scan["contrast"] >= BLANK].sort_index()
    seen = seen[~seen["content"].duplicated()]
    paths = seen.index.to_numpy(dtype=object)
    phash, dhash = seen["phash"].to_numpy(np.uint64), seen["dhash"].to_numpy(np.uint64)
    detail = np.frombuffer(bytes.fromhex("".join(seen["detail"])), dtype=">u8").astype(np.uint64).reshape(-1, 4)

    # The first of each set of equal hashes, in the order of paths, and for each picture which one that is.
    texture = seen["texture"].to_numpy(str) if "texture" in seen else np.full(len(seen), "")
    alike = pd.DataFrame({"phash": phash, "dhash": dhash, "detail": seen["detail"].to_numpy(), "texture": texture})
    firsts = np.flatnonzero(~alike.duplicated())
    leader = firsts[alike.groupby(list(alike), sort=False).ngroup().to_numpy()]
    followers = np.flatnonzero(leader != np.arange(len(leader)))

    near = firsts[_near(phash[firsts], dhash[firsts], detail[firsts])]
    near = near[_agree(texture[near[:, 0]], texture[near[:, 1]])]
    first = np.concatenate([near[:, 0], leader[followers]])
    second = np.concatenate([near[:, 1], followers])
    pairs = pd.DataFrame(
        {
            "first": paths[first],
            "second": paths[second],
            "phash_distance": np.bitwise_count(phash[first] ^ phash[second]).astype(np.int64),
            "dhash_distance": np.bitwise_count(dhash[first] ^ dhash[second]).astype(np.int64),
            "detail_distance": np.bitwise_count(detail[first] ^ detail[second]).sum(axis=1, dtype=np.int64),
        }
    )
    return pairs.iloc[np.lexsort((second, first))].reset_index(drop=True)


def near_groups(pairs: pd.DataFrame, paths: Sequence[str]) -> np.ndarray:
    """Number the sets of pictures that hang together by pairs; a picture without a pair is a set of its own.

    Parameters
    ----------
    pairs : DataFrame
        With `first` and `second`; pairs of which one side is not among the paths are passed over.
    paths : sequence of str
        Unique.

    Returns
    -------
    ndarray
        int64 `(len(paths),)`.
    """
    index = pd.Index(paths)
    first, second = index.get_indexer(pd.Index(pairs["first"])), index.get_indexer(pd.Index(pairs["second"]))
    known = (first >= 0) & (second >= 0)
    ends = (first[known], second[known])
    graph = coo_array((np.ones(len(ends[0]), dtype=bool), ends), shape=(len(index), len(index)))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def near_sets(rows: pd.DataFrame, scan: pd.DataFrame) -> np.ndarray:
    """Number the sets of images that look almost the same or are the same, int64 `(len(rows),)`.

    Parameters
    ----------
    rows, scan : DataFrame
        As a manifest holds them.

    Raises
    ------
    MedclsError
        The manifest does not carry the pictures' hashes.
    """
    if scan.empty:
        raise MedclsError(
            "data.keep_near_copies_together=true compares the pictures' hashes, which this manifest does not carry: it "
            "was not made by reading the images. Make it from a folder or a CSV, or set it to false.",
            kind="no_image_hashes",
        )
    near = near_pairs(scan[scan.index.isin(rows["path"])])
    known = rows[rows["content"] != ""]
    same = pd.DataFrame({"first": known.groupby("content")["path"].transform("first"), "second": known["path"]})
    return near_groups(pd.concat([near, same]), rows["path"].tolist())


def _near(phash: np.ndarray, dhash: np.ndarray, detail: np.ndarray) -> np.ndarray:
    """All pairs `i < j` within the three thresholds, int64 `(pairs, 2)`."""
    found = [np.empty((0, 2), dtype=np.int64)]
    for i, j in _close(phash):
        close = np.bitwise_count(dhash[i] ^ dhash[j]) <= DHASH_DISTANCE
        i, j = i[close], j[close]
        close = np.bitwise_count(detail[i] ^ detail[j]).sum(axis=1, dtype=np.int64) <= DETAIL_DISTANCE
        found.append(np.column_stack([np.minimum(i, j), np.maximum(i, j)])[close])
    # A pair may agree in several bands.
    return np.unique(np.concatenate(found), axis=0)


def _agree(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Whether the textures of pairs correlate, bool `(pairs,)`; true where they have too few cells to tell."""
    if not len(first) or not first[0]:
        return np.ones(len(first), dtype=bool)
    bits = [np.frombuffer(bytes.fromhex("".join(side)), np.uint8).reshape(len(side), 2, -1) for side in (first, second)]
    both = bits[0][:, 0] & bits[1][:, 0]
    tell = np.bitwise_count(both).sum(axis=1, dtype=np.int64)
    same = np.bitwise_count(both & ~(bits[0][:, 1] ^ bits[1][:, 1])).sum(axis=1, dtype=np.int64)
    confirmed: np.ndarray = (same >= AGREEMENT * tell) | (tell < FEW_CELLS)
    return confirmed


def _close(hashes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All pairs within `PHASH_DISTANCE`, in portions; one that agrees in several bands comes several times.

    Of t differing bits over m bands, some band has at most t // m; and since t - m * (t // m) + 1 bands with more
    would make more than t, the bands after those need only be searched to one bit less.
    """
    radius, rest = divmod(PHASH_DISTANCE, len(BAND_BITS))
    for number, (band, bits) in enumerate(zip(_bands(hashes), BAND_BITS, strict=True)):
        order = np.argsort(band, kind="stable")
        band, ordered = band[order], hashes[order]
        # Where in that order each value of the band begins.
        begins = np.zeros((1 << bits) + 1, dtype=np.int32)
        np.cumsum(np.bincount(band, minlength=1 << bits), out=begins[1:])
        for mask in _masks(bits, radius if number <= rest else radius - 1):
            other = band ^ mask
            # Each pair of values once, and of one value each pair of rows once.
            start = begins[other] if mask else np.arange(1, len(order) + 1)
            count = np.where(band <= other, begins[other + 1] - start, 0)
            for rows in _chunks(count):
                left = np.repeat(rows, count[rows])
                right = np.arange(len(left)) + np.repeat(start[rows] + count[rows] - count[rows].cumsum(), count[rows])
                close = np.bitwise_count(ordered[left] ^ ordered[right]) <= PHASH_DISTANCE
                yield order[left[close]], order[right[close]]


def _bands(hashes: np.ndarray) -> Iterator[np.ndarray]:
    """Cut hashes into bands, each int64 `(n,)`."""
    start = 0
    for bits in BAND_BITS:
        band = np.zeros(len(hashes), dtype=np.int64)
        for place, bit in enumerate(COLUMNS_FIRST[start : start + bits]):
            band |= ((hashes >> np.uint64(bit)) & np.uint64(1)).astype(np.int64) << place
        start += bits
        yield band


def _masks(bits: int, radius: int) -> Iterator[int]:
    """Every way to change at most `radius` bits."""
    for changed in range(radius + 1):
        for places in combinations(range(bits), changed):
            yield sum(1 << place for place in places)


def _chunks(count: np.ndarray) -> Iterator[np.ndarray]:
    """Cut the rows that have candidates into runs of about `CHUNK` candidates (one row's are not cut)."""
    rows = np.flatnonzero(count)
    if len(rows):
        yield from np.split(rows, np.flatnonzero(np.diff(count[rows].cumsum() // CHUNK)) + 1)
