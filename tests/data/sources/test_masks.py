"""Segmentation masks among the images are found by content and name together, and nothing else is."""

import itertools
import shlex
from pathlib import Path

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from PIL import Image
from refusals import noted, refused

from medcls.data.sources import masks
from medcls.data.sources.folders import from_folders, list_images


def test_masks_beside_their_picture_are_left_out_aloud(folder, picture):
    root = folder({"a": 2, "b": 2})
    picture(root / "a" / "000_mask.png", 901)
    picture(root / "a" / "000_mask_1.png", 902)
    picture(root / "b" / "lonely_mask.png", 903)  # no picture of that name: it is a picture itself
    rows, notes = list_images(root)
    assert "a/000_mask.png" not in set(rows["path"])
    assert "b/lonely_mask.png" in set(rows["path"])
    assert noted(notes, "2", "a/000_mask.png")


def mask(
    path: Path, seed: int = 0, size: tuple[int, int] = (24, 20), *, empty: bool = False, **options: object
) -> None:
    """A white disc on black, somewhere; or black alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    y, x = np.ogrid[: size[0], : size[1]]
    at = np.random.default_rng(seed).uniform(0.3, 0.7, 2) * size
    disc = (y - at[0]) ** 2 + (x - at[1]) ** 2 < (0.2 * size[0]) ** 2
    Image.fromarray((disc & (not empty)).astype(np.uint8) * 255).save(path, **options)


@pytest.mark.parametrize(
    ("image", "named"),
    [
        ("{label}/{n}.png", "{label}/{n}_segmentation.png"),
        ("{label}/ISIC_{n}.jpg", "{label}/ISIC_{n}_seg.png"),
        ("{label}/{n}.png", "{label}/{n}_GT.png"),
        ("{label}/{n}.png", "{label}/{n}-mask.png"),
        ("{label}/{n}.png", "{label}/mask_{n}.png"),
        ("{label}/{label} ({n}).png", "{label}/{label} ({n})_lesion_2.png"),
        ("{label}/{n}_orig.png", "{label}/{n}_outline.png"),
        ("{label}/{n}_image.png", "{label}/{n}.png"),
        ("{label}/{n}.png", "{label}/{n}m.png"),
        ("{label}/00{n}.bmp", "{label}/00{n}.png"),  # S6: `Dataset 1`, `Dataset 2`
        ("{label}/images/{n}.png", "{label}/masks/{n}.png"),
        ("{label}/{n}.png", "{label}/segmented/{n}.png"),
        ("{label}/images/{n}.png", "{label}/labels/{n}_label.png"),
        ("train/{label}/p{n}.png", "train/{label}/p{n}_roi.png"),
    ],
)
def test_masks_among_the_images_are_found_by_names_and_content_left_out_and_named(folder, picture, image, named):
    root = folder({})
    for label, n in itertools.product(("Dataset 1", "Dataset 2"), range(4)):
        number = n if label == "Dataset 1" else 10 + n
        picture(root / image.format(label=label, n=number), number)
        mask(root / named.format(label=label, n=number), number, empty=n == 3)  # of an image without a lesion
    if "train/" in image:
        for label in ("Dataset 1", "Dataset 2"):
            picture(root / "test" / label / "x.png", 90 + int(label[-1]))
    manifest = from_folders(root, positive="Dataset 1")
    assert len(manifest) == (10 if "train/" in image else 8)
    one = named.format(label="Dataset 1", n=0)
    assert not set(manifest.rows["path"]) & {one, named.format(label="Dataset 1", n=3)}
    assert any(" 8 " in note and f"{one} of {image.format(label='Dataset 1', n=0)}" in note for note in manifest.notes)
    assert [*manifest.scan.index] == manifest.rows["path"].tolist()


def test_jpeg_masks_of_another_size_are_masks_and_grey_pictures_are_none(folder, picture):
    root = folder({"a": 0, "b": 0})
    for n in range(6):
        label = "ab"[n % 2]
        picture(root / label / f"{n}.png", n, (120, 100))
        mask(root / label / f"{n}_x.jpg", n, (200, 200), quality=80)
        picture(root / label / f"{n}_y.png", 100 + n, (120, 100))  # another view of the same
    manifest = from_folders(root, positive="a")
    assert len(manifest) == 12 and not any("_x" in path for path in manifest.rows["path"])
    assert len(from_folders(root, positive="a", masks="keep")) == 18


def test_a_lone_picture_of_two_values_is_no_mask(folder, picture):
    root = folder({"a": 4, "b": 4})
    for n in range(4):
        picture(root / "a" / f"{n}_left.png", 50 + n)
        picture(root / "a" / f"{n}_right.png", 60 + n)
    mask(root / "a" / "1_right.png")  # named as the mask of 1_left would be, but its like are images
    mask(root / "b" / "001_2.png", 1)  # the second of a patient
    mask(root / "b" / "002_black.png", empty=True)  # spoilt
    assert len(from_folders(root, positive="a")) == 18


def test_classes_that_are_masks_are_asked_about(folder, picture):
    root = folder({})
    for label, n in itertools.product("ab", range(7)):
        picture(root / "images" / label / f"{n}.png", n + (label == "b") * 10)
        mask(root / "masks" / label / f"{n}.png", n + (label == "b") * 10)
    with refused("masks_as_class", "'masks': 14", "masks/a/0.png, 7", "'images'", f"data.root={root / 'images'}  "):
        from_folders(root)
    assert from_folders(root / "images", positive="a").classes == ("a", "b")
    assert from_folders(root, positive="images", masks="keep").classes == ("images", "masks")
    with refused("bad_value", "data.masks", "'drop'"):
        from_folders(root, masks="drop")
    # Among several classes the line to type leaves the masks out.
    for n in range(5):
        mask(root / "images" / "segmented ones" / f"s{n}.png", n)
    with refused("masks_as_class") as caught:
        from_folders(root / "images")
    (line,) = [line for line in str(caught.value).split("\n") if "leave_out_unmapped" in line]
    asked = OverridesParser.create().parse_override(shlex.split(line)[0]).value()
    kept = from_folders(root / "images", positive="a", label_map=asked, leave_out_unmapped=True, masks="keep")
    assert kept.classes == ("a", "b") and len(kept) == 14


def test_s6_what_a_label_map_leaves_out_may_be_masks(folder):
    root = folder({"a": 3, "b": 3})
    for n in range(3):
        mask(root / "c" / f"{n}.png", n)
    taken = from_folders(root, positive="a", label_map={"a": ["a"], "b": "b"}, leave_out_unmapped=True)
    assert taken.classes == ("a", "b")


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("a/b/ISIC_0024306-Mask_2.PNG", (("a", "b"), ("isic", "0024306", "mask", "2"), "png")),
        ("病例1_v1.2.jpg", ((), ("病例", "1", "v", "1", "2"), "jpg")),
        ("a.b/noending", (("a.b",), ("noending",), "")),
        ("---.png", ((), (), "png")),
    ],
)
def test_a_path_is_parsed_into_folders_words_and_extension(path, parts):
    assert masks.Name.parse(path) == masks.Name(*parts)


@pytest.mark.parametrize(
    ("mask", "image", "difference"),
    [
        ("a/masks", "a/images", (("masks",), ("images",))),
        ("a/masks", "a", (("masks",), ())),
        ("a", "images/a", ((), ("images",))),
        ("a/x", "a/x", ((), ())),
        ("a/b", "c/d", None),
        ("a/m/x", "a", None),
    ],
)
def test_the_folders_of_a_mask_and_its_image_differ_in_one_at_most(mask, image, difference):
    assert masks.folder_difference(tuple(mask.split("/")), tuple(image.split("/"))) == difference


def test_each_occurrence_of_a_word_may_be_the_one_that_a_mask_has():
    assert list(masks.replaced(("m", "1", "m"), ("m",), ("x",))) == [("x", "1", "m"), ("m", "1", "x")]
    assert list(masks.replaced(("a", "b"), ("a", "b"), ())) == [()]
    assert list(masks.replaced(("a",), (), ("seg",))) == [("seg", "a"), ("a", "seg")]
    assert list(masks.replaced(("a",), ("b",), ("c",))) == [] and list(masks.replaced(("a",), (), ())) == [("a",)]


def test_a_shortened_name_keeps_a_word_and_loses_no_number_alone():
    short = list(masks.shortened(("p", "1", "mask")))
    assert short[0] == (("p", "1", "mask"), (), 0)
    assert [(run, place) for _, run, place in short[1:]] == [(("p",), 0), (("mask",), 2), (("p", "1"), 0)]
    assert list(masks.shortened(("mask",))) == [(("mask",), (), 0)]


def test_the_note_on_masks_counts_them_and_names_one_and_the_setting():
    assert masks.note_on_masks({}) == []
    (note,) = masks.note_on_masks({"b_mask.png": "b.png", "a\nmask.png": "a.png"})
    assert noted([note], "2", "a.png") and "data.masks=keep" in note and "\n" not in note
