"""Kinds of TIFF that Pillow would misread are read correctly or refused for what they are."""

import struct

import numpy as np
import pytest
from made_files import random_values, saved, tiff
from PIL import Image
from refusals import noted, refused

from medcls.data.reading import tiff as tiff_tags
from medcls.data.reading.images import decode
from medcls.preprocessing import Decoding


@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize("channels", [3, 4])
def test_planes_of_8_bits_are_read_as_what_they_are(channels: int, compression: int) -> None:
    values = random_values(channels)
    values[..., 3:] = 255
    got = decode(tiff(values, compression, planar=True, extra=(2,) * (channels - 3)), Decoding(3))
    assert np.array_equal(got.pixels, values[..., :3])


def test_a_big_endian_bigtiff_is_named() -> None:
    with refused("unsupported_image", "BigTIFF"):
        decode(b"MM\0+" + bytes(60), Decoding(1))


FORMS = [
    (random_values(3, "uint16"), {"planar": True}, ("3 channels", "16-bit", "PlanarConfiguration 2")),
    (random_values(3, "uint16"), {"planar": True, "compression": 8}, ("3 channels", "16-bit", "PlanarConfiguration 2")),
    (random_values(4, "uint16"), {"planar": True, "extra": (2,)}, ("4 channels", "16-bit", "PlanarConfiguration 2")),
    (random_values(1, "float64"), {}, ("1 channel", "64-bit", "floating-point")),
    (random_values(1, "float16"), {}, ("1 channel", "16-bit", "floating-point")),
    (random_values(3, "float32"), {}, ("3 channels", "32-bit", "floating-point")),
    (random_values(1, "uint64"), {}, ("1 channel", "64-bit")),
    (random_values(1, "complex64"), {}, ("1 channel", "64-bit", "complex")),
    (random_values(3, "int8"), {}, ("3 channels", "8-bit", "signed")),
    (random_values(3, "int16"), {}, ("3 channels", "16-bit", "signed")),
    (random_values(3), {"photometric": 1, "extra": (0, 0)}, ("3 channels", "8-bit")),
    (random_values(3), {"photometric": 1, "extra": (0, 0), "planar": True}, ("3 channels", "8-bit")),
    (random_values(2), {"photometric": 1, "extra": (0,)}, ("2 channels", "8-bit")),
    (random_values(5), {"extra": (0, 0)}, ("5 channels", "8-bit")),
    (random_values(6), {"photometric": 1, "extra": (0,) * 5}, ("6 channels", "8-bit")),
    (random_values(1), {"compression": 34712}, ("34712",)),
]


@pytest.mark.parametrize(("values", "form", "names"), FORMS, ids=[" ".join(names) for _, _, names in FORMS])
def test_a_tiff_that_pillow_would_misread_or_not_read_is_refused_for_what_it_is(
    values: np.ndarray, form: dict, names: tuple[str, ...]
) -> None:
    for channels in (1, 3):
        with refused("unsupported_image", *names):
            decode(tiff(values, **form), Decoding(channels))


def test_a_second_page_of_another_kind_is_refused_for_what_it_is() -> None:
    first, second = Image.fromarray(random_values(1)[..., 0]), tiff(random_values(1, "float64"))
    head = saved(first, "TIFF", save_all=True, append_images=[first])
    assert decode(head, Decoding(1, frame=1)).frames == 2
    # The second page's own directory, moved to the end of the file: its values are not reached.
    start = struct.unpack("<I", head[4:8])[0]
    count = struct.unpack("<H", head[start : start + 2])[0]
    link = start + 2 + 12 * count
    both = head[:link] + struct.pack("<I", len(head)) + head[link + 4 :] + second[8:]
    with refused("unsupported_image", "1 channel", "64-bit", "floating-point"):
        decode(both, Decoding(1, frame=1))


def test_a_fourth_channel_of_no_meaning_is_left_out_and_noted() -> None:
    values = random_values(4)
    got = decode(tiff(values, extra=(0,)), Decoding(3))
    assert np.array_equal(got.pixels, values[..., :3])
    assert len(got.notes) == 1 and noted(got.notes, "channel")


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_what_is_damaged_or_no_tiff_is_not_refused_for_its_kind_of_values() -> None:
    data = tiff(random_values(1, "float64"))
    assert "64-bit" in (tiff_tags.refusal(data, 0) or "")
    empty = data.replace(struct.pack("<HHII", 256, 4, 1, 13), struct.pack("<HHII", 256, 4, 1, 0))
    assert empty != data
    for other in (b"", b"\x89PNG\r\n\x1a\n", data[:4], data[:20], empty):
        assert tiff_tags.refusal(other, 0) is None
    assert tiff_tags.refusal(data, 1) is None, "there is no second page"


def test_one_channel_beyond_red_green_and_blue_is_left_out_and_more_are_misread() -> None:
    rgb = {tiff_tags.PHOTOMETRIC: tiff_tags.RGB, tiff_tags.BITS_PER_SAMPLE: (8,) * 4, tiff_tags.SAMPLES: 4}
    one, two = rgb | {tiff_tags.EXTRA_SAMPLES: (0,)}, rgb | {tiff_tags.EXTRA_SAMPLES: (0, 0)}
    assert tiff_tags.misread(one) is None and len(tiff_tags.left_out(one)) == 1
    assert tiff_tags.misread(two) is not None
    alpha = rgb | {tiff_tags.EXTRA_SAMPLES: (2,)}
    assert tiff_tags.misread(alpha) is None and tiff_tags.left_out(alpha) == ()
    assert tiff_tags.misread({}) is None and tiff_tags.left_out({}) == ()
