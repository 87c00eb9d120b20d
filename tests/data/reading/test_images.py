"""Files are read or refused with their reason; pixels are resized; names of images are known."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from made_files import BLUE, RED, deep_file, noise, saved
from refusals import noted, refused

from medcls.data.reading import images
from medcls.data.reading.decoded import UnreadableImage
from medcls.data.reading.images import decode, is_image_name, is_junk, read, resize, resize_back
from medcls.preprocessing import Decoding

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
