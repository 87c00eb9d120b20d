"""Pixels on disk: what they depend on names them, and no kill, no damage, no full disk makes a slot lie."""

import dataclasses
import errno
import hashlib
import logging
import multiprocessing
import os
import pickle
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import filelock
import numpy as np
import pytest
from PIL import Image
from refusals import noted, rules

from medcls.data import cache as cache_module
from medcls.data.cache import ENTRY, DamagedImage, MappedImages, PixelCache, clear, everything
from medcls.data.module import ImageStore
from medcls.data.reading import images
from medcls.data.sources.folders import from_folders
from medcls.data.sources.scan import scan_images
from medcls.preprocessing import Preprocessing

PREPROCESSING = Preprocessing(size=(4, 5), mean=(0.5,) * 3, std=(0.2,) * 3)


pytestmark = pytest.mark.usefixtures("own_cache")


def name(number: int) -> str:
    return hashlib.blake2b(bytes([number]), digest_size=16).hexdigest()


def picture(number: int, shape: tuple[int, ...] = (4, 5, 3), dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(number).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


class Reader:
    """Gives pictures by number, and remembers which were asked for."""

    def __init__(self, numbers: range | list[int], **kind: object) -> None:
        self.names = [name(number) for number in numbers]
        self._numbers, self._kind = list(numbers), kind
        self.read: list[int] = []

    def __call__(self, place: int) -> np.ndarray:
        self.read.append(self._numbers[place])
        return picture(self._numbers[place], **self._kind)


def filled(numbers: range | list[int], preprocessing: Preprocessing = PREPROCESSING) -> PixelCache:
    cache, reader = PixelCache(preprocessing), Reader(numbers)
    cache.fill(reader.names, reader)
    return cache


def check(cache: PixelCache, numbers: range | list[int]) -> None:
    images, slots = cache.find([name(number) for number in numbers])
    assert (slots >= 0).all()
    for number, slot in zip(numbers, slots, strict=True):
        assert np.array_equal(images[slot], picture(number))


def test_pictures_come_back_and_are_read_once():
    cache, reader = PixelCache(PREPROCESSING), Reader([3, 1, 2, 1, 3])
    assert cache.find(reader.names)[0] is None
    cache.fill(reader.names, reader)
    assert sorted(reader.read) == [1, 2, 3]  # copies share a slot
    check(cache, [1, 2, 3, 1])
    again = Reader(range(6))
    PixelCache(PREPROCESSING).fill(again.names, again)
    assert sorted(again.read) == [0, 4, 5]
    check(cache, range(6))
    assert not cache.find([name(9)])[1][0] >= 0
    assert sum(path.stat().st_size for path in cache.folder.glob("*.images")) == 6 * 4 * 5 * 3


def test_what_is_kept_cannot_be_written_to():
    images, slots = filled([1]).find([name(1)])
    with pytest.raises(ValueError, match="read-only"):
        images[slots[0]][:] = 0


def test_sixteen_bits_stay_sixteen():
    preprocessing = dataclasses.replace(PREPROCESSING, bits=16)
    cache, reader = PixelCache(preprocessing), Reader(range(3), dtype=np.uint16)
    cache.fill(reader.names, reader)
    images, slots = cache.find(reader.names)
    assert images[slots[2]].dtype == np.uint16
    assert np.array_equal(images[slots[2]], picture(2, dtype=np.uint16))


@pytest.mark.parametrize(
    "change",
    [
        {"mean": (0.5,), "std": (0.2,)},
        {"bits": 16},
        {"window": "full"},
        {"window": (-160, 240)},
        {"frame": 1},
        {"size": (5, 4)},
        {"resize": "crop"},
        {"interpolation": "lanczos"},
    ],
    ids=str,
)
def test_p15_each_part_of_the_decoding_gives_another_file(change):
    assert PixelCache(dataclasses.replace(PREPROCESSING, **change)).folder != PixelCache(PREPROCESSING).folder


def test_p15_another_version_of_what_reads_gives_another_file(monkeypatch):
    former = PixelCache(PREPROCESSING).folder
    for place, value in (("DECODING_VERSION", 99), ("_version", lambda package: "99")):
        with monkeypatch.context() as patch:
            patch.setattr(images, place, value)
            images.reading_version.cache_clear()
            assert PixelCache(PREPROCESSING).folder != former
    images.reading_version.cache_clear()
    assert PixelCache(PREPROCESSING).folder == former


def test_p15_normalising_is_not_part_of_what_is_kept():
    other = dataclasses.replace(PREPROCESSING, mean=(0.0,) * 3, std=(1.0,) * 3, range=(-1, 1))
    assert PixelCache(other).folder == PixelCache(PREPROCESSING).folder


FILL = """
import sys, os
import numpy as np
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/../support"]
import test_cache as t
t.cache_module.BATCH_BYTES = 4 * 60
reader = t.Reader(range(40))
stop_at = int(sys.argv[2])
def read(place):
    with open(sys.argv[3], "a") as file:
        file.write(f"{place}\\n")
    if place == stop_at:
        print("now", flush=True)
        sys.stdin.read()
    return reader(place)
print("ready", flush=True)
sys.stdin.readline()
t.PixelCache(t.PREPROCESSING).fill(reader.names, read)
"""


def start(asked: Path, stop_at: int = -1) -> subprocess.Popen:
    command = [sys.executable, "-c", FILL, Path(__file__).parent, str(stop_at), asked]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen) -> None:
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.mark.slow
def test_p15_a_kill_in_the_middle_loses_a_batch_and_no_slot_lies(tmp_path):
    process = start(tmp_path / "asked", stop_at=21)
    go(process)
    assert process.stdout.readline() == "now\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    cache = PixelCache(PREPROCESSING)
    check(cache, range(20))
    # As if it had been killed a little later: half a batch of pictures, and half a name.
    (images,), (contents,) = cache.folder.glob("*.images"), cache.folder.glob("*.contents")
    for path, rubbish in ((images, b"x" * 100), (contents, b"0" * 17)):
        with path.open("ab") as file:
            file.write(rubbish)
    check(cache, range(20))
    reader = Reader(range(40))
    cache.fill(reader.names, reader)
    assert sorted(reader.read) == list(range(20, 40))
    check(cache, range(40))


