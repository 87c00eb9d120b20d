"""Files that nobody should have to expect: each is read rightly, or listed with a reason; none is read wrongly."""

import dataclasses
import io
import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from made_files import deep_file, dicom_bytes, dicom_slice, png, saved, tiff
from PIL import Image
from refusals import check

from medcls.data.reading import images, raster
from medcls.data.reading.decoded import UnreadableImage
from medcls.data.sources.scan import ScanOptions, scan_images
from medcls.preprocessing import Decoding

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")

MOST_MEMORY = 400
"""MiB by which reading the whole corpus may raise a process's peak; its two largest pictures have 10 million pixels,
29 MiB each as RGB, and a thread needs about 10 bytes a pixel while it reads one."""


@dataclasses.dataclass(frozen=True)
class Hostile:
    """What lies at a path, and what must come of it.

    `shows` are the RGB pixels, `off` by how much they may differ; `refusal` a kind and what the reason names.
    Where both are given either will do, and nothing else.
    """

    content: bytes | Callable[[Path], object]
    shows: np.ndarray | None = None
    refusal: tuple[str, ...] = ()
    note: str = ""
    off: int = 0

    def lay(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(self.content, bytes):
            path.write_bytes(self.content)
        else:
            self.content(path)


def stripes(height: int = 12, width: int = 18) -> np.ndarray:
    """A small picture that no turn, flip or swap of colours leaves equal."""
    down, across = np.mgrid[:height, :width]
    return np.stack([down * 20 % 256, across * 14 % 256, (down + across) * 3], axis=2).astype(np.uint8)


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values.reshape(*values.shape[:2], 1), 3, axis=2).astype(np.uint8)


def spread(values: np.ndarray) -> np.ndarray:
    """What wide values must show: the window between their own percentiles, worked out here once more."""
    low, high = np.percentile(values, (0.5, 99.5), method="inverted_cdf").astype(float)
    pixels = np.rint((values.astype(float) - low).clip(0, high - low) / (high - low) * 255)
    return grey(pixels) if values.shape[-1] == 1 else pixels.astype(np.uint8)


RGB = stripes()
PICTURE = Image.fromarray(RGB)
PALETTE = PICTURE.convert("P", palette=Image.Palette.ADAPTIVE, colors=256)
WIDE = np.random.default_rng(0).integers(212, 3892, (12, 18, 1), np.uint16)
WIDE_RGB = np.random.default_rng(1).integers(0, 65536, (12, 18, 3), np.uint16)
LONG = (np.arange(65535 * 2) % 251).astype(np.uint8).reshape(2, 65535)


def rows(values: np.ndarray) -> np.ndarray:
    """As a PNG stores them: big-endian bytes, a row each."""
    big = values.astype(values.dtype.newbyteorder(">"))
    return np.ascontiguousarray(big.reshape(len(values), -1)).view(np.uint8)


def with_alpha(values: np.ndarray, most: int) -> np.ndarray:
    """The upper half clear, the lower half not."""
    alpha = np.full((*values.shape[:2], 1), most, values.dtype)
    alpha[:6] = 0
    return np.concatenate([values, alpha], axis=2)


def upper_black(values: np.ndarray) -> np.ndarray:
    values = values.copy()
    values[:6] = 0
    return values


def keyed(values: np.ndarray, key: tuple[int, ...]) -> np.ndarray:
    values = values.copy()
    values[3:5, 2:9] = key
    return values


def patched(data: bytes, **places: bytes) -> bytes:
    """With other bytes at `at_<offset>`."""
    changed = bytearray(data)
    for place, new in places.items():
        start = int(place.removeprefix("at_"))
        changed[start : start + len(new)] = new
    return bytes(changed)


def jpeg_size(data: bytes, width: int, height: int) -> bytes:
    """A JPEG that claims another size in its frame header."""
    place = data.index(b"\xff\xc0") + 5
    return data[:place] + struct.pack(">HH", height, width) + data[place + 4 :]


