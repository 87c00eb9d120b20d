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
from PIL import Image, ImageFile, TiffImagePlugin

from medcls.data import images
from medcls.data.images import (
    UnreadableImage,
    content_hash,
    decode,
    is_image_name,
    is_junk,
    read,
    resize,
)
from medcls.errors import MedclsError
from medcls.preprocessing import Decoding

RED, GREEN, BLUE = (200, 30, 10), (20, 180, 40), (15, 25, 220)


def thirds(height: int = 48, width: int = 96) -> np.ndarray:
    """Red, green and blue from left to right, each brighter below, so that no turn or flip leaves it equal."""
    pixels = np.empty((height, width, 3), np.uint8)
    for k, colour in enumerate((RED, GREEN, BLUE)):
        pixels[:, k * width // 3 : (k + 1) * width // 3] = colour
    pixels[: height // 2] //= 2
    return pixels


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def luma(pixels: np.ndarray) -> np.ndarray:
    return np.round(pixels @ np.array([0.299, 0.587, 0.114])).astype(int)


def png(depth: int, colour_type: int, rows: np.ndarray, chunks: tuple[tuple[bytes, bytes], ...] = ()) -> bytes:
    """A PNG of kinds that Pillow reads but does not write (16-bit colour); `rows` is uint8 (H, bytes a row)."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour_type]
    height, width = rows.shape[0], rows.shape[1] * 8 // depth // channels

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    parts = [chunk(b"IHDR", header), *(chunk(*c) for c in chunks), chunk(b"IDAT", body), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


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
    got = decode(data, Decoding(3))
    assert got.pixels.shape == (48, 96, 3)
    assert got.pixels.dtype == np.uint8
    assert got.pixels.flags.writeable
    # The edges between the thirds, where JPEG rings, are left out.
    inner = np.r_[2:30, 34:62, 66:94]
    error = np.abs(got.pixels.astype(int) - thirds())[4:20, inner]
    assert error.max() <= off, (kind, got.pixels[30, [10, 40, 80]])
    grey = decode(data, Decoding(1)).pixels
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
    got = decode(data, Decoding(1))
    assert np.abs(got.pixels[..., 0].astype(int) - want).max() <= (1 if kind == "L-JPEG" else 0), got.mode
    three = decode(data, Decoding(3)).pixels
    assert (three == got.pixels).all()
    assert ("16" in kind) == any("16 bits" in note for note in got.notes)


def test_one_rule_for_16_bits_whatever_the_picture_holds() -> None:
    """A dark and a bright picture stay dark and bright: no stretching by a picture's own range."""
    dark = np.full((8, 8), 16000, np.uint16)
    bright = np.full((8, 8), 64000, np.uint16)
    assert decode(saved(Image.fromarray(dark), "PNG"), Decoding(1)).pixels.max() == 16000 // 256
    assert decode(saved(Image.fromarray(bright), "PNG"), Decoding(1)).pixels.max() == 250
    assert decode(saved(Image.fromarray(dark * 0), "PNG"), Decoding(1)).pixels.max() == 0


@pytest.mark.parametrize("colour", [False, True])
def test_12_bits_in_16_are_refused_not_shown_as_black(colour: bool) -> None:
    values = np.tile(np.arange(0, 4096, 64, dtype=np.uint16), (8, 1))
    wide = np.repeat(values.astype(">u2"), 3, axis=1).view(np.uint8)
    data = png(16, 2, wide) if colour else saved(Image.fromarray(values), "PNG")
    with pytest.raises(UnreadableImage, match="below 4096"):
        decode(data, Decoding(1))


def test_white_is_zero_tiff() -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[262] = 0
    eight = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (4, 1))
    # Pillow writes 16 bits as they are and keeps the tag: the values on disk count from white.
    data = saved(Image.fromarray(eight.astype(np.uint16) * 257), "TIFF", tiffinfo=tags)
    assert (decode(data, Decoding(1)).pixels[..., 0] == 255 - eight).all()


def test_float_and_32_bit_are_refused_with_a_reason() -> None:
    for values, word in ((np.ones((4, 4), np.float32), "floating"), (np.ones((4, 4), np.int32), "32-bit")):
        with pytest.raises(UnreadableImage, match=word):
            decode(saved(Image.fromarray(values), "TIFF"), Decoding(3))


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
        got = decode(data, Decoding(channels))
        assert got.pixels[clear].max() == 0
        assert (got.pixels[4:] == 90).all()
    if mode != "16-bit key":
        assert any("transparent" in note for note in got.notes)


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
        assert any(f"orientation {orientation}" in note for note in got.notes)
    else:
        assert got.notes == ()


def test_damaged_exif_does_not_cost_the_picture() -> None:
    data = saved(Image.fromarray(thirds()), "PNG", exif=b"Exif\0\0" + b"nonsense" * 3)
    got = decode(data, Decoding(3))
    assert (got.pixels == thirds()).all()
    assert any("EXIF block is damaged" in note for note in got.notes)


def test_gif_first_frame() -> None:
    frames = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (40, 90, 200)]
    got = decode(saved(frames[0], "GIF", save_all=True, append_images=frames[1:]), Decoding(1))
    assert (got.pixels == 40).all()
    assert got.notes == ("first of 3 frames",)


def noise(height: int = 40, width: int = 60) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


@pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF", "TIFF-LZW", "GIF", "WEBP", "PPM"])
def test_cut_short_is_refused_or_lost_nothing(kind: str) -> None:
    """Cut at a hundred places: either every pixel is there all the same, or it is an error; never a grey rest."""
    options = {"TIFF-LZW": {"compression": "tiff_lzw"}}.get(kind, {})
    data = saved(noise(), kind.split("-")[0], **options)
    whole = decode(data, Decoding(3)).pixels
    refused = 0
    cuts = sorted({*np.linspace(1, len(data) - 1, 100, dtype=int), *range(len(data) - 12, len(data))})
    for cut in cuts:
        try:
            got = decode(data[:cut], Decoding(3)).pixels
        except UnreadableImage:
            refused += 1
        else:
            assert (got == whole).all(), f"cut at {cut} of {len(data)}: a wrong picture in silence"
    assert refused >= 85


def test_cut_is_refused_even_where_another_library_asked_for_leniency(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = saved(noise(), "JPEG")
    with pytest.raises(UnreadableImage, match="damaged or cut short"):
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
    "empty": (b"", "empty"),
    "zeros": (bytes(500), "zero bytes and nothing else"),
    "html": (b"\n <!DOCTYPE html><html><body>404</body></html>", "HTML"),
    "text": (b"Not found", "it is text"),
    "json": (json.dumps({"error": "no"}).encode(), "it is text"),
    "pdf": (b"%PDF-1.7 ...", "PDF"),
    "zip": (b"PK\x03\x04rest", "ZIP"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
    "dicom": (bytes(128) + b"DICM" + b"\x02\0\0\0", "DICOM"),
    "svg": (b"<svg xmlns='x'></svg>", "SVG"),
    "heic": (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
    "random": (b"\x81\x92\xa3\xb4\xc5\xd6\xe7\xf8\x09", "no image format"),
    "png header": (b"\x89PNG\r\n\x1a\n", "header is damaged or cut short"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "it is text"),
}


@pytest.mark.parametrize("kind", NOT_IMAGES)
def test_what_is_not_an_image_is_named(kind: str, tmp_path: Path) -> None:
    data, words = NOT_IMAGES[kind]
    path = tmp_path / "picture.jpg"
    path.write_bytes(data)
    with pytest.raises(UnreadableImage, match=words) as caught:
        read(path, Decoding(3))
    assert str(path) in str(caught.value)
    assert caught.value.path == path
    assert isinstance(caught.value, MedclsError)


def test_decompression_bombs_are_refused_before_they_unfold() -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 1, 0, 0, 0, 0)
    chunk = b"\0\0\0\x0dIHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    with pytest.raises(UnreadableImage, match="bomb"):
        decode(b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\0\0IDAT", Decoding(3))
    # Between Pillow's warning and its error.
    with pytest.warns(Image.DecompressionBombWarning), pytest.raises(UnreadableImage, match=r"bomb"):
        decode(b"P5\n12000 9000\n255\n", Decoding(3))


def test_paths_that_are_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    for name, words in (
        ("missing.png", "no such file"),
        ("dangling.png", "leads nowhere"),
        ("loop.png", "leads to itself"),
        ("folder.png", "is a folder"),
        ("pipe.png", "not a regular file"),
    ):
        with pytest.raises(UnreadableImage, match=words):
            read(tmp_path / name, Decoding(3))
    (tmp_path / "long.png").write_bytes(bytes(100))
    monkeypatch.setattr(images, "MOST_BYTES", 99)
    with pytest.raises(UnreadableImage, match="100 bytes"):
        read(tmp_path / "long.png", Decoding(3))


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "locked.png"
    path.write_bytes(saved(noise(), "PNG"))

    def refuse(self: Path) -> bytes:  # root may read everything, so the refusal is played
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(UnreadableImage, match="no permission"):
        read(path, Decoding(3))


@pytest.mark.parametrize("name", ["正常.png", "a=b, [c] 50%.png", "🩻.png", "two\nlines.png"])
def test_odd_names_are_read_and_shown_on_one_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(saved(noise(), "PNG"))
    assert read(path, Decoding(3)).pixels.shape == (40, 60, 3)
    path.write_bytes(b"")
    with pytest.raises(UnreadableImage) as caught:
        read(path, Decoding(3))
    assert "\n" not in str(caught.value)


def test_an_ending_that_lies_is_read_and_noted(tmp_path: Path) -> None:
    path = tmp_path / "really_png.JPG"
    path.write_bytes(saved(noise(), "PNG"))
    assert read(path, Decoding(3)).notes == ("named .JPG, but a PNG file",)
    path = tmp_path / "honest.jpeg"
    path.write_bytes(saved(noise(), "JPEG"))
    assert read(path, Decoding(3)).notes == ()


def test_error_survives_the_way_out_of_a_worker(tmp_path: Path) -> None:
    error = UnreadableImage("cut short", tmp_path / "x.png")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.path, again.reason) == (str(error), error.path, error.reason)


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
    with pytest.raises(ValueError, match="takes uint8"):
        content_hash(flat[..., :1])


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
    with pytest.raises(MedclsError, match="choose one of"):
        resize(pixels, (8, 8), "stretch", interpolation)
    with pytest.raises(MedclsError, match="choose one of"):
        resize(pixels, (8, 8), policy, "cubic")


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
