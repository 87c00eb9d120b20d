"""One decoder: whatever a picture was saved as, red stays red, up stays up, and what is damaged is said."""

import io
import json
import os
import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from made_files import deep_file, png, saved, tiff
from PIL import Image, ImageFile
from refusals import check, noted, refused

from medcls.data.reading import images, raster
from medcls.data.reading.decoded import UnreadableImage, content_hash
from medcls.data.reading.images import decode, is_image_name, is_junk, read, resize, resize_back
from medcls.preprocessing import Decoding

RED, GREEN, BLUE = (200, 30, 10), (20, 180, 40), (15, 25, 220)


def thirds(height: int = 48, width: int = 96) -> np.ndarray:
    """Red, green and blue from left to right, each brighter below, so that no turn or flip leaves it equal."""
    pixels = np.empty((height, width, 3), np.uint8)
    for k, colour in enumerate((RED, GREEN, BLUE)):
        pixels[:, k * width // 3 : (k + 1) * width // 3] = colour
    pixels[: height // 2] //= 2
    return pixels


def luma(pixels: np.ndarray) -> np.ndarray:
    return np.round(pixels @ np.array([0.299, 0.587, 0.114])).astype(int)


def coloured_files() -> dict[str, tuple[bytes, int]]:
    """Every format and mode that carries colour, of the same picture, and how far a pixel may be off."""
    pixels = thirds()
    rgb = Image.fromarray(pixels)
    rgba = rgb.convert("RGBA")
    palette = rgb.convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
    see_through = palette.copy()
    see_through.info["transparency"] = bytes([255] * 16)
    cmyk = rgb.convert("CMYK")
    wide = (pixels.astype(">u2") * 257).reshape(48, -1).view(np.uint8)
    wide_rgba = np.concatenate([pixels.astype(">u2") * 257, np.full((48, 96, 1), 65535, ">u2")], axis=2)
    return {
        "JPEG": (saved(rgb, "JPEG", quality=98, subsampling=0), 6),
        "JPEG-progressive": (saved(rgb, "JPEG", quality=98, subsampling=0, progressive=True), 6),
        "JPEG-CMYK": (saved(cmyk, "JPEG", quality=98), 8),
        "PNG": (saved(rgb, "PNG"), 0),
        "PNG-RGBA": (saved(rgba, "PNG"), 0),
        "PNG-palette": (saved(palette, "PNG"), 0),
        "PNG-palette-transparency": (saved(see_through, "PNG"), 0),
        "PNG-16": (png(16, 2, wide), 0),
        "PNG-16-alpha": (png(16, 6, wide_rgba.reshape(48, -1).view(np.uint8)), 0),
        "BMP": (saved(rgb, "BMP"), 0),
        "BMP-palette": (saved(palette, "BMP"), 0),
        "TIFF": (saved(rgb, "TIFF"), 0),
        "TIFF-LZW": (saved(rgb, "TIFF", compression="tiff_lzw"), 0),
        "TIFF-RGBA": (saved(rgba, "TIFF"), 0),
        "TIFF-CMYK": (saved(cmyk, "TIFF"), 1),
        "TIFF-palette": (saved(palette, "TIFF"), 0),
        "WebP": (saved(rgb, "WEBP", lossless=True), 0),
        "WebP-alpha": (saved(rgba, "WEBP", lossless=True), 0),
        "GIF": (saved(palette, "GIF"), 0),
        "PPM": (saved(rgb, "PPM"), 0),
    }


@pytest.mark.parametrize("kind", coloured_files())
def test_p18_colour_order_is_the_same_in_every_format(kind: str) -> None:
    data, off = coloured_files()[kind]
    got = decode(data, Decoding(3, window="full"))
    assert got.pixels.shape == (48, 96, 3)
    assert got.pixels.dtype == np.uint8
    assert got.pixels.flags.writeable
    # The edges between the thirds, where JPEG rings, are left out.
    inner = np.r_[2:30, 34:62, 66:94]
    error = np.abs(got.pixels.astype(int) - thirds())[4:20, inner]
    assert error.max() <= off, (kind, got.pixels[30, [10, 40, 80]])
    grey = decode(data, Decoding(1, window="full")).pixels
    assert grey.shape == (48, 96, 1)
    assert np.abs(grey[4:20, inner, 0].astype(int) - luma(thirds())[4:20, inner]).max() <= off + 1


def test_p18_swapped_colours_would_be_noticed() -> None:
    """The guard guarded: the same picture read blue first is far outside what the test above allows."""
    assert np.abs(thirds()[..., ::-1].astype(int) - thirds()).max() > 100


@pytest.mark.parametrize(
    "kind", ["L", "L-JPEG", "L-TIFF", "LA", "1", "I;16", "I;16-TIFF", "I;16B-TIFF", "LA;16", "PGM", "PGM16"]
)
def test_p18_grey_modes(kind: str) -> None:
    ramp = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (16, 1))
    grey = Image.fromarray(ramp)
    big = np.tile((np.arange(64) * 4 * 257).astype(np.uint16), (16, 1))
    data = {
        "L": lambda: saved(grey, "PNG"),
        "L-JPEG": lambda: saved(grey, "JPEG", quality=100),
        "L-TIFF": lambda: saved(grey, "TIFF"),
        "LA": lambda: saved(grey.convert("LA"), "PNG"),
        "1": lambda: saved(Image.fromarray((ramp > 127).astype(np.uint8) * 255).convert("1"), "PNG"),
        "I;16": lambda: saved(Image.fromarray(big), "PNG"),
        "I;16-TIFF": lambda: saved(Image.fromarray(big), "TIFF"),
        "I;16B-TIFF": lambda: saved(Image.fromarray(big.astype(">u2")), "TIFF"),
        "LA;16": lambda: png(
            16, 4, np.stack([big, np.full_like(big, 65535)], 2).astype(">u2").reshape(16, -1).view(np.uint8)
        ),
        "PGM": lambda: saved(grey, "PPM"),
        "PGM16": lambda: b"P5\n64 16\n65535\n" + big.astype(">u2").tobytes(),
    }[kind]()
    want = (ramp > 127) * 255 if kind == "1" else ramp
    got = decode(data, Decoding(1, window="full"))
    assert np.abs(got.pixels[..., 0].astype(int) - want).max() <= (1 if kind == "L-JPEG" else 0), got.mode
    three = decode(data, Decoding(3, window="full")).pixels
    assert (three == got.pixels).all()
    assert ("16" in kind) == noted(got.notes, "16 bits")


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PGM", "text PGM", "PPM", "RGB PNG", "RGB TIFF", "RGB LZW TIFF"])
def test_16_bits_are_stored_whole_and_shown_by_a_stated_window(kind: str) -> None:
    channels = 3 if kind.startswith(("RGB", "PPM")) else 1
    values = np.random.default_rng(3).integers(212, 3892, (24, 30, channels), np.uint16)
    got = decode(deep_file(values, kind), Decoding(channels, window=(1000, 2000)))
    assert got.stored.dtype == np.uint16
    assert np.array_equal(got.stored, values)
    want = np.rint((values.astype(float) - 1000).clip(0, 1000) / 1000 * 255)
    assert np.array_equal(got.pixels, want)
    most = 12 if kind in ("PGM", "text PGM", "PPM") else 16
    assert len(got.notes) == 1 and noted(got.notes, f"{most} bits", "8", "1000 to 2000")


def test_the_images_own_percentiles_are_the_window_where_none_is_stated() -> None:
    values = np.arange(1000, 2000, dtype=np.uint16).reshape(20, 50, 1)
    got = decode(deep_file(values, "PNG"), Decoding(1))
    assert len(got.notes) == 1 and noted(got.notes, "16 bits", "8", "0.5", "99.5", "1004 to 1994")
    assert np.array_equal(got.pixels, np.rint((values.astype(float) - 1004).clip(0, 990) / 990 * 255))
    assert len(np.unique(got.pixels)) == 256, "12-bit values in a 16-bit file keep all greys"
    assert decode(deep_file(values, "PNG"), Decoding(1, window="full")).pixels.max() == round(1999 / 257)


@pytest.mark.parametrize("window", [None, "full", (100.0, 60000.0)])
def test_16_bits_out_are_the_same_window_with_finer_steps(window: object) -> None:
    values = np.random.default_rng(4).integers(0, 65536, (30, 40, 1), np.uint16)
    fine = decode(deep_file(values, "PNG"), Decoding(1, bits=16, window=window))
    assert fine.pixels.dtype == np.uint16
    coarse = decode(deep_file(values, "PNG"), Decoding(1, bits=8, window=window)).pixels
    assert np.abs(fine.pixels / 257 - coarse).max() <= 0.51
    if window == "full":
        assert np.array_equal(fine.pixels, values)
    assert decode(deep_file(values, "PNG"), Decoding(3, bits=16, window=window)).pixels.shape == (30, 40, 3)


def test_8_bits_are_spread_over_16_and_no_window_touches_them() -> None:
    data = saved(Image.fromarray(thirds()), "PNG")
    got = decode(data, Decoding(3, bits=16, window=(100, 120)))
    assert got.pixels.dtype == np.uint16
    assert np.array_equal(got.pixels, thirds().astype(np.uint16) * 257)
    assert np.array_equal(got.stored, thirds())
    assert got.notes == ()
    grey = decode(data, Decoding(1, bits=16)).pixels[..., 0]
    assert np.abs(grey / 257 - thirds() @ np.array([0.299, 0.587, 0.114])).max() < 0.01


@pytest.mark.parametrize("value", [0, 212, 65535])
@pytest.mark.parametrize("bits", [8, 16])
def test_equal_values_are_black_and_said(value: int, bits: int) -> None:
    got = decode(saved(Image.fromarray(np.full((8, 8), value, np.uint16)), "PNG"), Decoding(1, bits=bits))
    assert got.pixels.max() == 0
    assert noted(got.notes[:1], f"{value} to {value}")


def test_a_speck_on_a_flat_picture_is_not_lost() -> None:
    values = np.full((40, 40), 300, np.uint16)
    values[5, 5] = 900
    got = decode(saved(Image.fromarray(values), "PNG"), Decoding(1))
    assert (got.pixels[5, 5, 0], np.count_nonzero(got.pixels)) == (255, 1)
    assert noted(got.notes[:1], "300 to 900")


def test_white_is_zero_tiff() -> None:
    """Pillow turns 8 bits round by itself and leaves 16 as they are: on disk they count from white."""
    values = np.arange(200, 300, dtype=np.uint16).reshape(10, 10, 1)
    got = decode(tiff(values, photometric=0), Decoding(1, window=(200, 299)))
    assert np.array_equal(got.pixels, 255 - np.rint((values.astype(float) - 200) / 99 * 255))
    assert np.array_equal(got.stored, values)


@pytest.mark.parametrize("kind", ["int16", "uint32", "int32", "float32"])
def test_wide_values_that_count_from_white_are_turned_round_or_refused(kind: str) -> None:
    values = np.arange(200, 300).astype(kind).reshape(10, 10, 1)
    try:
        pixels = decode(tiff(values, photometric=0), Decoding(1, window=(200, 299))).pixels
    except UnreadableImage as error:
        check(error, "unsupported_image", "1 channel", "(PhotometricInterpretation 0)")  # Pillow reads few
    else:
        assert np.array_equal(pixels, 255 - np.rint((values.astype(float) - 200) / 99 * 255))


@pytest.mark.parametrize("kind", ["int16", "uint32", "int32", "float32"])
def test_wide_tiff_values_are_read_as_they_are(kind: str) -> None:
    spread = {"int16": 60000, "uint32": 4e9, "int32": 4e9, "float32": 3.0}[kind]
    low = 0 if kind == "uint32" else -spread / 2
    values = (np.random.default_rng(5).random((12, 14, 1)) * spread + low).astype(kind)
    got = decode(tiff(values), Decoding(1))
    assert np.array_equal(got.stored, values)
    assert np.corrcoef(got.pixels.reshape(-1), values.reshape(-1))[0, 1] > 0.999
    assert len(got.notes) == 1
    if kind.startswith("float"):
        with refused("bad_value", "data.window="):
            decode(tiff(values), Decoding(1, window="full"))
    else:
        full = decode(tiff(values), Decoding(1, bits=16, window="full")).pixels / 65535
        info = np.iinfo(kind)
        assert np.abs(full - (values.astype(float) - info.min) / (float(info.max) - info.min)).max() < 1e-4


def some(channels: int, kind: str = "uint8") -> np.ndarray:
    """Values `(H, W, C)` over the whole range of their type, or of 0 to 1."""
    draws = np.random.default_rng([channels, len(kind)]).random((11, 13, channels))
    if np.dtype(kind).kind not in "ui":
        return draws.astype(kind)
    info = np.iinfo(kind)
    return (info.min + draws * (float(info.max) - info.min)).astype(kind)


@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize("channels", [3, 4])
def test_planes_of_8_bits_are_read_as_what_they_are(channels: int, compression: int) -> None:
    values = some(channels)
    values[..., 3:] = 255
    got = decode(tiff(values, compression, planar=True, extra=(2,) * (channels - 3)), Decoding(3))
    assert np.array_equal(got.pixels, values[..., :3])


@pytest.mark.parametrize("compression", [1, 8])
def test_a_tiff_of_signed_bytes_is_read_as_signed(compression: int) -> None:
    values = some(1, "int8")
    got = decode(tiff(values, compression), Decoding(1, window="full"))
    assert got.stored.dtype == np.int8 and np.array_equal(got.stored, values)
    assert np.array_equal(got.pixels, values.astype(int) + 128)
    assert decode(tiff(values, compression), Decoding(1, window=(-10, 10))).pixels[values > 10].min() == 255


@pytest.mark.parametrize("kind", ["int8", "uint16", "int16", "int32", "float32"])
@pytest.mark.parametrize("compression", [1, 8])
def test_the_byte_order_of_a_tiff_changes_nothing(kind: str, compression: int) -> None:
    values = some(1, kind)
    little, big = (decode(tiff(values, compression, order=order), Decoding(1)).stored for order in "<>")
    assert np.array_equal(little, values) and np.array_equal(big, values)


def test_a_big_endian_bigtiff_is_named() -> None:
    with refused("unsupported_image", "BigTIFF"):
        decode(b"MM\0+" + bytes(60), Decoding(1))


FORMS = [
    (some(3, "uint16"), {"planar": True}, ("3 channels", "16-bit", "PlanarConfiguration 2")),
    (some(3, "uint16"), {"planar": True, "compression": 8}, ("3 channels", "16-bit", "PlanarConfiguration 2")),
    (some(4, "uint16"), {"planar": True, "extra": (2,)}, ("4 channels", "16-bit", "PlanarConfiguration 2")),
    (some(1, "float64"), {}, ("1 channel", "64-bit", "floating-point")),
    (some(1, "float16"), {}, ("1 channel", "16-bit", "floating-point")),
    (some(3, "float32"), {}, ("3 channels", "32-bit", "floating-point")),
    (some(1, "uint64"), {}, ("1 channel", "64-bit")),
    (some(1, "complex64"), {}, ("1 channel", "64-bit", "complex")),
    (some(3, "int8"), {}, ("3 channels", "8-bit", "signed")),
    (some(3, "int16"), {}, ("3 channels", "16-bit", "signed")),
    (some(3), {"photometric": 1, "extra": (0, 0)}, ("3 channels", "8-bit")),
    (some(3), {"photometric": 1, "extra": (0, 0), "planar": True}, ("3 channels", "8-bit")),
    (some(2), {"photometric": 1, "extra": (0,)}, ("2 channels", "8-bit")),
    (some(5), {"extra": (0, 0)}, ("5 channels", "8-bit")),
    (some(6), {"photometric": 1, "extra": (0,) * 5}, ("6 channels", "8-bit")),
    (some(1), {"compression": 34712}, ("34712",)),
]


@pytest.mark.parametrize(("values", "form", "names"), FORMS, ids=[" ".join(names) for _, _, names in FORMS])
def test_a_tiff_that_pillow_would_misread_or_not_read_is_refused_for_what_it_is(
    values: np.ndarray, form: dict, names: tuple[str, ...]
) -> None:
    for channels in (1, 3):
        with refused("unsupported_image", *names):
            decode(tiff(values, **form), Decoding(channels))


def test_a_second_page_of_another_kind_is_refused_for_what_it_is() -> None:
    first, second = Image.fromarray(some(1)[..., 0]), tiff(some(1, "float64"))
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
    values = some(4)
    got = decode(tiff(values, extra=(0,)), Decoding(3))
    assert np.array_equal(got.pixels, values[..., :3])
    assert len(got.notes) == 1 and noted(got.notes, "channel")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_refused(bad: float) -> None:
    values = np.ones((4, 4, 1), np.float32)
    values[1, 1] = bad
    for window in (None, (0.0, 1.0)):
        with refused("not_finite", "1 of" if np.isnan(bad) else "0 of"):
            decode(tiff(values), Decoding(1, window=window))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "palette", "colour key", "grey key", "16-bit key"])
