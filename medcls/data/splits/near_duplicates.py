"""Near duplicates: images that look almost the same but differ in their pixels, found without comparing all pairs.

Perceptual hashes of an image saved again, resized, brightened or marked with callipers differ in a few bits. Pairs with
close 64-bit hashes are candidates; the 256-bit hash, of finer detail, decides.

The thresholds were chosen by looking at pairs of five public sets (brain MRI twice, breast ultrasound, chest X-rays,
dermoscopy). The 64-bit hashes alone are not enough: within 8 and 10 bits are thousands of pairs of chest X-rays of
different children, since all chests have one composition. In the finer hash the closest two differ by 40 of 256 bits,
while 38 still finds images of one ultrasound view. Neighbouring slices of one MRI examination are within it too, as
they should be: they must not be in two splits.

The hashes mostly see shading and a frame that all images share, as the black round fundus photographs. So a candidate
counts only if the texture within the frame agrees (`texture` in `medcls.data.sources.image_statistics`). Of different
images about half of the cells agree; of the pairs of the ultrasound set and the small MRI set at least 94%, of those of
the other MRI set, many of them neighbouring slices, at least 80% in nineteen pairs of twenty.
"""

from collections.abc import Iterator
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
"""Share of the cells of both textures that must be brighter, or darker, in both; one half by chance."""
FEW_CELLS = 16

BLANK = 0.004
"""An image with a smaller standard deviation of grey, of 1, has nothing to compare: one step of 255."""

# Multi-index hashing (Norouzi, Punjani and Fleet, CVPR 2012). Wide bands give few false candidates; hashes within 8
# bits differ by at most 2 in one of three bands. The bits of the cosine transform are taken column by column:
# bands of real images then collide up to half as often as row by row.
BAND_BITS = (22, 21, 21)
COLUMNS_FIRST = np.arange(64).reshape(8, 8).T.ravel()
CHUNK = 1 << 22  # candidate pairs compared at a time: bounds the memory


def near_pairs(scan: pd.DataFrame) -> pd.DataFrame:
    """Find the pairs of near duplicates.

    Duplicates are not paired with each other, and only the first path of each content is compared: to group images by
    pairs, join equal contents as well. Of different images with the same three hashes, each is paired with the first,
    which alone is compared with others, so that a thousand equal ones give a thousand pairs, not half a million. Blank
    images are ignored.

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
    images = scan[scan["contrast"] >= BLANK].sort_index()
    images = images[~images["content"].duplicated()]
    paths = images.index.to_numpy(dtype=object)
    phash, dhash = images["phash"].to_numpy(np.uint64), images["dhash"].to_numpy(np.uint64)
    detail = np.frombuffer(bytes.fromhex("".join(images["detail"])), dtype=">u8").astype(np.uint64).reshape(-1, 4)

    # The first of each set of equal hashes, in the order of paths, and which one that is for each image.
    texture = images["texture"].to_numpy(str) if "texture" in images else np.full(len(images), "")
    alike = pd.DataFrame({"phash": phash, "dhash": dhash, "detail": images["detail"].to_numpy(), "texture": texture})
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


def near_duplicate_sets(rows: pd.DataFrame, scan: pd.DataFrame) -> np.ndarray:
    """Number the sets of images connected by duplicates and near duplicates, int64 `(len(rows),)`."""
    if scan.empty:
        raise MedclsError(
            "data.keep_near_copies_together=true compares hashes of the images, which this manifest lacks: it was not "
            "made by reading the images. Make it from a folder or a CSV, or set it to false.",
            kind="no_image_hashes",
        )
    near = near_pairs(scan[scan.index.isin(rows["path"])])
    known = rows[rows["content"] != ""]
    same = pd.DataFrame({"first": known.groupby("content")["path"].transform("first"), "second": known["path"]})
    index, pairs = pd.Index(rows["path"]), pd.concat([near, same])
    ends = index.get_indexer(pd.Index(pairs["first"])), index.get_indexer(pd.Index(pairs["second"]))
    graph = coo_array((np.ones(len(pairs), dtype=bool), ends), shape=(len(index), len(index)))
    numbers: np.ndarray = connected_components(graph, directed=False)[1].astype(np.int64)
    return numbers


def known_images(scan: pd.DataFrame, known: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Find the images that are among other, known ones.

    Parameters
    ----------
    scan, known : DataFrame
        As `near_pairs` takes them, with any index.

    Returns
    -------
    same, near : ndarray
        bool `(len(scan),)`: the same content as a known image, and a near duplicate of one but not the same.
    """
    of_known = set(known["content"]) - {""}
    content = scan["content"].to_numpy(object)
    same = np.isin(content, list(of_known))
    both = pd.concat([scan, known])
    pairs = near_pairs(both.set_index(pd.Index(np.arange(len(both)).astype(str), name="path")))
    contents = both["content"].to_numpy(object)
    first, second = (contents[pairs[side].to_numpy().astype(int)] for side in ("first", "second"))
    # Of images with equal hashes only the first was compared with others: its near duplicates are those of all.
    equal = (pairs[["phash_distance", "dhash_distance", "detail_distance"]] == 0).all(axis=1).to_numpy()
    leader = dict(zip(second[equal], first[equal], strict=True))
    led = np.array([leader.get(one, one) for one in contents], dtype=object)
    reached = set(led[len(scan) :])
    first, second = (np.array([leader.get(one, one) for one in side], dtype=object) for side in (first, second))
    beside = {a for a, b in zip(first, second, strict=True) if b in reached}
    beside |= {b for a, b in zip(first, second, strict=True) if a in reached}
    near = np.array([one in beside or one in reached for one in led[: len(scan)]], dtype=bool) & ~same
    return same, near


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
    """Whether the textures of pairs agree, bool `(pairs,)`; true if they have too few cells to tell."""
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

    Of t differing bits over m bands, some band has at most t // m; and since t - m * (t // m) + 1 bands with more would
    make more than t, the bands after those need only be searched to one bit less.
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
            # Each pair of values once, and each pair of rows of one value once.
            start = begins[other] if mask else np.arange(1, len(order) + 1)
            count = np.where(band <= other, begins[other + 1] - start, 0)
            for rows in _chunks(count):
                left = np.repeat(rows, count[rows])
                right = np.arange(len(left)) + np.repeat(start[rows] + count[rows] - count[rows].cumsum(), count[rows])
                close = np.bitwise_count(ordered[left] ^ ordered[right]) <= PHASH_DISTANCE
                yield order[left[close]], order[right[close]]


def _bands(hashes: np.ndarray) -> Iterator[np.ndarray]:
    """Divide hashes into bands, each int64 `(n,)`."""
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
    """Divide the rows that have candidates into runs of about `CHUNK` candidates (one row is not divided)."""
    rows = np.flatnonzero(count)
    if len(rows):
        yield from np.split(rows, np.flatnonzero(np.diff(count[rows].cumsum() // CHUNK)) + 1)