def top_down_bmp() -> bytes:
    """A BMP of negative height, which stands the right way up."""
    data = saved(PICTURE, "BMP")
    start, height = struct.unpack_from("<I", data, 10)[0], RGB.shape[0]
    body = np.frombuffer(data, np.uint8, offset=start).reshape(height, -1)[::-1]
    return patched(data[:start], at_22=struct.pack("<i", -height)) + body.tobytes()


def looped_tiff() -> bytes:
    """A TIFF whose list of pages leads back to its first."""
    data = tiff(RGB)
    after = 8 + 2 + 12 * struct.unpack_from("<H", data, 8)[0]
    return patched(data, **{f"at_{after}": struct.pack("<I", 8)})


def swollen_tiff(compression: str) -> bytes:
    """A strip of 64 million zeros under a header that claims 64 x 64 pixels."""
    data = bytearray(saved(Image.new("L", (8000, 8000)), "TIFF", compression=compression, strip_size=2**30))
    start = struct.unpack_from("<I", data, 4)[0]
    for entry in range(start + 2, start + 2 + 12 * struct.unpack_from("<H", data, start)[0], 12):
        if struct.unpack_from("<H", data, entry)[0] in (256, 257, 278):
            data[entry + 2 : entry + 12] = struct.pack("<HII", 4, 1, 64)
    return bytes(data)