def test_transparent_is_black_and_said(mode: str) -> None:
    pixels = np.full((8, 8, 3), (90, 90, 90), np.uint8)
    clear = np.s_[:4]
    if mode in ("RGBA", "LA"):
        image = Image.fromarray(pixels).convert(mode)
        alpha = np.full((8, 8), 255, np.uint8)
        alpha[clear] = 0
        image.putalpha(Image.fromarray(alpha))
        data = saved(image, "PNG")
    elif mode == "palette":
        index = np.ones((8, 8), np.uint8)
        index[clear] = 0
        image = Image.fromarray(index).convert("P")
        image.putpalette([255, 255, 255, 90, 90, 90])
        data = saved(image, "PNG", transparency=bytes([0, 255]))
    else:
        key = 200
        pixels[clear] = key
        if mode == "colour key":
            data = saved(Image.fromarray(pixels), "PNG", transparency=(key, key, key))
        elif mode == "grey key":
            data = saved(Image.fromarray(pixels[..., 0]), "PNG", transparency=key)
        else:
            wide = (pixels[..., 0].astype(">u2") * 257).view(np.uint8)
            data = png(16, 0, wide, ((b"tRNS", struct.pack(">H", key * 257)),))
    for channels in (1, 3):
        got = decode(data, Decoding(channels, window="full"))
        assert got.pixels[clear].max() == 0
        assert (got.pixels[4:] == 90).all()
    assert raster.TRANSPARENT in got.notes


