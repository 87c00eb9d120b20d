"""Near copies: every pair within the thresholds is found, and none but those; on real sets, the ones a person sees."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_sets import scene
from PIL import Image, ImageDraw, ImageEnhance
from refusals import refused

from benchmarks.duplicates import scan_like_real
from medcls.data.reading.images import is_junk
from medcls.data.sources.scan import scan_images
from medcls.data.splits.near_duplicates import (
    DETAIL_DISTANCE,
    DHASH_DISTANCE,
    PHASH_DISTANCE,
    known_images,
    near_duplicate_sets,
    near_pairs,
)


def by_brute_force(scan: pd.DataFrame) -> set[tuple[str, str]]:
    paths, phash, dhash = scan.index.to_numpy(), scan["phash"].to_numpy(), scan["dhash"].to_numpy()
    detail = np.array([[int(text[k : k + 16], 16) for k in (0, 16, 32, 48)] for text in scan["detail"]], np.uint64)
    i, j = np.triu_indices(len(scan), 1)
    near = (
        (np.bitwise_count(phash[i] ^ phash[j]) <= PHASH_DISTANCE)
        & (np.bitwise_count(dhash[i] ^ dhash[j]) <= DHASH_DISTANCE)
        & (np.bitwise_count(detail[i] ^ detail[j]).sum(axis=1) <= DETAIL_DISTANCE)
    )
    return set(zip(paths[i[near]], paths[j[near]], strict=True))


def found(pairs: pd.DataFrame) -> set[tuple[str, str]]:
    return set(zip(pairs["first"], pairs["second"], strict=True))


def scan_of(**columns: list[object]) -> pd.DataFrame:
    n = len(columns["phash"])
    rest = {"content": [f"c{k}" for k in range(n)], "contrast": 0.2, "dhash": 0, "detail": "0" * 64}
    scan = pd.DataFrame(rest | columns, index=[f"{k}.png" for k in range(n)])
    return scan.astype({"phash": "uint64", "dhash": "uint64"})


@pytest.mark.parametrize("seed", [0, 1])
def test_p01_every_planted_copy_is_found_and_nothing_else(seed):
    scan, planted = scan_like_real(2000, seed)
    assert len(planted) == 20
    expected = by_brute_force(scan)
    assert planted <= expected
    assert found(near_pairs(scan)) == expected


def test_p01_distances_on_both_sides_of_each_threshold():
    ones = [(1 << bits) - 1 for bits in (PHASH_DISTANCE, PHASH_DISTANCE + 1)]
    # Bits spread so that they fall into all three bands.
    spread = [sum(1 << (7 * k) for k in range(PHASH_DISTANCE)), sum(1 << (7 * k) for k in range(PHASH_DISTANCE + 1))]
    for near, far in (ones, spread):
        assert near_pairs(scan_of(phash=[0, near]))["phash_distance"].tolist() == [PHASH_DISTANCE]
        assert near_pairs(scan_of(phash=[0, far])).empty
    for bits, count in ((DHASH_DISTANCE, 1), (DHASH_DISTANCE + 1, 0)):
        assert len(near_pairs(scan_of(phash=[0, 0], dhash=[0, (1 << bits) - 1]))) == count
    for bits, count in ((DETAIL_DISTANCE, 1), (DETAIL_DISTANCE + 1, 0)):
        assert len(near_pairs(scan_of(phash=[0, 0], detail=["0" * 64, f"{(1 << bits) - 1:064x}"]))) == count


def test_p01_copies_made_as_people_make_them(tmp_path: Path):
    original = scene(0)
    marked = original.copy()
    ImageDraw.Draw(marked).text((20, 220), "RT 3", fill="white")
    made = {
        "jpeg.jpg": original,
        "small.png": original.resize((180, 180)),
        "bright.png": ImageEnhance.Brightness(original).enhance(1.15),
        "cropped.png": original.crop((3, 3, 253, 253)),
        "marked.png": marked,
        "original.png": original,
    }
    for name, image in made.items():
        image.save(tmp_path / name)
    for seed in range(1, 20):
        scene(seed).save(tmp_path / f"other{seed}.png")
    scan, _ = scan_images(tmp_path, sorted(path.name for path in tmp_path.iterdir()))
    groups = pd.Series(near_duplicate_sets(scan.reset_index(), scan), index=scan.index)
    assert groups[list(made)].nunique() == 1
    assert groups.nunique() == 1 + 19
    pairs = near_pairs(scan)
    assert (pairs["first"] < pairs["second"]).all()


def fundus(seed: int, noise: float) -> np.ndarray:
    """A bright disc on black with a shade in a direction of its own, and noise: uint8 `(256, 256)`."""
    draw = np.random.default_rng(seed)
    down, across = np.mgrid[:256, :256] - 127.5
    slopes = draw.uniform(-60, 60, 2)
    shade = 110 + (slopes[0] * down + slopes[1] * across) / 126 + draw.normal(0, noise, (256, 256))
    return np.where(down**2 + across**2 < 126**2, shade, 0).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("noise", [8, 60])
def test_one_frame_round_different_images_makes_no_near_copies(tmp_path: Path, noise: float):
    for seed in range(24):
        Image.fromarray(fundus(seed, noise)).save(tmp_path / f"{seed:02d}.png")
    scan, _ = scan_images(tmp_path, sorted(path.name for path in tmp_path.iterdir()))
    if noise == 8:
        assert len(near_pairs(scan.drop(columns="texture"))) > 10  # the hashes see the frame and the shade
    assert near_pairs(scan).empty


@pytest.mark.parametrize("noise", [8, 60])
def test_p01_copies_within_a_frame_are_found_all_the_same(tmp_path: Path, noise: float):
    for seed in range(8):
        Image.fromarray(fundus(seed, noise)).save(tmp_path / f"{seed:02d}.png")
    original = Image.fromarray(fundus(3, noise))
    made = ["03.png", "03_jpeg.jpg", "03_bright.png", "03_small.png"]
    original.save(tmp_path / made[1], quality=80)
    Image.fromarray((0.95 * fundus(3, noise) + 8).clip(0, 255).astype(np.uint8)).save(tmp_path / made[2])
    original.resize((180, 180)).save(tmp_path / made[3])
    scan, _ = scan_images(tmp_path, sorted(path.name for path in tmp_path.iterdir()))
    groups = pd.Series(near_duplicate_sets(scan.reset_index(), scan), index=scan.index)
    assert groups[made].nunique() == 1
    assert groups.nunique() == 8


def test_textures_that_tell_too_little_refute_no_candidate():
    bits = ["f" * 3 + "0" * 61 + sign * 64 for sign in "f0"]  # twelve cells, and all of them differ
    assert len(near_pairs(scan_of(phash=[0, 0], texture=bits))) == 1
    bits = ["f" * 64 + sign * 64 for sign in "f0"]
    assert near_pairs(scan_of(phash=[0, 0], texture=bits)).empty
    # Seven in ten cells alike are enough, and fewer are not.
    for cells, count in ((45, 1), (44, 0)):
        bits = ["f" * 64 + "0" * 64, "f" * 64 + "0" * cells + "f" * (64 - cells)]
        assert len(near_pairs(scan_of(phash=[0, 0], texture=bits))) == count


def test_equal_hashes_make_a_star_and_equal_contents_no_pair():
    scan = scan_of(phash=[7] * 500, content=["same"] * 100 + [f"c{k}" for k in range(400)])
    pairs = near_pairs(scan)
    assert len(pairs) == 400
    assert set(pairs["first"]) == {"0.png"}
    rows = pd.DataFrame({"path": scan.index, "content": scan["content"].to_numpy()})
    assert len(set(near_duplicate_sets(rows, scan))) == 1


def test_blank_pictures_take_no_part():
    assert len(near_pairs(scan_of(phash=[1 << 63] * 3, contrast=[0.0, 0.0, 0.2]))) == 0
    assert near_pairs(scan_of(phash=[1 << 63] * 3, contrast=[0.0, 0.0, 0.2])).columns.tolist() == [
        "first",
        "second",
        "phash_distance",
        "dhash_distance",
        "detail_distance",
    ]


def test_sets_are_connected_through_others():
    scan = scan_of(phash=[0, 0xFF, 0xFFFF, 0xFFFF << 40])
    assert len(near_pairs(scan)) == 2
    numbers = near_duplicate_sets(scan.rename_axis("path").reset_index(), scan)
    assert len(set(numbers[:3])) == 1
    assert len(set(numbers)) == 2


def test_a_manifest_without_hashes_is_refused():
    with refused("no_image_hashes", "data.keep_near_copies_together"):
        near_duplicate_sets(pd.DataFrame({"path": ["a"], "content": ["c"]}), pd.DataFrame())


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "pairs", "images"),
    # 20 random pairs of each set were looked at: each shows one view, or neighbouring slices of one examination.
    [("brain_tumor", 23, 43), pytest.param("breast_cancer", 203, 311, marks=pytest.mark.slow)],
)
def test_p01_near_copies_of_real_sets(real_data: Path, name: str, pairs: int, images: int):
    root = real_data / name
    paths = sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file() and not is_junk(p))
    scan, _ = scan_images(root, paths)
    near = near_pairs(scan)
    assert (len(near), len(set(near["first"]) | set(near["second"]))) == (pairs, images)


@pytest.mark.slow
@pytest.mark.real
def test_chests_of_different_children_are_no_near_copies(real_data: Path):
    root = real_data / "chest_xray"
    paths = sorted(p.relative_to(root).as_posix() for p in root.glob("t*/NORMAL/*.jpeg"))[:600]
    scan, _ = scan_images(root, paths)
    assert near_pairs(scan).empty


def test_p01_images_among_others_are_those_of_a_comparison_of_all_pairs():
    """Equal contents, equal hashes and near ones, on either side; a chain by way of a third image is none."""
    scan, _ = scan_like_real(600, 3)
    draw = np.random.default_rng(0)
    scan = scan.sample(frac=1, random_state=0)
    # Some contents and some hashes occur twice.
    again = scan.iloc[:20].set_index("again " + scan.index[:20])
    hashes = scan.iloc[20:40].assign(content=[f"other {k}" for k in range(20)])
    scan = pd.concat([scan, again, hashes.set_index("hashes " + hashes.index)])
    is_known = draw.random(len(scan)) < 0.5
    judged, known = scan[~is_known], scan[is_known]
    same, near = known_images(judged, known)
    assert same.tolist() == judged["content"].isin(known["content"]).tolist() and same.any()
    pairs = by_brute_force(scan)
    pairs |= {(b, a) for a, b in pairs}
    beside = {a for a, b in pairs if is_known[scan.index.get_loc(b)]}
    expected = [path in beside and not equal for path, equal in zip(judged.index, same, strict=True)]
    assert near.tolist() == expected and any(expected)