def fifo(path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")
    os.mkfifo(path)


def linked(path: Path) -> None:
    target = path.with_name("target of a link.png")
    target.write_bytes(saved(PICTURE, "PNG"))
    path.symlink_to(target)


# A quarter of a gigabyte of zeros; more than the fastest level of compression takes seconds.
ZEROS = zlib.compress(bytes(2**28), 1)
GOOD = saved(PICTURE, "PNG")
JPEG = saved(PICTURE, "JPEG", quality=100, subsampling=0)
SHOWN_JPEG = np.asarray(Image.open(io.BytesIO(JPEG)))
FRAMES = [Image.fromarray(np.full((8, 8), level, np.uint8)) for level in (40, 90, 200)]
FIRST_FRAME, SEVERAL = grey(np.full((8, 8), 40)), {"save_all": True, "append_images": FRAMES[1:]}
NOISE = np.random.default_rng(2).integers(0, 256, (12, 18, 3), np.uint8)
NAN, INFINITE = np.ones((4, 4, 1), np.float32), np.ones((4, 4, 1), np.float32)
NAN[2, 1], INFINITE[1, 2] = np.nan, -np.inf
BITS = (np.arange(12 * 16).reshape(12, 16) % 3 == 0).astype(np.uint8)
ONE_BIT = Image.fromarray(BITS * 255).convert("1")
CT = (np.arange(12 * 18).reshape(12, 18) * 7 - 500).astype(np.int16)

CORPUS: dict[str, Hostile] = {
    # What is no image at all.
    "empty.png": Hostile(b"", refusal=("not_an_image", "0 bytes")),
    "one byte.jpg": Hostile(b"\xff", refusal=("not_an_image",)),
    "zeros.tif": Hostile(bytes(5000), refusal=("not_an_image", "5,000")),
    "page.jpg": Hostile(b"\xef\xbb\xbf\n<!DOCTYPE html><html>404</html>", refusal=("not_an_image", "HTML")),
    "page.dcm": Hostile(b"<html><body>log in</body></html>", refusal=("not_an_image", "HTML")),
    "answer.jpeg": Hostile(json.dumps({"error": "no such key"}).encode(), refusal=("not_an_image",)),
    "wide text.png": Hostile("Nicht gefunden".encode("utf-16"), refusal=("not_an_image",)),
    "pointer.png": Hostile(
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0", refusal=("not_an_image", "git lfs pull")
    ),
    "paper.png": Hostile(b"%PDF-1.7\n", refusal=("not_an_image", "PDF")),
    "archive.bmp": Hostile(b"PK\x03\x04" + bytes(60), refusal=("not_an_image", "ZIP")),
    "volume.tiff": Hostile(b"\x1f\x8b" + bytes(60), refusal=("not_an_image", "gzip")),
    "drawing.gif": Hostile(b"<svg xmlns='http://www.w3.org/2000/svg'/>", refusal=("not_an_image", "SVG")),
    "photo.jpg": Hostile(b"\0\0\0\x18ftypheic" + bytes(60), refusal=("not_an_image", "HEIC")),
    "plan.dcm": Hostile(
        dicom_bytes(dicom_slice(CT, SOPClassUID="1.2.840.10008.5.1.4.1.1.481.5", Modality="RTPLAN")).split(
            b"\xe0\x7f\x10\x00"
        )[0],
        refusal=("not_an_image", "RT Plan Storage (modality RTPLAN)"),
    ),
    # What is no file, or not here.
    "folder.png": Hostile(lambda path: path.mkdir(), refusal=("not_a_file",)),
    "dangling.png": Hostile(lambda path: path.symlink_to("nowhere.png"), refusal=("no_such_file",)),
    "loop.png": Hostile(lambda path: path.symlink_to(path.name), refusal=("unreadable_file",)),
    "pipe.png": Hostile(fifo, refusal=("not_a_file",)),
    "gone.png": Hostile(lambda path: None, refusal=("no_such_file",)),
    "link.png": Hostile(linked, RGB),
    # Names.
    "two\nlines.png": Hostile(GOOD, RGB),
    "100%s %d.png": Hostile(GOOD, RGB),
    "🩻.png": Hostile(GOOD, RGB),
    "正常/图像.png": Hostile(GOOD, RGB),
    "-rf *.png": Hostile(GOOD, RGB),
    " a='b', [c] $HOME \\ \".png": Hostile(GOOD, RGB),
    os.fsdecode(b"latin \xe9\xff.png"): Hostile(GOOD, RGB),
    "e\u0301.png": Hostile(GOOD, RGB),
    f"{'n' * 240}.png": Hostile(GOOD, RGB),
    # Endings that lie.
    "png.JPG": Hostile(GOOD, RGB, note="PNG"),
    "jpeg.dcm": Hostile(JPEG, SHOWN_JPEG, note="JPEG"),
    "dicom.png": Hostile(dicom_bytes(dicom_slice(BITS * 9)), grey(BITS * 9), note="DICOM"),
    # Too large, truly or by its own word.
    "bomb.png": Hostile(png(1, 0, np.zeros((20000, 2500), np.uint8)), refusal=("too_many_pixels",)),
    "claims much.png": Hostile(png(8, 2, rows(RGB), claims=(65535, 65535)), refusal=("too_many_pixels",)),
    "claims much.jpg": Hostile(jpeg_size(JPEG, 65500, 65500), refusal=("too_many_pixels",)),
    "claims much.dcm": Hostile(dicom_bytes(dicom_slice(CT, Rows=65535, Columns=65535)), refusal=("too_many_pixels",)),
    "claims much.tif": Hostile(patched(tiff(RGB), at_18=struct.pack("<I", 2**31)), refusal=("too_many_pixels",)),
    "65535 wide.png": Hostile(png(8, 0, LONG), grey(LONG)),
    "65535 wide.tif": Hostile(tiff(LONG[..., None]), grey(LONG)),
    "65535 wide.pgm": Hostile(b"P5 65535 2 255\n" + LONG.tobytes(), grey(LONG)),
    "10 million pixels.png": Hostile(png(1, 0, np.zeros((153, 8192), np.uint8)), np.zeros((153, 65536, 3), np.uint8)),
    "10 million pixels.tif": Hostile(
        saved(Image.new("I;16", (65535, 153)), "TIFF", compression="tiff_lzw"),
        np.zeros((153, 65535, 3), np.uint8),
        note="0 to 0",
    ),
    "claims to be wide.png": Hostile(png(8, 2, rows(RGB), claims=(65535, 1000)), refusal=("damaged_image",)),
    "claims to be wide.bmp": Hostile(
        patched(saved(PICTURE, "BMP"), at_18=struct.pack("<ii", 65535, 1000)), refusal=("damaged_image",)
    ),
    "claims to be wide.dcm": Hostile(dicom_bytes(dicom_slice(CT, Columns=65535)), refusal=("damaged_image", "pydicom")),
    "many frames.dcm": Hostile(
        dicom_bytes(dicom_slice(CT, NumberOfFrames=10**9)), refusal=("damaged_image", "pydicom")
    ),
    "swollen lzw.tif": Hostile(swollen_tiff("tiff_lzw"), np.zeros((64, 64, 3), np.uint8)),
    "swollen deflate.tif": Hostile(swollen_tiff("tiff_adobe_deflate"), np.zeros((64, 64, 3), np.uint8)),
    "huge text.png": Hostile(
        png(8, 2, rows(RGB), ((b"zTXt", b"Comment\0\0" + ZEROS),)), refusal=("damaged_image", "Pillow")
    ),
    "huge profile.png": Hostile(
        png(8, 2, rows(RGB), ((b"iCCP", b"profile\0\0" + ZEROS),)),
        refusal=("damaged_image", "Pillow"),
    ),
    # No pixels.
    "no width.png": Hostile(png(8, 2, rows(RGB), claims=(0, 5)), refusal=("damaged_image",)),
    "no height.bmp": Hostile(patched(saved(PICTURE, "BMP"), at_22=bytes(4)), refusal=("damaged_image",)),
    "no width.tif": Hostile(patched(tiff(RGB), at_18=bytes(4)), refusal=("damaged_image",)),
    "no width.gif": Hostile(patched(saved(PALETTE, "GIF"), at_6=bytes(4)), np.asarray(PALETTE.convert("RGB"))),
    "no height.pgm": Hostile(b"P5 5 0 255\n", refusal=("not_an_image",)),
    "no rows.dcm": Hostile(dicom_bytes(dicom_slice(CT, Rows=0)), refusal=("damaged_image", "18 x 0")),
    "no height.jpg": Hostile(jpeg_size(JPEG, 18, 0), refusal=("damaged_image",)),
    # Numbers that are none, and those of more than 8 bits.
    "nan.tif": Hostile(tiff(NAN), refusal=("not_finite", "1 ")),
    "infinite.tif": Hostile(tiff(INFINITE), refusal=("not_finite", "1 ")),
    "all equal.tif": Hostile(tiff(np.full((5, 6, 1), 7.5, np.float32)), np.zeros((5, 6, 3)), note="7.5 to 7.5"),
    "huge numbers.tif": Hostile(
        tiff(np.linspace(-3e38, 3e38, 216, dtype=np.float32).reshape(12, 18, 1)),
        spread(np.linspace(-3e38, 3e38, 216, dtype=np.float32).reshape(12, 18, 1)),
    ),
    "12 of 16.png": Hostile(deep_file(WIDE, "PNG"), spread(WIDE), note="16 bits"),
    "12 of 16.pgm": Hostile(deep_file(WIDE, "PGM"), spread(WIDE), note="12 bits"),
    "beyond its maximum.pgm": Hostile(b"P5 2 1 4095\n\x0f\xff\x10\0", refusal=("damaged_image", "4095", "4096")),
    "16 colour.png": Hostile(deep_file(WIDE_RGB, "RGB PNG"), spread(WIDE_RGB), note="16 bits"),
    "16 colour.tif": Hostile(deep_file(WIDE_RGB, "RGB LZW TIFF"), spread(WIDE_RGB), note="16 bits"),
    "32.tif": Hostile(tiff(WIDE.astype(np.int32) * -999), spread(WIDE.astype(np.int32) * -999), note="32 bits"),
    "hounsfield.dcm": Hostile(dicom_bytes(dicom_slice(CT)), spread(CT[..., None]), note="16 bits"),
    # Transparent.
    "alpha.png": Hostile(png(8, 6, rows(with_alpha(RGB, 255))), upper_black(RGB), note=raster.TRANSPARENT),
    "alpha.webp": Hostile(
        saved(Image.fromarray(with_alpha(RGB, 255)), "WEBP", lossless=True), upper_black(RGB), note=raster.TRANSPARENT
    ),
    "16 alpha.png": Hostile(
        png(16, 6, rows(with_alpha(WIDE_RGB, 65535))), spread(upper_black(WIDE_RGB)), note=raster.TRANSPARENT
    ),
    "16 grey alpha.png": Hostile(
        png(16, 4, rows(with_alpha(WIDE, 65535))), spread(upper_black(WIDE)), note=raster.TRANSPARENT
    ),
    "key.png": Hostile(
        png(8, 2, rows(keyed(RGB, (1, 2, 3))), ((b"tRNS", struct.pack(">3H", 1, 2, 3)),)),
        keyed(RGB, (0, 0, 0)),
        note=raster.TRANSPARENT,
    ),
    "16 key.png": Hostile(
        png(16, 0, rows(keyed(WIDE, (300,))), ((b"tRNS", struct.pack(">H", 300)),)),
        spread(np.where(keyed(WIDE, (300,)) == 300, np.uint16(0), WIDE)),
        note=raster.TRANSPARENT,
    ),
    "16 colour key.png": Hostile(
        png(16, 2, rows(keyed(WIDE_RGB, (300, 5, 9))), ((b"tRNS", struct.pack(">3H", 300, 5, 9)),)),
        spread(keyed(WIDE_RGB, (0, 0, 0))),
        note=raster.TRANSPARENT,
    ),
    # Several frames, of which the first is taken.
    "animated.gif": Hostile(saved(FRAMES[0], "GIF", **SEVERAL), FIRST_FRAME, note="3 frames"),
    "animated.png": Hostile(saved(FRAMES[0], "PNG", **SEVERAL), FIRST_FRAME, note="3 frames"),
    "animated.webp": Hostile(saved(FRAMES[0], "WEBP", lossless=True, **SEVERAL), FIRST_FRAME, note="3 frames"),
    "pages.tif": Hostile(saved(FRAMES[0], "TIFF", **SEVERAL), FIRST_FRAME, note="3 frames"),
    "pages without end.tif": Hostile(looped_tiff(), RGB),
    "claims frames.png": Hostile(
        png(8, 2, rows(RGB), ((b"acTL", struct.pack(">II", 2**31 - 1, 0)),)), RGB, note="2147483648 frames"
    ),
    # Kinds that are rare.
    "cmyk.tif": Hostile(saved(PICTURE.convert("CMYK"), "TIFF"), RGB, note="CMYK", off=1),
    "cmyk.jpg": Hostile(saved(PICTURE.convert("CMYK"), "JPEG", quality=100), RGB, note="CMYK", off=8),
    "one bit.png": Hostile(saved(ONE_BIT, "PNG"), grey(BITS * 255)),
    "one bit.tif": Hostile(saved(ONE_BIT, "TIFF", compression="group4"), grey(BITS * 255)),
    "one bit.pbm": Hostile(saved(ONE_BIT, "PPM"), grey(BITS * 255)),
    "one bit.dcm": Hostile(dicom_bytes(dicom_slice(BITS, BitsStored=1, HighBit=0)), grey(BITS * 255)),
    "interlaced.png": Hostile(png(8, 2, rows(RGB), interlaced=True), RGB),
    "16 interlaced.png": Hostile(png(16, 2, rows(WIDE_RGB), interlaced=True), spread(WIDE_RGB)),
    "top down.bmp": Hostile(top_down_bmp(), RGB),
    # Damaged, or with something added.
    "bad exif.png": Hostile(saved(PICTURE, "PNG", exif=b"Exif\0\0nonsense"), RGB, note="EXIF"),
    "bad exif.jpg": Hostile(
        saved(PICTURE, "JPEG", quality=100, subsampling=0, exif=b"Exif\0\0II*\0\xff\xff\xff\x7f"), SHOWN_JPEG
    ),
    "bad checksum.png": Hostile(patched(GOOD, at_30=b"\0\0"), refusal=("damaged_image",)),
    "bad pixels.png": Hostile(
        patched(GOOD, **{f"at_{GOOD.index(b'IDAT') + 20}": bytes(30)}), refusal=("damaged_image",)
    ),
    # Pillow meets the pixels while it looks for an EXIF block.
    "bad pixels, good checksum.png": Hostile(
        png(8, 2, rows(RGB), ((b"IDAT", b"not zlib at all"),)), refusal=("damaged_image", "Pillow")
    ),
    "more after it.png": Hostile(GOOD + b"<script>" * 50, RGB),
    "more before it.png": Hostile(b"\n\n" + GOOD, refusal=("not_an_image",)),
    "new lines.png": Hostile(GOOD.replace(b"\r\n", b"\n"), refusal=("damaged_image",)),
    "bad pixels 16.png": Hostile(
        patched(deep_file(WIDE_RGB, "RGB PNG"), at_300=b"damaged"), refusal=("damaged_image",)
    ),
    "no preamble.dcm": Hostile(dicom_bytes(dicom_slice(BITS * 9))[132:], grey(BITS * 9)),
}  # fmt: skip

WHOLE = {
    "cut.png": (saved(Image.fromarray(NOISE), "PNG"), NOISE),
    "cut.jpg": (JPEG, SHOWN_JPEG),
    "cut.gif": (saved(PALETTE, "GIF"), np.asarray(PALETTE.convert("RGB"))),
    "cut.bmp": (saved(PICTURE, "BMP"), RGB),
    "cut.tif": (tiff(RGB), RGB),
    "cut lzw.tif": (saved(Image.fromarray(NOISE), "TIFF", compression="tiff_lzw"), NOISE),
    "cut.webp": (saved(Image.fromarray(NOISE), "WEBP", lossless=True), NOISE),
    "cut.ppm": (saved(PICTURE, "PPM"), RGB),
    "cut.pgm": (deep_file(WIDE, "PGM"), spread(WIDE)),
    "cut 16.png": (deep_file(WIDE_RGB, "RGB PNG"), spread(WIDE_RGB)),
    "cut.dcm": (dicom_bytes(dicom_slice(CT)), spread(CT[..., None])),
}


def agrees(decoded: np.ndarray, wanted: Hostile) -> bool:
    return decoded.shape == wanted.shows.shape and bool(np.abs(decoded.astype(int) - wanted.shows).max() <= wanted.off)


@pytest.mark.parametrize("name", CORPUS)
def test_each_is_read_rightly_or_listed_with_a_reason(name: str, tmp_path: Path) -> None:
    wanted = CORPUS[name]
    wanted.lay(tmp_path / name)
    scan, failures = scan_images(tmp_path, [name], ScanOptions(remember=False))
    assert len(scan) + len(failures) == 1
    if failures:
        assert wanted.refusal, failures[0].reason
        check(failures[0], *wanted.refusal)
        assert "\n" not in str(failures[0])
        str(failures[0]).encode()
        return
    assert wanted.shows is not None, "it was read, and should not have been"
    decoded = images.read(tmp_path / name, Decoding())
    assert agrees(decoded.pixels, wanted), np.abs(decoded.pixels.astype(int) - wanted.shows).max()
    assert (scan["height"].item(), scan["width"].item()) == wanted.shows.shape[:2]
    assert scan["content"].item() == decoded.content
    assert wanted.note in scan["notes"].item()
    if not wanted.note and decoded.stored.dtype == np.uint8:
        assert scan["notes"].item() == ""


def test_the_corpus_is_large_and_says_what_it_expects() -> None:
    assert len(CORPUS) >= 40
    assert all(wanted.shows is not None or wanted.refusal for wanted in CORPUS.values())


@pytest.mark.parametrize("name", WHOLE)
def test_cut_at_every_tenth_byte(name: str, tmp_path: Path) -> None:
    """The whole file is read rightly; of a cut one every pixel is there all the same, or it is listed."""
    data, shows = WHOLE[name]
    assert np.array_equal(images.decode(data, Decoding()).pixels, shows)
    stem, ending = name.rsplit(".", 1)
    names = [f"{stem} at {cut}.{ending}" for cut in range(0, len(data), 10)]
    for cut, part in enumerate(names):
        (tmp_path / part).write_bytes(data[: cut * 10])
    scan, failures = scan_images(tmp_path, names, ScanOptions(remember=False))
    assert len(scan) + len(failures) == len(names)
    assert len(failures) >= 0.9 * len(names)
    assert all(failure.reason for failure in failures)
    for part in scan.index:
        assert np.array_equal(images.read(tmp_path / part, Decoding()).pixels, shows), part


def test_a_file_without_permission_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("locked.png", "open.png"):
        (tmp_path / name).write_bytes(GOOD)
    read_bytes = Path.read_bytes

    def refuse(self: Path) -> bytes:  # root may read everything, so the refusal is played
        if self.name == "locked.png":
            raise PermissionError(13, "Permission denied")
        return read_bytes(self)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    scan, failures = scan_images(tmp_path, ["locked.png", "open.png"], ScanOptions(remember=False))
    assert list(scan.index) == ["open.png"]
    assert [(failure.kind, failure.path) for failure in failures] == [("unreadable_file", tmp_path / "locked.png")]


@pytest.mark.slow
def test_the_whole_corpus_at_once_within_its_memory(tmp_path: Path) -> None:
    """Of every file its own outcome, in the order asked, and no more memory than is stated above."""
    if not Path("/proc/self/status").is_file():
        pytest.skip("this system does not tell a process its peak in /proc")
    names = [name for name in CORPUS if name.isprintable()]  # the others are no table's, nor a command line's
    for name in names:
        CORPUS[name].lay(tmp_path / name)
    (tmp_path / "names.json").write_text(json.dumps(names))
    (tmp_path / "plain.png").write_bytes(GOOD)
    script = (
        "import json, sys, warnings; from pathlib import Path\n"
        "from medcls.data.sources.scan import ScanOptions, scan_images\n"
        "warnings.simplefilter('ignore')\n"
        "root = Path(sys.argv[1]); names = json.loads((root / 'names.json').read_text())\n"
        # Not getrusage: its peak is the parent's where that was higher.
        "status = Path('/proc/self/status')\n"
        "peak = lambda: int(status.read_text().split('VmHWM:')[1].split()[0]) / 1024\n"
        "scan_images(root, ['plain.png'], ScanOptions(remember=False)); before = peak()\n"
        "scan, failures = scan_images(root, names, ScanOptions(remember=False))\n"
        "print(json.dumps([list(scan.index), [str(f.path) for f in failures], peak() - before]))\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    read, failed, grown = json.loads(done.stdout.splitlines()[-1])
    assert sorted([*read, *(str(Path(path).relative_to(tmp_path)) for path in failed)]) == sorted(names)
    assert read == [name for name in names if name in read]
    assert 30 < grown < MOST_MEMORY, f"the peak grew by {grown:.0f} MiB"


def test_the_guard_would_notice_a_wrong_picture(tmp_path: Path) -> None:
    """The guard guarded: swapped colours, a turn and a lost row are not what the corpus accepts."""
    wanted = Hostile(GOOD, RGB)
    for wrong in (RGB[..., ::-1], RGB[::-1], RGB[:-1], np.zeros_like(RGB)):
        assert not agrees(wrong, wanted)
    with pytest.raises(UnreadableImage):
        images.read(tmp_path / "nothing.png", Decoding())