def test_half_transparent_is_half_as_bright() -> None:
    image = Image.new("RGBA", (4, 4), (200, 100, 50, 128))
    assert np.abs(decode(saved(image, "PNG"), Decoding(3)).pixels[0, 0].astype(int) - (100, 50, 25)).max() <= 1


TURNED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_all_stand_upright(kind: str, orientation: int) -> None:
    upright = Image.fromarray(thirds())
    turn = TURNED[orientation]
    stored = upright if turn is None else upright.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 98, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    got = decode(saved(stored, kind, exif=exif, **options), Decoding(3))
    assert got.pixels.shape == thirds().shape
    off = np.abs(got.pixels.astype(int) - thirds())
    assert (off[4:20, 4:28].max() <= 6) if kind == "JPEG" else (off.max() == 0)
    if orientation > 1:
        assert noted(got.notes, f"EXIF orientation {orientation}")
    else:
        assert got.notes == ()


def test_damaged_exif_does_not_cost_the_picture() -> None:
    data = saved(Image.fromarray(thirds()), "PNG", exif=b"Exif\0\0" + b"nonsense" * 3)
    got = decode(data, Decoding(3))
    assert (got.pixels == thirds()).all()
    assert noted(got.notes, "EXIF")


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PNG", "WEBP"])
@pytest.mark.parametrize("frame", [0, 1, 2])
def test_the_frame_that_is_asked_for(kind: str, frame: int) -> None:
    frames = [Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (40, 90, 200)]
    options = {"WEBP": {"lossless": True}}.get(kind, {})
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    got = decode(data, Decoding(1, frame=frame))
    assert (got.pixels == (40, 90, 200)[frame]).all()
    assert got.frames == 3
    assert len(got.notes) == 1 and noted(got.notes, "first" if frame == 0 else f"frame {frame}", "3")
    with refused("no_such_frame", "frame 3", " 3"):
        decode(data, Decoding(1, frame=3))


