"""Downloads, from a server in this process: whole and checked, or nothing; no archive writes outside its folder."""

import hashlib
import http.server
import io
import logging
import stat
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from refusals import refused, rules

from medcls.cli import shipped
from medcls.data.sources import download

CONF = shipped.configurations() / "conf"


class Server:
    """Answers of one small web server: `files[path]` is what it sends, or a function of the request that does."""

    def __init__(self, files, address):
        self.files, self.address = files, address

    def url(self, name):
        return f"{self.address}/{name}"


@pytest.fixture
def server():
    files = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            answer = files.get(self.path.lstrip("/"))
            if answer is None:
                self.send_error(404)
            elif callable(answer):
                answer(self)
            else:
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        def log_message(self, *_):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, args=(0.01,))
    thread.start()
    yield Server(files, f"http://127.0.0.1:{running.server_port}")
    running.shutdown()
    running.server_close()
    thread.join()


def zipped(members, kind=stat.S_IFREG):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (kind | 0o644) << 16
            archive.writestr(entry, content)
    return buffer.getvalue()


def tarred(*members):
    """A tar.gz of (name, content, type, link target)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content, kind, link in members:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname, entry.size = kind, link, len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


GOOD = {"set/a/1.png": b"one" * 1000, "set/b/2.png": b"two", "__MACOSX/._x": b"litter"}


@pytest.fixture
def fetch(server, tmp_path):
    """Fetch what the server holds under a name into `tmp_path/images`, as `published` says it should be."""

    def run(content, name="set.zip", *, served=True, **settings):
        if served:
            server.files.setdefault(name, content)
        file = {
            "name": name,
            "url": server.url(name),
            "checksum": "sha256:" + hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
        }
        given = {
            "target": tmp_path / "images",
            "page": "https://example.org/set",
            "licence": "CC0",
            "files": [file | settings.pop("file", {})],
            "unpacked_bytes": 10_000,
        }
        download.fetch(**(given | settings))

    return run


def nothing_left(tmp_path: Path) -> bool:
    return list(tmp_path.iterdir()) == []


def test_a_good_file_is_said_fetched_checked_and_unpacked(fetch, tmp_path, caplog):
    seen = []
    with caplog.at_level(logging.INFO, logger="medcls.data.sources.download"):
        fetch(zipped(GOOD), within="set", progress=lambda done, whole: seen.append((done, whole)))
    root = tmp_path / "images"
    assert (root / "a" / "1.png").read_bytes() == b"one" * 1000
    assert sorted(path.name for path in root.rglob("*.png")) == ["1.png", "2.png"]
    assert list(tmp_path.iterdir()) == [root]
    size = len(zipped(GOOD))
    assert seen[-1] == (size, size)
    said = caplog.records[0].getMessage()
    assert all(word in said for word in (f"{size:,} bytes", str(root), "https://example.org/set", "CC0"))


def test_size_and_target_are_said_before_the_first_byte(fetch, server, tmp_path, caplog):
    server.files["set.zip"] = lambda request: (said.append(caplog.text), request.send_error(500))
    said = []
    with (
        caplog.at_level(logging.WARNING, logger="medcls.data.sources.download"),
        refused("download_failed", "500"),
    ):
        fetch(zipped(GOOD))
    assert str(tmp_path / "images") in said[0]


def test_several_files_and_plain_ones_lie_in_one_folder(server, tmp_path):
    contents = {"one.zip": zipped({"1.jpg": b"1"}), "two.zip": zipped({"2.jpg": b"2"}), "table.csv": b"id,dx\n"}
    server.files.update(contents)
    files = [
        {
            "name": name,
            "url": server.url(name),
            "checksum": "md5:" + hashlib.md5(content).hexdigest().upper(),
            "bytes": len(content),
        }
        for name, content in contents.items()
    ]
    download.fetch(target=tmp_path / "deep" / "er", page=None, licence=None, files=files, unpacked_bytes=100)
    assert sorted(path.name for path in (tmp_path / "deep" / "er").iterdir()) == ["1.jpg", "2.jpg", "table.csv"]


def test_a_folder_that_is_there_is_left_alone_and_an_empty_one_is_filled(fetch, tmp_path, caplog):
    (tmp_path / "images").mkdir()
    fetch(zipped(GOOD))
    (tmp_path / "images" / "mine.txt").write_text("x")
    with caplog.at_level(logging.INFO, logger="medcls.data.sources.download"):
        fetch(b"never asked for", "other.zip", served=False)
    assert rules(caplog) == ["already_downloaded"]
    assert (tmp_path / "images" / "mine.txt").is_file()


def test_another_checksum_leaves_nothing_and_a_retry_works(fetch, server, tmp_path):
    content = zipped(GOOD)
    server.files["set.zip"] = content[:-1] + b"x"
    with refused("not_as_published", "sha256", hashlib.sha256(content).hexdigest()):
        fetch(content)
    assert nothing_left(tmp_path)
    server.files["set.zip"] = content
    fetch(content)
    assert (tmp_path / "images" / "set" / "a" / "1.png").is_file()


def test_a_cut_connection_leaves_nothing_and_a_retry_works(fetch, server, tmp_path):
    content = zipped(GOOD)

    def cut(request):
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content[: len(content) // 2])

    server.files["set.zip"] = cut
    with refused("not_as_published", f"{len(content):,}", f"{len(content) // 2:,}"):
        fetch(content)
    assert nothing_left(tmp_path)
    server.files["set.zip"] = content
    fetch(content)
    assert (tmp_path / "images").is_dir()


def test_a_server_that_falls_silent_is_not_waited_for(fetch, server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    over = threading.Event()

    def silent(request):
        request.send_response(200)
        request.send_header("Content-Length", "1000")
        request.end_headers()
        request.wfile.write(b"x")
        request.wfile.flush()
        over.wait(5)

    server.files["set.zip"] = silent
    with refused("download_failed", "set.zip", "timed out"):
        fetch(zipped(GOOD))
    over.set()
    assert nothing_left(tmp_path)


def test_more_bytes_than_published_are_not_swallowed(fetch, server, tmp_path):
    content = zipped(GOOD)
    server.files["set.zip"] = content + b"x" * 10_000_000
    with refused("not_as_published", "set.zip", f"{len(content):,}"):
        fetch(content)
    assert nothing_left(tmp_path)


@pytest.mark.parametrize("code", [404, 503])
def test_what_a_server_refuses_is_said(fetch, server, tmp_path, code):
    server.files["set.zip"] = lambda request: request.send_error(code)
    with refused("download_failed", "set.zip", str(code)):
        fetch(zipped(GOOD))
    assert nothing_left(tmp_path)


def test_no_server_at_all(fetch, tmp_path):
    with refused("download_failed", "http://127.0.0.1:9/x.zip"):
        fetch(zipped(GOOD), file={"url": "http://127.0.0.1:9/x.zip"})
    assert nothing_left(tmp_path)


def test_folders_made_on_the_way_go_too_and_others_stay(fetch, tmp_path):
    for target in (tmp_path / "data" / "sets" / "images", tmp_path / "mine" / "images"):
        (tmp_path / "mine").mkdir(exist_ok=True)
        with refused("download_failed", "http://127.0.0.1:9/x.zip"):
            fetch(zipped(GOOD), target=target, file={"url": "http://127.0.0.1:9/x.zip"})
    assert list(tmp_path.rglob("*")) == [tmp_path / "mine"]


def test_a_redirection_is_followed(fetch, server, tmp_path):
    content = zipped(GOOD)

    def elsewhere(request):
        request.send_response(302)
        request.send_header("Location", server.url("real.zip"))
        request.end_headers()

    server.files.update({"set.zip": elsewhere, "real.zip": content})
    fetch(content)
    assert (tmp_path / "images" / "set").is_dir()


def test_ctrl_c_leaves_nothing(fetch, tmp_path):
    def interrupted(done, whole):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(zipped(GOOD), progress=interrupted)
    assert nothing_left(tmp_path)


@pytest.mark.parametrize("name", ["../../evil.png", "set/../../evil.png", "..\\evil.png", "/evil.png", "C:\\evil.png"])
def test_a_zip_that_climbs_out_is_refused_by_name(fetch, tmp_path, name):
    with refused("unsafe_archive", "set.zip", name):
        fetch(zipped({"set/good.png": b"x", name: b"evil"}))
    assert nothing_left(tmp_path)


@pytest.mark.parametrize(
    "members",
    [
        [("../evil.png", b"x", tarfile.REGTYPE, "")],
        [("/evil.png", b"x", tarfile.REGTYPE, "")],
        [("evil", b"", tarfile.SYMTYPE, "/etc"), ("evil/passwd", b"x", tarfile.REGTYPE, "")],
        [("evil", b"", tarfile.SYMTYPE, ".."), ("evil/x.png", b"x", tarfile.REGTYPE, "")],
        [("evil.png", b"", tarfile.LNKTYPE, "../../secret")],
        [("evil", b"", tarfile.CHRTYPE, "")],
        [("evil", b"", tarfile.FIFOTYPE, "")],
    ],
)
def test_a_tar_that_climbs_out_links_or_makes_devices_is_refused_by_name(fetch, tmp_path, members):
    with refused("unsafe_archive", "set.tar.gz", f" {members[0][0]} "):
        fetch(tarred(("set/good.png", b"x", tarfile.REGTYPE, ""), *members), "set.tar.gz")
    assert nothing_left(tmp_path)


def test_a_good_tar_is_unpacked(fetch, tmp_path):
    fetch(tarred(("set/a/1.png", b"one", tarfile.REGTYPE, "")), "set.tar.gz", within="set")
    assert (tmp_path / "images" / "a" / "1.png").read_bytes() == b"one"


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR])
def test_a_zip_with_links_or_devices_is_refused_by_name(fetch, tmp_path, kind):
    with refused("unsafe_archive", "set.zip", " evil "):
        fetch(zipped({"evil": b"/etc/passwd"}, kind))
    assert nothing_left(tmp_path)


def test_a_bomb_is_refused_before_it_unpacks(fetch, tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.png", b"\0" * 5_000_000)
    for content, name in (
        (buffer.getvalue(), "set.zip"),
        (tarred(("zeros.png", b"\0" * 5_000_000, tarfile.REGTYPE, "")), "set.tgz"),
    ):
        assert len(content) < 10_000
        with refused("unsafe_archive", name, "10,000", "zeros.png"):
            fetch(content, name)
        assert nothing_left(tmp_path)


@pytest.mark.parametrize("content", [b"<html>maintenance</html>", zipped(GOOD)[:-30], b""])
@pytest.mark.parametrize("name", ["set.zip", "set.tar.gz"])
def test_a_broken_archive_is_named(fetch, tmp_path, content, name):
    with refused("damaged_archive", name):
        fetch(content, name)
    assert nothing_left(tmp_path)


def test_an_archive_without_the_folder_it_should_have(fetch, tmp_path):
    with refused("not_as_published", "set.zip", "chest_xray"):
        fetch(zipped(GOOD), within="chest_xray")
    assert nothing_left(tmp_path)


def test_a_full_disk_is_found_out_first(fetch, server, tmp_path):
    server.files["set.zip"] = lambda request: pytest.fail("asked for all the same")
    with refused("disk_full", "1,000,000,000,000 MB", str(tmp_path), "data.root"):
        fetch(zipped(GOOD), unpacked_bytes=10**18)
    assert nothing_left(tmp_path)


@pytest.mark.parametrize(
    "file",
    [
        {"checksum": "sha256:abc"},
        {"checksum": "crc32:abcdef01"},
        {"url": "file:///etc/passwd"},
        {"name": "../x.zip"},
    ],
)
def test_what_a_configuration_may_say_of_a_file(fetch, tmp_path, file):
    with refused("bad_value", *file.values()):
        fetch(zipped(GOOD), file=file)
    assert nothing_left(tmp_path)


def published(name: str) -> dict:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return OmegaConf.to_container(compose("train", [f"data={name}"]).data.published)


@pytest.mark.parametrize("name", ["brain_tumor", "brain_tumor_mri", "breast_cancer"])
def test_a_set_without_a_published_checksum_says_where_to_get_it(name, tmp_path):
    settings = published(name)
    assert settings.pop("_target_") == "medcls.data.sources.download.fetch"
    with refused("nothing_published", settings["page"], str(tmp_path / "images"), "data.download"):
        download.fetch(**settings, target=tmp_path / "images")


def test_shipped_addresses_are_well_formed():
    for name in ("chest_xray", "skin_cancer"):
        settings = published(name)
        assert settings["licence"] and settings["page"].startswith("https://")
        files = [download.PublishedFile(**file) for file in settings["files"]]
        assert files and all(file.url.startswith("https://") for file in files)
        assert settings["unpacked_bytes"] >= sum(file.bytes for file in files)


def test_without_a_root_nothing_is_fetched():
    with refused("missing_setting", "data.root=/path"):
        download.fetch(target=None, page=None, licence=None, files=[], unpacked_bytes=0)