@pytest.mark.parametrize("calls", [0, 1, 2, 3])
def test_p15_stopped_between_pictures_and_names_no_slot_lies(monkeypatch, calls):
    monkeypatch.setattr(cache_module, "BATCH_BYTES", 4 * 60)
    write, left = cache_module._write_at, iter(range(calls))

    def stopped(path, offset, values):
        if next(left, None) is None:
            raise KeyboardInterrupt
        write(path, offset, values)

    with monkeypatch.context() as patch:
        patch.setattr(cache_module, "_write_at", stopped)
        with pytest.raises(KeyboardInterrupt):
            filled(range(8))
    cache = PixelCache(PREPROCESSING)
    _, slots = cache.find([name(number) for number in range(8)])
    assert (slots >= 0).sum() == calls // 2 * 4
    check(cache, [number for number in range(8) if slots[number] >= 0])
    check(filled(range(8)), range(8))


@pytest.mark.slow
def test_p15_of_two_processes_one_fills_and_the_other_finds(tmp_path):
    both = [start(tmp_path / "asked") for _ in range(2)]
    for process in both:
        go(process)
    for process in both:
        process.communicate()
        assert process.returncode == 0
    asked = (tmp_path / "asked").read_text().split()
    assert sorted(map(int, asked)) == list(range(40))
    check(PixelCache(PREPROCESSING), range(40))


def test_who_waits_for_another_process_says_so(caplog):
    cache = filled([1])
    reader = Reader([1, 2])
    other = filelock.FileLock(f"{cache.folder}.lock")
    with caplog.at_level(logging.INFO), other:
        waiting = threading.Thread(target=cache.fill, args=(reader.names, reader))
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive()
        assert rules(caplog) == ["cache_waits"]
    waiting.join()
    check(cache, [1, 2])


@pytest.mark.parametrize("damage", ["images cut", "images gone", "key", "contents cut"])
def test_p15_a_damaged_cache_is_made_anew_and_said(damage, caplog):
    cache = filled(range(8))
    former, slots = cache.find([name(5)])
    assert np.array_equal(former[slots[0]], picture(5))
    (images,), (contents,) = cache.folder.glob("*.images"), cache.folder.glob("*.contents")
    if damage == "images cut":
        images.write_bytes(images.read_bytes()[:-7])
    elif damage == "images gone":
        images.unlink()
    elif damage == "key":
        (cache.folder / "key.json").write_text("{")
    else:
        contents.write_bytes(contents.read_bytes()[: 3 * ENTRY.itemsize])
    reader = Reader([7, *range(7)])
    cache.fill(reader.names, reader)
    check(cache, range(8))
    if damage == "contents cut":  # the pictures without names are written again
        assert sorted(reader.read) == list(range(3, 8))
    else:
        assert len(reader.read) == 8
        assert len(list(cache.folder.iterdir())) == 3
    assert rules(caplog) == ["cache_damaged"] * (damage != "contents cut")