def test_a_still_picture_has_one_frame() -> None:
    with refused("no_such_frame", "frame 1", " 1"):
        decode(saved(noise(), "JPEG"), Decoding(3, frame=1))


def test_deep_pages_of_different_sizes() -> None:
    pages = [Image.fromarray(np.full(size, value, np.uint16)) for size, value in (((4, 5), 7), ((9, 2), 60000))]
    got = decode(saved(pages[0], "TIFF", save_all=True, append_images=pages[1:]), Decoding(1, 16, "full", frame=1))
    assert got.pixels.shape == (9, 2, 1)
    assert (got.pixels == 60000).all()


def noise(height: int = 40, width: int = 60) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


@pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF", "TIFF-LZW", "GIF", "WEBP", "PPM"])
def test_cut_within_its_last_bytes_is_refused_or_lost_nothing(kind: str) -> None:
    """Every pixel is there all the same, or it is an error; never a grey rest. See `test_cut_at_every_tenth_byte`."""
    options = {"TIFF-LZW": {"compression": "tiff_lzw"}}.get(kind, {})
    data = saved(noise(), kind.split("-")[0], **options)
    whole = decode(data, Decoding(3)).pixels
    for cut in range(len(data) - 12, len(data)):
        try:
            got = decode(data[:cut], Decoding(3)).pixels
        except UnreadableImage:
            continue
        assert (got == whole).all(), f"cut at {cut} of {len(data)}: a wrong picture in silence"


