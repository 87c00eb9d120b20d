"""Content hashes, limits of size, and the error that says why a file cannot be read."""

import io
import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from made_files import saved, thirds
from PIL import Image
from refusals import noted, refused

from medcls.data.reading.decoded import (
    LIMIT,
    MOST_PIXELS,
    UnreadableImage,
    check_frame,
    check_size,
    content_hash,
    damaged,
    most_pixels,
)
from medcls.data.reading.images import decode
from medcls.preprocessing import Decoding


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


def test_a_frame_is_one_of_those_that_are_there_and_noted_if_there_are_several() -> None:
    assert check_frame(0, 1) == ()
    assert noted(check_frame(0, 3), "first", "3") and noted(check_frame(2, 3), "frame 2", "3")
    for frame, frames in ((1, 1), (3, 3), (0, 0)):
        with refused("no_such_frame", f"frame {frame}", f" {frames}"):
            check_frame(frame, frames)


def test_an_image_without_pixels_is_damaged_and_one_at_the_limit_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    for width, height in ((0, 5), (5, 0), (-1, 5)):
        with refused("damaged_image", f"{width} x {height}"):
            check_size(width, height)
    monkeypatch.setenv(LIMIT, "")
    assert most_pixels() == MOST_PIXELS
    check_size(1, MOST_PIXELS)
    with refused("too_many_pixels", f"{MOST_PIXELS:,}", f"{LIMIT}=N"):
        check_size(1, MOST_PIXELS + 1)


def test_an_error_of_a_library_is_one_short_line_and_never_empty() -> None:
    error = damaged(b"12345", "Pillow", OSError("broken\n data  stream " + "x" * 1000))
    assert (error.kind, error.path) == ("damaged_image", None)
    assert "\n" not in str(error) and len(str(error)) < 400
    assert all(name in error.reason for name in ("5 bytes", "Pillow", "broken data stream"))
    assert "KeyError" in damaged(b"", "pydicom", KeyError()).reason