def test_p15_who_reads_a_former_generation_never_sees_another_picture():
    cache = filled(range(8))
    images, slots = cache.find([name(0)])
    travelled = pickle.loads(pickle.dumps(images))  # mapped later, in a loader's worker
    assert np.array_equal(images[slots[0]], picture(0))
    assert all(clear(kept) for kept in everything())
    filled([5, 6, 7])
    assert np.array_equal(images[slots[0]], picture(0))
    with pytest.raises(FileNotFoundError):
        travelled[slots[0]]


def test_a_full_disk_leaves_no_half_picture(monkeypatch, caplog):
    monkeypatch.setattr(cache_module, "BATCH_BYTES", 4 * 60)
    write = cache_module._write_at

    def full(path, offset, values):
        if offset >= 8 * 60:
            write(path, offset, values[:1])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, offset, values)

    with monkeypatch.context() as patch:
        patch.setattr(cache_module, "_write_at", full)
        cache = filled(range(20))
    assert rules(caplog) == ["cache_not_written"] and "No space left" in caplog.text
    check(cache, range(8))
    assert (cache.find([name(number) for number in range(8, 20)])[1] == -1).all()
    (images,) = cache.folder.glob("*.images")
    assert images.stat().st_size == 8 * 60
    check(filled(range(20)), range(20))


def test_size_is_said_first_and_half_the_free_disk_is_the_most(monkeypatch, caplog, own_cache):
    with caplog.at_level(logging.DEBUG):
        filled(range(4))
    assert noted(caplog.messages, "4", "0 MiB", str(PixelCache(PREPROCESSING).folder))
    usage = cache_module.shutil.disk_usage(own_cache)._replace(free=60 * 8 - 1)
    monkeypatch.setattr(cache_module.shutil, "disk_usage", lambda path: usage)
    cache = filled(range(8))  # four more: not half
    assert not (cache.find([name(7)])[1] >= 0).any()
    assert rules(caplog) == ["cache_too_large"]
    check(cache, range(4))


def test_a_folder_that_cannot_be_written_stops_no_run(own_cache, caplog):
    own_cache.write_text("a file where the folder should be")
    cache = filled(range(4))
    assert cache.find([name(1)])[0] is None
    assert rules(caplog) == ["cache_not_written"]


def test_what_cannot_be_read_stops_the_filling_and_keeps_the_rest(monkeypatch):
    monkeypatch.setattr(cache_module, "BATCH_BYTES", 2 * 60)
    reader = Reader(range(6))

    def read(place):
        if place == 4:
            raise ValueError("unreadable")
        return reader(place)

    cache = PixelCache(PREPROCESSING)
    with pytest.raises(ValueError, match="unreadable"):
        cache.fill(reader.names, read)
    check(cache, range(4))
    check(filled(range(6)), range(6))


def test_a_name_that_is_no_content_hash_is_refused():
    with pytest.raises(ValueError, match="32 digits"):
        PixelCache(PREPROCESSING).fill(["", name(1)], Reader([0, 1]))


def seen_elsewhere(images: MappedImages, slot: int, answer: multiprocessing.Queue) -> None:
    answer.put(images[slot].tolist())


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_other_processes_open_the_file_by_its_path(method):
    images, slots = filled(range(3)).find([name(2)])
    context = multiprocessing.get_context(method)
    answer = context.Queue()
    process = context.Process(target=seen_elsewhere, args=(images, int(slots[0]), answer))
    process.start()
    assert answer.get(timeout=60) == picture(2).tolist()
    process.join()
    images[0]
    assert len(pickle.dumps(images)) < 1000  # mapped or not, no picture travels