def test_a_png_with_one_wrong_bit_is_refused() -> None:
    """Pillow by itself skips the checksum of the pixels, and shows what the damage left of them."""
    data = saved(noise(), "PNG")
    for place in np.linspace(data.index(b"IDAT") + 4, len(data) - 17, 50, dtype=int):
        bad = bytearray(data)
        bad[place] ^= 1
        with refused("damaged_image"):
            decode(bytes(bad), Decoding(3))


def test_cut_is_refused_even_where_another_library_asked_for_leniency(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = saved(noise(), "JPEG")
    with refused("damaged_image"):
        decode(data[: len(data) // 2], Decoding(3))


@pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore::PIL.Image.DecompressionBombWarning")
def test_flipped_bytes_never_crash() -> None:
    random = np.random.default_rng(1)
    reasons: list[str] = []
    for kind in ("JPEG", "PNG", "BMP", "TIFF", "GIF", "WEBP", "PPM"):
        data = np.frombuffer(saved(noise(16, 16), kind), np.uint8)
        for _ in range(60):
            bad = data.copy()
            bad[random.integers(0, min(len(bad), 200), 4)] = random.integers(0, 256, 4)
            try:
                pixels = decode(bad.tobytes(), Decoding(3)).pixels
            except UnreadableImage as error:
                reasons.append(error.reason)
            else:
                assert pixels.dtype == np.uint8
                assert pixels.shape[2] == 3
    assert len(reasons) > 50
    assert all(reasons)


NOT_IMAGES = {
    "empty": (b"", "not_an_image", "0 bytes"),
    "zeros": (bytes(500), "not_an_image", "500"),
    "html": (b"\n <!DOCTYPE html><html><body>404</body></html>", "not_an_image", "HTML"),
    "text": (b"Not found", "not_an_image", "'Not found'"),
    "json": (json.dumps({"error": "no"}).encode(), "not_an_image", '{"error": "no"}'),
    "pdf": (b"%PDF-1.7 ...", "not_an_image", "PDF"),
    "zip": (b"PK\x03\x04rest", "not_an_image", "ZIP"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "not_an_image", "git lfs pull"),
    "dicom": (bytes(128) + b"DICM" + b"\x02\0\0\0", "damaged_image", "DICOM"),
    "svg": (b"<svg xmlns='x'></svg>", "not_an_image", "SVG"),
    "heic": (b"\0\0\0\x18ftypheic\0\0\0\0", "not_an_image", "HEIC"),
    "random": (b"\x81\x92\xa3\xb4\xc5\xd6\xe7\xf8\x09", "not_an_image", "81 92 a3 b4"),
    "png header": (b"\x89PNG\r\n\x1a\n", "damaged_image", "8 bytes"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not_an_image", "'%!PS-Adobe"),
}


@pytest.mark.parametrize("kind", NOT_IMAGES)
def test_what_is_not_an_image_is_named(kind: str, tmp_path: Path) -> None:
    data, what, name = NOT_IMAGES[kind]
    path = tmp_path / "picture.jpg"
    path.write_bytes(data)
    with refused(what, str(path), name) as caught:
        read(path, Decoding(3))
    assert isinstance(caught.value, UnreadableImage) and caught.value.path == path


def test_decompression_bombs_are_refused_before_they_unfold() -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 1, 0, 0, 0, 0)
    chunk = b"\0\0\0\x0dIHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    with refused("too_many_pixels"):
        decode(b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\0\0IDAT", Decoding(3))
    # Between Pillow's warning and its error.
    with pytest.warns(Image.DecompressionBombWarning), refused("too_many_pixels", "12,000 x 9,000"):
        decode(b"P5\n12000 9000\n255\n", Decoding(3))


def test_the_limit_of_pixels_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = io.BytesIO()
    Image.new("L", (40, 30)).save(picture, "PNG")
    monkeypatch.setenv("MEDCLS_MOST_PIXELS", "1199")
    refusal = refused("too_many_pixels", "40 x 30", "1,199", "MEDCLS_MOST_PIXELS=N")
    with pytest.warns(Image.DecompressionBombWarning), refusal:
        decode(picture.getvalue(), Decoding(3))
    monkeypatch.setenv("MEDCLS_MOST_PIXELS", "1200")
    assert decode(picture.getvalue(), Decoding(3)).pixels.shape == (30, 40, 3)
    for wrong in ("0", "many", "-1", "1e9"):
        monkeypatch.setenv("MEDCLS_MOST_PIXELS", wrong)
        with refused("bad_value", "MEDCLS_MOST_PIXELS", repr(wrong)):
            decode(picture.getvalue(), Decoding(3))


def test_paths_that_are_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    for name, kind in (
        ("missing.png", "no_such_file"),
        ("dangling.png", "no_such_file"),
        ("loop.png", "unreadable_file"),
        ("folder.png", "not_a_file"),
        ("pipe.png", "not_a_file"),
    ):
        with refused(kind, name):
            read(tmp_path / name, Decoding(3))
    (tmp_path / "long.png").write_bytes(bytes(100))
    monkeypatch.setattr(images, "MOST_BYTES", 99)
    with refused("file_too_large", "long.png", "100 bytes", "99"):
        read(tmp_path / "long.png", Decoding(3))


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "locked.png"
    path.write_bytes(saved(noise(), "PNG"))

    def refuse(self: Path) -> bytes:  # root may read everything, so the refusal is played
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with refused("unreadable_file", "locked.png"):
        read(path, Decoding(3))


@pytest.mark.parametrize("name", ["正常.png", "a=b, [c] 50%.png", "🩻.png", "two\nlines.png"])
def test_odd_names_are_read_and_shown_on_one_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(saved(noise(), "PNG"))
    assert read(path, Decoding(3)).pixels.shape == (40, 60, 3)
    path.write_bytes(b"")
    with refused("not_an_image") as caught:
        read(path, Decoding(3))
    assert "\n" not in str(caught.value)


def test_an_ending_that_lies_is_read_and_noted(tmp_path: Path) -> None:
    path = tmp_path / "really_png.JPG"
    path.write_bytes(saved(noise(), "PNG"))
    notes = read(path, Decoding(3)).notes
    assert len(notes) == 1 and noted(notes, ".JPG", "PNG")
    path = tmp_path / "honest.jpeg"
    path.write_bytes(saved(noise(), "JPEG"))
    assert read(path, Decoding(3)).notes == ()


def test_error_survives_the_way_out_of_a_worker(tmp_path: Path) -> None:
    error = UnreadableImage("cut short", tmp_path / "x.png", "damaged_image")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.path, again.reason, again.kind) == (str(error), error.path, error.reason, error.kind)


def test_content_hash_knows_the_picture_not_the_file() -> None:
    rgb = Image.fromarray(thirds())
    same = [
        saved(rgb, "PNG"),
        saved(rgb, "PNG", compress_level=1),
        saved(rgb.convert("P", palette=Image.Palette.ADAPTIVE, colors=16), "PNG"),
        saved(rgb.convert("RGBA"), "PNG"),
        saved(rgb, "BMP"),
        saved(rgb, "WEBP", lossless=True),
    ]
    hashes = {content_hash(decode(data, Decoding(3)).pixels) for data in same}
    assert len(hashes) == 1
    assert len(hashes.pop()) == 32
    one_off = thirds()
    one_off[0, 0, 0] += 1
    assert content_hash(one_off) != content_hash(thirds())
    flat = np.zeros((4, 6, 3), np.uint8)
    assert content_hash(flat) != content_hash(flat.reshape(6, 4, 3)), "the shape must count"
    strided = np.ascontiguousarray(thirds()[:, ::-1])[:, ::-1]
    assert content_hash(strided) == content_hash(thirds())
    assert content_hash(flat[..., :1]) == content_hash(flat), "grey looks as its three equal channels"


def test_content_hash_of_deep_values() -> None:
    values = np.arange(24).reshape(4, 6, 1)
    names = {content_hash(values.astype(kind)) for kind in ("u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8")}
    assert len(names) == 8, "the type must count"
    assert content_hash(values.astype(">i2")) == content_hash(values.astype("<i2"))
    one_off = values.astype("u2")
    one_off[0, 0, 0] += 1
    assert content_hash(one_off) != content_hash(values.astype("u2"))
    for bad in (values[..., 0], values.astype(complex), np.zeros((4, 6, 2), np.uint8)):
        with pytest.raises(ValueError, match="content_hash"):
            content_hash(bad)


def test_content_does_not_depend_on_the_window() -> None:
    data = deep_file(np.random.default_rng(6).integers(0, 4000, (9, 9, 1), np.uint16), "PNG")
    ways = [Decoding(3), Decoding(1), Decoding(3, window="full"), Decoding(1, 16, (3, 90))]
    assert len({decode(data, way).content for way in ways}) == 1


def test_resize_policies() -> None:
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, :20] = RED
    pixels[:, 20:60] = 255
    pixels[:, 60:] = BLUE
    squash = resize(pixels, (40, 40), "squash", "nearest")
    assert (squash[20, 2] == RED).all()
    assert (squash[20, -3] == BLUE).all()
    letterbox = resize(pixels, (40, 40), "letterbox", "nearest")
    assert letterbox[:10].max() == 0
    assert letterbox[30:].max() == 0
    assert letterbox[10:30].max(axis=2).min() > 0
    assert (letterbox[20, 2] == RED).all()
    crop = resize(pixels, (40, 40), "crop", "nearest")
    assert (crop == 255).all()


@pytest.mark.parametrize("policy", ["squash", "letterbox", "crop"])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_resize_shapes(policy: str, interpolation: str) -> None:
    for height, width in ((1, 1), (7, 300), (300, 7), (1, 3000), (3000, 1), (64, 48)):
        for channels in (1, 3):
            pixels = np.full((height, width, channels), 7, np.uint8)
            got = resize(pixels, (64, 48), policy, interpolation)
            assert got.shape == (64, 48, channels)
            assert got.dtype == np.uint8
            assert 7 in got
            assert got.flags.writeable
    with refused("bad_value", "'stretch'", policy):
        resize(pixels, (8, 8), "stretch", interpolation)
    with refused("bad_value", "'cubic'", interpolation):
        resize(pixels, (8, 8), policy, "cubic")


@pytest.mark.parametrize("policy", ["squash", "letterbox", "crop"])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_resizing_16_bits_is_resizing_8_with_finer_steps(policy: str, interpolation: str) -> None:
    pixels = np.asarray(noise(37, 53)) // 2 + 60  # no filter's overshoot reaches an end, where 8 bits are cut twice
    for channels in (1, 3):
        coarse = resize(pixels[..., :channels], (24, 20), policy, interpolation)
        fine = resize(pixels[..., :channels].astype(np.uint16) * 257, (24, 20), policy, interpolation)
        assert fine.dtype == np.uint16
        assert fine.shape == coarse.shape == (24, 20, channels)
        assert np.abs(fine / 257 - coarse).max() <= (0 if interpolation == "nearest" else 1.1)
    white = np.full((9, 11, 3), 65535, np.uint16)
    white[4, 5] = 0
    fine = resize(white, (40, 40), policy, interpolation) / 257
    coarse = resize((white // 257).astype(np.uint8), (40, 40), policy, interpolation)
    assert np.abs(fine - coarse).max() < 60, "what overshoots must not wrap round"


@pytest.mark.parametrize("original", [(60, 120), (120, 60), (97, 101)])
@pytest.mark.parametrize("policy", ["squash", "letterbox", "crop"])
def test_a_map_comes_back_to_where_it_was_in_the_original(policy: str, original: tuple[int, int]) -> None:
    rows, columns = np.mgrid[: original[0], : original[1]]
    for row, column in ((0.4, 0.55), (0.6, 0.3)):  # within the part that a crop keeps
        spot = (rows - row * original[0]) ** 2 + (columns - column * original[1]) ** 2
        image = np.where(spot < 49, 255, 0).astype(np.uint8)[..., None]
        received = resize(image, (80, 80), policy, "bilinear")[..., 0].astype(np.float32)
        back = resize_back(received, (original[0] // 2, original[1] // 2), original, policy)
        assert back.shape == (original[0] // 2, original[1] // 2) and back.dtype == np.float32
        found = np.argwhere(np.nan_to_num(back) > 127).mean(axis=0) * 2
        assert np.abs(found - (row * original[0], column * original[1])).max() <= 3
    seen = np.isfinite(back).mean()
    assert seen == 1 if policy != "crop" else abs(seen - min(original) / max(original)) < 0.03


def test_shrinking_averages_rather_than_picks() -> None:
    checks = np.indices((64, 64)).sum(0) % 2 * 255
    got = resize(checks.astype(np.uint8)[..., None], (8, 8), "squash", "bilinear")
    assert np.abs(got.astype(int) - 127).max() <= 3


def test_names() -> None:
    assert all(is_image_name(Path(name)) for name in ("a.JPG", "b.jpeg", "x/c.Tif", "d.webp", "e.PGM"))
    assert not any(is_image_name(Path(name)) for name in ("a.txt", "jpg", ".png", "b.npy", "c.jpg.part"))
    assert all(
        is_junk(Path(name))
        for name in (".DS_Store", "a/Thumbs.db", "b/DESKTOP.INI", "yes/._Y1.jpg", "__MACOSX/yes/Y1.jpg")
    )
    assert not any(is_junk(Path(name)) for name in ("yes/Y1.jpg", "a/.hidden.png", "_x.png", "macosx/a.png"))
