"""Whatever an image was saved as, its colours, its values and its orientation are read; what is damaged is refused."""

import io
import struct

import numpy as np
import pytest
from made_files import deep_file, noise, png, random_values, saved, thirds, tiff
from PIL import Image, ImageFile
from refusals import check, noted, refused

from medcls.data.reading import raster
from medcls.data.reading.decoded import UnreadableImage
from medcls.data.reading.images import decode
from medcls.preprocessing import Decoding


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


@pytest.mark.parametrize("compression", [1, 8])
def test_a_tiff_of_signed_bytes_is_read_as_signed(compression: int) -> None:
    values = random_values(1, "int8")
    got = decode(tiff(values, compression), Decoding(1, window="full"))
    assert got.stored.dtype == np.int8 and np.array_equal(got.stored, values)
    assert np.array_equal(got.pixels, values.astype(int) + 128)
    assert decode(tiff(values, compression), Decoding(1, window=(-10, 10))).pixels[values > 10].min() == 255


@pytest.mark.parametrize("kind", ["int8", "uint16", "int16", "int32", "float32"])
@pytest.mark.parametrize("compression", [1, 8])
def test_the_byte_order_of_a_tiff_changes_nothing(kind: str, compression: int) -> None:
    values = random_values(1, kind)
    little, big = (decode(tiff(values, compression, order=order), Decoding(1)).stored for order in "<>")
    assert np.array_equal(little, values) and np.array_equal(big, values)


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


def test_an_array_is_read_as_the_file_with_its_values() -> None:
    grey, colour = random_values(1, "uint16"), random_values(3)
    for values, data in ((grey, deep_file(grey, "PNG")), (colour, saved(Image.fromarray(colour), "PNG"))):
        for decoding in (Decoding(1), Decoding(3, bits=16), Decoding(3, window=(100, 900))):
            array, file = raster.from_array(values, decoding), decode(data, decoding)
            assert np.array_equal(array.pixels, file.pixels) and array.content == file.content
            assert (array.bits, array.notes) == (file.bits, file.notes)
    assert np.array_equal(
        raster.from_array(grey[..., 0], Decoding(1)).pixels, raster.from_array(grey, Decoding(1)).pixels
    )
    turned = colour[:, ::-1]  # not contiguous
    assert np.array_equal(raster.from_array(turned, Decoding(3)).pixels, turned)


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 1), bool), np.zeros((4, 4, 3), np.int16),
        np.zeros((3, 4, 4, 3), np.uint8),
        np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 2), np.uint8), np.zeros(16, np.uint8),
    ],
    ids=lambda values: f"{values.dtype} {values.shape}",
)  # fmt: skip
def test_an_array_of_another_shape_or_type_is_refused(values: np.ndarray) -> None:
    with refused("unsupported_image", str(values.dtype), str(values.shape), "uint8"):
        raster.from_array(values, Decoding(3))


@pytest.mark.parametrize("shape", [(0, 4), (4, 0, 3)])
def test_an_array_without_pixels_is_refused(shape: tuple[int, ...]) -> None:
    with refused("damaged_image", "0"):
        raster.from_array(np.zeros(shape, np.uint8), Decoding(3))


def test_an_image_that_pillow_opened_is_read_as_its_file() -> None:
    """Pillow itself would show the high bytes alone."""
    data = deep_file(random_values(3, "uint16"), "RGB PNG")
    with Image.open(io.BytesIO(data)) as opened:
        position = opened.fp.tell()
        got = raster.from_pillow(opened, Decoding(3, bits=16, window="full"))
        assert opened.fp.tell() == position
    file = decode(data, Decoding(3, bits=16, window="full"))
    assert np.array_equal(got.pixels, file.pixels) and got.content == file.content


def test_an_image_that_pillow_has_loaded_is_turned_upright() -> None:
    stored = Image.fromarray(thirds()).transpose(Image.Transpose.ROTATE_90)
    stored.getexif()[0x0112] = 6
    got = raster.from_pillow(stored, Decoding(3))
    assert np.array_equal(got.pixels, thirds()) and noted(got.notes, "EXIF orientation 6")


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"])
def test_an_image_that_was_made_in_memory_is_read_in_any_mode(mode: str) -> None:
    ramp = np.tile(np.arange(0, 256, 8, dtype=np.uint8), (8, 1))
    grey = Image.fromarray(ramp)
    image = (grey.convert("RGB") if mode == "CMYK" else grey).convert(mode)
    got = raster.from_pillow(image, Decoding(1, window=(0, 255)))
    assert np.abs(got.pixels[..., 0].astype(int) - ramp).max() <= 1


def test_an_image_of_a_kind_that_medcls_does_not_know_is_refused() -> None:
    with refused("unsupported_image", "LAB"):
        raster.from_pillow(Image.new("LAB", (4, 4)), Decoding(3))