def test_everything_is_listed_and_cleared():
    filled(range(3))
    filled(range(5), dataclasses.replace(PREPROCESSING, frame=2, resize="letterbox", window=(-160, 240)))
    former = PixelCache(PREPROCESSING).folder / "key.json"
    os.utime(former, (0, 0))
    latest, oldest = everything()
    assert [(kept.images, kept.used.year >= 2000) for kept in (latest, oldest)] == [(5, True), (3, False)]
    assert noted([latest.what], "4 x 5", "8 bits", "letterbox", "bilinear", "[-160.0, 240.0]", "frame 2")
    assert latest.bytes > 5 * 60
    PixelCache(PREPROCESSING).find([name(0)])
    assert everything()[0].images == 3  # to be looked into is to be used
    with filelock.FileLock(f"{oldest.place}.lock"):
        assert not clear(oldest)
    assert clear(oldest)
    assert not oldest.place.exists()
    assert [kept.images for kept in everything()] == [5]


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")
@pytest.mark.parametrize("umask", [0, 0o022])
def test_what_is_kept_of_patients_images_is_for_its_owner_alone(own_cache, tmp_path, umask):
    Image.fromarray(picture(1)).save(tmp_path / "one.png")
    os.utime(tmp_path / "one.png", (1, 1))
    former = os.umask(umask)
    try:
        scan_images(tmp_path, ["one.png"])
        filled(range(3))
    finally:
        os.umask(former)
    kept = list(own_cache.rglob("*"))
    modes = {path.relative_to(own_cache).as_posix(): stat.S_IMODE(path.stat().st_mode) for path in [own_cache, *kept]}
    assert sum(path.is_file() for path in kept) >= 5  # images, contents, key, lock, scan cache
    for path in kept:
        assert modes[path.relative_to(own_cache).as_posix()] == (0o700 if path.is_dir() else 0o600), modes
    assert modes["."] == 0o700


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")
def test_a_cache_folder_that_is_shared_on_purpose_stays_shared(own_cache):
    own_cache.mkdir()
    own_cache.chmod(0o770)
    filled(range(3))
    assert stat.S_IMODE(own_cache.stat().st_mode) == 0o770


def flipped(path: Path, place: int, bit: int = 0) -> None:
    """Flip one bit of a file."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


@pytest.mark.parametrize("file", ["images", "contents"])
def test_p15_a_flipped_bit_is_never_read_as_another_picture(file):
    cache = filled(range(8))
    (path,) = cache.folder.glob(f"*.{file}")
    whole = {one: one.read_bytes() for one in cache.folder.iterdir()}
    size, draw = path.stat().st_size, np.random.default_rng(0)
    for place, bit in zip(draw.integers(0, size, 40).tolist(), draw.integers(0, 8, 40).tolist(), strict=True):
        flipped(path, place, bit)
        images, slots = cache.find([name(number) for number in range(8)])
        damaged = [number for number, slot in enumerate(slots) if slot < 0 or not readable(images, slot, number)]
        assert damaged == [place // (60 if file == "images" else ENTRY.itemsize)]
        reader = Reader(range(8))
        cache.fill(reader.names, reader)
        assert reader.read == damaged
        check(cache, range(8))
        for one, content in whole.items():
            one.write_bytes(content)


def readable(images: MappedImages, slot: int, number: int) -> bool:
    """Whether a kept picture is given; if so, it is the right one."""
    try:
        assert np.array_equal(images[slot], picture(number))
    except DamagedImage:
        return False
    return True


def test_p15_half_the_cache_zeroed_is_read_again_and_said_once(tmp_path, folder, caplog):
    root = folder({"a": 6, "b": 6})
    manifest = from_folders(root, positive="a")
    manifest = manifest.with_rows(manifest.rows.assign(split="train"))
    store, rows = ImageStore(manifest, PREPROCESSING, cache=True), np.arange(12)
    store.cache(rows)
    truth = [store.read(row).copy() for row in rows]
    (images,) = PixelCache(PREPROCESSING).folder.glob("*.images")
    content = images.read_bytes()
    images.write_bytes(bytes(len(content) // 2) + content[len(content) // 2 :])
    again = ImageStore(manifest, PREPROCESSING, cache=True)
    again.cache(rows)
    assert all(np.array_equal(again.read(row), truth[row]) for row in rows)
    assert rules(caplog) == ["cached_images_damaged"]
    assert (PixelCache(PREPROCESSING).find(manifest.rows["content"].tolist())[1] < 0).sum() == 6
    again.cache(rows)
    assert again.holds(rows) and all(np.array_equal(again.read(row), truth[row]) for row in rows)
