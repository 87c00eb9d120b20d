"""Files that have not changed are not read again; a cache that is damaged or cannot be written stops no run."""

import contextlib
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from refusals import noted, refused, rules

from medcls.data.module import ImageStore
from medcls.data.reading import images
from medcls.data.reading.decoded import content_hash
from medcls.data.sources import scan as scan_module
from medcls.data.sources import scan_cache
from medcls.data.sources.folders import from_folders
from medcls.data.sources.saved import reopen
from medcls.data.sources.scan import ScanOptions, scan_images
from medcls.data.sources.scan_cache import ScanCache, count, empty, folder, remove
from medcls.data.splits.split import split
from medcls.preprocessing import Preprocessing


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3)).astype(np.uint8)


def some(root: Path, count: int = 6) -> list[str]:
    """Pictures that are old enough for their time to be trusted."""
    root.mkdir(parents=True, exist_ok=True)
    for k in range(count):
        Image.fromarray(noise(10 + k, 20)).save(root / f"{k}.png")
        age(root / f"{k}.png")
    return [f"{k}.png" for k in range(count)]


def age(path: Path, seconds: int = 60) -> None:
    long_ago = time.time_ns() - seconds * 10**9
    os.utime(path, ns=(long_ago, long_ago))


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are opened, as they are."""
    names: list[str] = []
    read = images.read

    def watched(path, decoding):
        names.append(path.name)
        return read(path, decoding)

    monkeypatch.setattr(images, "read", watched)
    return names


def test_p15_an_unchanged_file_is_not_opened_again(tmp_path, own_cache, opened, monkeypatch):
    monkeypatch.setattr(scan_module, "BATCH", 4)
    root = tmp_path / "images"
    paths = some(root)
    first, _ = scan_images(root, paths)
    assert sorted(opened) == paths
    opened.clear()
    calls = []
    second, failures = scan_images(root, paths, ScanOptions(progress=lambda done, total: calls.append((done, total))))
    assert (opened, failures, calls) == ([], [], [(4, 6), (6, 6)])
    assert second.equals(first)
    assert (second.dtypes == first.dtypes).all()


def test_p15_what_changes_a_picture_makes_it_be_read_again(tmp_path, own_cache, opened, monkeypatch):
    root = tmp_path / "images"
    paths = some(root)
    before, _ = scan_images(root, paths)
    opened.clear()
    size = (root / "2.png").stat().st_size
    Image.fromarray(255 - noise(12, 20)).save(root / "2.png")
    age(root / "2.png", 50)
    assert (root / "2.png").stat().st_size == size  # noise does not compress: only the time tells
    after, _ = scan_images(root, paths)
    assert opened == ["2.png"]
    assert after["content"]["2.png"] == content_hash(255 - noise(12, 20)) != before["content"]["2.png"]
    for change in (
        lambda: age(root / "2.png", 30),
        lambda: monkeypatch.setattr(images, "DECODING_VERSION", images.DECODING_VERSION + 1),
        lambda: monkeypatch.setattr(images.metadata, "version", lambda package: "99"),
        lambda: monkeypatch.setattr(scan_module, "COLUMNS", (*scan_module.COLUMNS[:-1], "edge_spots")),
    ):
        opened.clear()
        change()
        images.reading_version.cache_clear()
        scan_images(root, ["2.png"])
        assert opened == ["2.png"]
    images.reading_version.cache_clear()


def test_p15_another_picture_of_the_same_size_and_time_is_read_again(tmp_path, own_cache, opened):
    root = tmp_path / "images"
    paths = some(root)
    scan_images(root, paths)
    opened.clear()
    before = (root / "2.png").stat()
    Image.fromarray(255 - noise(12, 20)).save(root / "2.png")
    os.utime(root / "2.png", ns=(before.st_atime_ns, before.st_mtime_ns))  # as an archive or a copying tool does
    assert (root / "2.png").stat().st_size == before.st_size
    after, _ = scan_images(root, paths)
    assert opened == ["2.png"]
    assert after["content"]["2.png"] == content_hash(255 - noise(12, 20))


def test_p15_frames_are_told_apart(tmp_path, own_cache, opened):
    paths = some(tmp_path / "images", 1)
    scan_images(tmp_path / "images", paths)
    opened.clear()
    scan_images(tmp_path / "images", paths, ScanOptions(frame=1))
    assert opened == paths


def test_p15_a_file_as_young_as_a_coarse_clock_is_not_remembered(tmp_path, own_cache, opened):
    root = tmp_path / "images"
    paths = some(root, 3)
    os.utime(root / "1.png")
    age(root / "2.png", -3600)  # from the future: no better
    scan_images(root, paths)
    opened.clear()
    scan_images(root, paths)
    assert sorted(opened) == ["1.png", "2.png"]


def test_links_are_known_by_where_they_lead(tmp_path, own_cache, opened):
    root = tmp_path / "images"
    some(root, 2)
    linked = tmp_path / "linked"
    linked.symlink_to(root)
    (root / "link.png").symlink_to(root / "0.png")
    scan_images(root, ["0.png", "1.png"])
    opened.clear()
    assert len(scan_images(linked, ["0.png", "1.png", "link.png"])[0]) == 3
    assert opened == []


def test_an_unreadable_file_is_not_remembered(tmp_path, own_cache, opened):
    root = tmp_path / "images"
    paths = some(root, 3)
    (root / "1.png").write_bytes(b"<html>")
    age(root / "1.png")
    for _ in range(2):
        opened.clear()
        _, failures = scan_images(root, [*paths, "gone.png"])
        assert [failure.path.name for failure in failures] == ["1.png", "gone.png"]
    assert sorted(opened) == ["1.png", "gone.png"]


def test_without_remembering_nothing_is_written(tmp_path, own_cache, opened):
    paths = some(tmp_path / "images")
    for _ in range(2):
        scan_images(tmp_path / "images", paths, ScanOptions(remember=False))
    assert len(opened) == 12
    assert not own_cache.exists()


COLUMN_OF_ANOTHER_TYPE = """
DROP TABLE facts; CREATE TABLE facts (key BLOB PRIMARY KEY, fact INTEGER NOT NULL) STRICT
"""


@pytest.mark.parametrize(
    "damage",
    [
        "header",
        "middle",
        COLUMN_OF_ANOTHER_TYPE,
        "DROP TABLE facts; CREATE TABLE facts (name TEXT)",
        "ALTER TABLE facts RENAME COLUMN fact TO value",
        "ALTER TABLE facts RENAME TO others; CREATE VIEW facts AS SELECT key, 5 AS fact FROM others",
    ],
)
def test_a_damaged_store_is_made_anew_and_said(tmp_path, own_cache, opened, caplog, damage):
    root = tmp_path / "images"
    paths = some(root, 60)
    first, _ = scan_images(root, paths)
    (store,) = own_cache.rglob("*.sqlite")
    if damage == "header":
        store.write_bytes(b"not a database, whatever its name says" * 100)
    elif damage == "middle":
        data = bytearray(store.read_bytes())
        data[4096:] = os.urandom(len(data) - 4096)
        store.write_bytes(data)
    else:
        with sqlite3.connect(store) as connection:
            connection.executescript(damage)
        connection.close()
    opened.clear()
    with caplog.at_level(logging.WARNING):
        assert scan_images(root, paths)[0].equals(first)
    assert len(opened) == 60
    # Of a view the rows are none of ours, and then it cannot be written.
    assert rules(caplog) == ["facts_damaged"] * ("VIEW" in damage) + ["fact_store_damaged"]
    assert len(caplog.records) == len(rules(caplog))
    opened.clear()
    assert scan_images(root, paths)[0].equals(first)
    assert opened == []


@pytest.mark.parametrize(
    "row", [5, 1.5, "[", "text \ud800", b"", b"{}", b"\xff" * 99, "swapped", "content", "number"], ids=repr
)
def test_a_damaged_row_is_said_and_its_file_alone_read_again(tmp_path, own_cache, opened, caplog, row):
    root = tmp_path / "images"
    paths = some(root, 6)
    first, _ = scan_images(root, paths)
    (store,) = own_cache.rglob("*.sqlite")
    with sqlite3.connect(store) as connection:
        stored = dict(connection.execute("SELECT rowid, fact FROM facts"))
        if row == "swapped":  # with another file's
            row = stored[4]
        elif row == "content":  # one digit of the content hash
            at = stored[3].index(b'["') + 5
            row = stored[3][:at] + (b"0" if stored[3][at : at + 1] != b"0" else b"1") + stored[3][at + 1 :]
        elif row == "number":
            row = stored[3].replace(b",20,", b",21,", 1)
        elif isinstance(row, str):
            connection.execute("UPDATE facts SET fact = CAST(? AS TEXT)", (row.encode(errors="surrogatepass"),))
            row = None
        if row is not None:
            assert row != stored[3]
            connection.execute("UPDATE facts SET fact = ? WHERE rowid = 3", (row,))
    connection.close()
    opened.clear()
    with caplog.at_level(logging.WARNING):
        assert scan_images(root, paths)[0].equals(first)
    damaged = 1 if row is not None else 6
    assert len(opened) == damaged
    assert rules(caplog) == ["facts_damaged"] and noted(caplog.messages, str(damaged), str(store))
    assert len(caplog.records) == 1
    opened.clear()
    assert scan_images(root, paths)[0].equals(first)
    assert opened == []


def lying(store: Path, old: str, new: str) -> None:
    """Make a store say another content, with the right checksum: as if a library read otherwise than it once did."""
    with sqlite3.connect(store) as connection:
        for key, row in connection.execute("SELECT key, fact FROM facts").fetchall():
            values = scan_cache._unpack(key, row)
            if values[0] == old:
                connection.execute(
                    "UPDATE facts SET fact = ? WHERE key = ?", (scan_cache._pack(key, [new, *values[1:]]), key)
                )
    connection.close()


def test_what_the_store_says_is_checked_against_the_file_before_a_run_is_refused_for_it(
    tmp_path, own_cache, folder, caplog
):
    root = folder({"a": 20, "b": 20})
    for path in root.rglob("*.png"):
        age(path)
    manifest = split(from_folders(root, positive="a"))
    (tmp_path / "manifest.csv").write_text(manifest.to_csv(), encoding="utf-8")
    (store,) = own_cache.rglob("*.sqlite")
    one, other = (manifest.rows.query("label == @label")["content"].iloc[0] for label in ("a", "b"))

    # Two labels for one picture, says the store.
    lying(store, one, other)
    assert (
        from_folders(root, positive="a").fingerprint() == from_folders(root, positive="a", remember=False).fingerprint()
    )
    assert rules(caplog) == ["facts_wrong"] and noted(caplog.messages, "1", "a/000.png")
    caplog.clear()
    from_folders(root, positive="a")  # it was read anew above, and is known again
    assert caplog.text == ""

    # Another picture than the run had, says the store.
    lying(store, one, "0" * 32)
    reopen(tmp_path / "manifest.csv", root, manifest.classes, "a", splits=["train", "val", "test"])
    assert rules(caplog) == ["facts_wrong"]

    # Nothing looks wrong until the image is decoded: the reason is the right one, and the next run goes through.
    from_folders(root, positive="a")
    lying(store, one, "0" * 32)
    wrong = split(from_folders(root, positive="a"))
    rows = np.flatnonzero((wrong.rows["content"] == "0" * 32).to_numpy())
    preprocessing = Preprocessing(size=(24, 24), mean=(0.5,) * 3, std=(0.5,) * 3)
    with refused("wrong_cache", "a/000.png"):
        ImageStore(wrong, preprocessing, cache=True).cache(rows)
    again = split(from_folders(root, positive="a"))
    assert again.fingerprint() == manifest.fingerprint()
    ImageStore(again, preprocessing, cache=True).cache(rows)


def test_a_store_that_cannot_be_written_stops_no_run(tmp_path, own_cache, caplog, monkeypatch):
    root = tmp_path / "images"
    paths = some(root, 60)
    own_cache.write_text("a file where the folder should be")
    assert len(scan_images(root, paths)[0]) == 60
    own_cache.unlink()
    connect = sqlite3.connect

    def full_disk(*args, **settings):
        connection = connect(*args, **settings)
        connection.execute("PRAGMA max_page_count = 4")
        return connection

    monkeypatch.setattr(scan_module, "BATCH", 4)
    monkeypatch.setattr(scan_cache.sqlite3, "connect", full_disk)
    assert len(scan_images(root, paths)[0]) == 60
    assert rules(caplog) == ["facts_not_kept"] * 2  # once each, not once a file
    assert len(caplog.records) == 2 and "full" in caplog.messages[1]


@pytest.fixture
def filled(tmp_path, own_cache) -> ScanCache:
    """A cache with the rows of `0.png` and `1.png`; `2.png` is there, and is not in it."""
    cache = ScanCache(tmp_path / "images", 0, ("content", "width"))
    some(tmp_path / "images", 3)
    with cache:
        assert cache.get(["0.png", "1.png", "2.png"]) == {}
        cache.put({"0.png": ["é", 1], "1.png": ["b", 2.5]})
    return cache


def test_a_row_that_was_put_is_got_in_another_process_and_no_other(filled, tmp_path):
    with ScanCache(tmp_path / "images", 0, ("content", "width")) as cache:
        assert cache.get(["1.png", "gone.png", "0.png", "2.png", "nul\0.png"]) == {
            "1.png": ["b", 2.5],
            "0.png": ["é", 1],
        }
        assert cache.get([]) == {}
    for root, frame, columns in (
        (tmp_path, 0, ("content", "width")),
        (tmp_path / "images", 1, ("content", "width")),
        (tmp_path / "images", 0, ("content", "height")),
    ):
        with ScanCache(root, frame, columns) as other:
            assert other.get(["0.png", "1.png"]) == {}
    assert count(filled.path) == 2


def test_only_a_row_of_a_file_that_was_looked_up_is_put(filled):
    with filled:
        filled.get(["0.png"])
        filled.put({"2.png": ["c", 3]})
        assert filled.get(["2.png"]) == {}
        filled.put({})
    assert count(filled.path) == 2


def test_a_removed_row_is_not_got_and_the_others_are(filled):
    with filled:
        filled.remove(["0.png", "2.png", "gone.png"])
        assert set(filled.get(["0.png", "1.png"])) == {"1.png"}


def test_a_cache_that_is_not_open_has_nothing_and_takes_nothing(filled):
    assert filled.get(["0.png"]) == {}
    filled.put({"0.png": ["x", 9]})
    with filled:
        assert filled.get(["0.png"]) == {"0.png": ["é", 1]}


def test_a_cache_file_is_for_its_owner_alone_and_names_no_file(filled):
    assert filled.path.stat().st_mode & 0o777 == 0o600
    assert filled.path.parent == folder() and b"0.png" not in filled.path.read_bytes()


def test_an_emptied_cache_has_no_rows_and_stays_one(filled):
    assert empty(filled.path)
    assert count(filled.path) == 0 and filled.path.exists()
    with filled:
        assert filled.get(["0.png"]) == {}
        filled.put({"0.png": ["x", 9]})
    assert count(filled.path) == 1


def test_a_cache_that_another_process_writes_to_is_not_emptied(filled):
    with contextlib.closing(sqlite3.connect(filled.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert not empty(filled.path)
        other.execute("ROLLBACK")
    assert count(filled.path) == 2


def test_what_is_no_cache_has_no_rows_and_is_removed_with_its_journal_to_empty_it(filled):
    filled.path.write_bytes(b"not a database, whatever its name says" * 100)
    journal = Path(f"{filled.path}-journal")
    journal.touch()
    assert count(filled.path) == 0
    assert empty(filled.path) and not filled.path.exists() and not journal.exists()
    assert count(filled.path) == 0 and not filled.path.exists(), "counting makes no file"
    remove(filled.path)  # there is nothing to remove


KILLED = """
import sys
from pathlib import Path
from medcls.data.sources import scan as module
module.BATCH = 4
root = Path(sys.argv[1])
def progress(done, total):
    if done == 11:
        print("now", flush=True)
        sys.stdin.read()
module.scan_images(root, sorted(p.name for p in root.iterdir()), module.ScanOptions(progress=progress))
"""


@pytest.mark.slow
def test_p15_a_kill_in_the_middle_keeps_what_was_found(tmp_path, own_cache, opened):
    root = tmp_path / "images"
    some(root, 20)
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, root], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "now\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    scan, _ = scan_images(root, sorted(p.name for p in root.iterdir()))
    assert len(scan) == 20
    assert len(opened) == 12  # two batches of four were kept


@pytest.mark.slow
def test_several_processes_share_the_store(tmp_path, own_cache, opened):
    root = tmp_path / "images"
    paths = some(root, 40)
    code = KILLED.replace("done == 11", "False")
    processes = [subprocess.Popen([sys.executable, "-c", code, root], stderr=subprocess.PIPE) for _ in range(3)]
    assert [process.communicate()[1] for process in processes] == [b""] * 3
    assert [process.returncode for process in processes] == [0] * 3
    assert len(scan_images(root, paths)[0]) == 40
    assert opened == []
