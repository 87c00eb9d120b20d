"""Published image sets, downloaded if licence and address allow: complete and verified, or not at all."""

import contextlib
import dataclasses
import hashlib
import http.client
import logging
import shutil
import ssl
import stat
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from medcls import __version__
from medcls.errors import MedclsError
from medcls.wording import printable

log = logging.getLogger(__name__)

CHUNK = 2**20
TIMEOUT = 60.0  # seconds without a byte
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
ALGORITHMS = ("sha256", "md5")


@dataclasses.dataclass(frozen=True)
class PublishedFile:
    """A file as its publisher describes it.

    Parameters
    ----------
    name : str
        An archive (`.zip`, `.tar`, `.tar.gz`) is unpacked; any other file keeps this name.
    url : str
        Redirections are followed.
    checksum : str
        `sha256:...` or `md5:...`, hexadecimal.
    bytes : int
        Its length.

    Raises
    ------
    MedclsError
        A name that is a path, an address that is not of the web, or a checksum of another kind.
    """

    name: str
    url: str
    checksum: str
    bytes: int

    def __post_init__(self) -> None:
        algorithm, _, digest = self.checksum.partition(":")
        if algorithm not in ALGORITHMS or len(digest) != hashlib.new(algorithm, usedforsecurity=False).digest_size * 2:
            raise MedclsError(
                f"{self.name}: the checksum is {self.checksum!r}; give sha256:... or md5:... in full.", kind="bad_value"
            )
        if not self.url.startswith(("https://", "http://")):
            raise MedclsError(f"{self.name}: {self.url} is not a web address (https://...).", kind="bad_value")
        if PurePosixPath(self.name).name != self.name or "\\" in self.name:
            raise MedclsError(f"{self.name}: give the name of a file, without folders.", kind="bad_value")


def fetch(
    *,
    target: str | Path | None,
    page: str | None,
    licence: str | None,
    files: Sequence[Mapping[str, object]],
    unpacked_bytes: int,
    within: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Download a published image set into a new folder.

    Size and target are logged before the first request. Everything is done in a hidden folder beside `target` and
    renamed at the end, so that an interrupted download or a wrong checksum leaves nothing. An existing folder is left
    as it is.

    Parameters
    ----------
    target : path
        The folder to make.
    page, licence : str, optional
        Where the set is published, and its terms; for messages.
    files : sequence of mappings
        Arguments of `PublishedFile`; empty if the set must be downloaded by hand.
    unpacked_bytes : int
        Upper limit of what the archives contain.
    within : str, optional
        The folder in the archives that becomes `target`; by default all they contain.
    progress : callable, optional
        Called with bytes received and bytes in all.
    """
    if target is None:
        raise MedclsError(
            "data.download=true needs a target folder: add data.root=/path/to/images.", kind="missing_setting"
        )
    target = Path(target)
    if not files:
        by_hand = f"Get it from {page}" if page else "Get the images yourself"
        raise MedclsError(
            f"data.download=true, but this set has no address with a published checksum. {by_hand}, unpack it to "
            f"{target}, and leave data.download out.",
            kind="nothing_published",
        )
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        log.info("%s exists already: nothing is downloaded", target, extra={"rule": "already_downloaded"})
        return
    published = [PublishedFile(**file) for file in files]  # type: ignore[arg-type]
    check_room(published, unpacked_bytes, target)
    log.warning(
        "downloading %s to %s, and unpacking up to %s there. Source: %s. Licence: %s",
        megabytes(sum(file.bytes for file in published)),
        target.absolute(),
        megabytes(unpacked_bytes),
        page,
        licence,
    )
    with folders_above(target), tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
        unpacked = Path(folder) / "unpacked"
        unpacked.mkdir()
        done, total = 0, sum(file.bytes for file in published)

        def report(received: int) -> None:
            if progress is not None:
                progress(done + received, total)

        for file in published:
            fetched = Path(folder) / file.name
            fetch_file(file, fetched, report)
            done += file.bytes
            if file.name.lower().endswith(ARCHIVES):
                unpack(fetched, unpacked, unpacked_bytes)
                fetched.unlink()
            else:
                fetched.rename(unpacked / file.name)
        if within is not None and not (unpacked / within).is_dir():
            raise MedclsError(
                f"The archive from {published[0].url} has no folder {within}: it is not what was published.",
                kind="not_as_published",
            )
        with contextlib.suppress(FileNotFoundError):
            target.rmdir()  # empty
        (unpacked / (within or "")).rename(target)


@contextlib.contextmanager
def folders_above(target: Path) -> Iterator[None]:
    """Make the folders above `target`; remove them again on an error."""
    new = [folder for folder in target.absolute().parents if not folder.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):  # not empty
            for folder in new:
                folder.rmdir()
        raise


def megabytes(size: int) -> str:
    """A number of bytes for a message."""
    return f"{size / 1e6:,.0f} MB" if size >= 1e6 else f"{size:,} bytes"


def check_room(files: Sequence[PublishedFile], unpacked_bytes: int, target: Path) -> None:
    """Refuse a download for which the disk is too small: the archives and their content are on it together."""
    existing = next(folder for folder in target.absolute().parents if folder.is_dir())
    needed, free = sum(file.bytes for file in files) + unpacked_bytes, shutil.disk_usage(existing).free
    if needed > free:
        raise MedclsError(
            f"The download needs {megabytes(needed)} of disk, unpacked, but {existing} has {megabytes(free)} left: "
            "make room, or give another data.root.",
            kind="disk_full",
        )


def fetch_file(file: PublishedFile, path: Path, progress: Callable[[int], None]) -> None:
    """Download one file, and check its length and checksum."""
    algorithm, _, expected = file.checksum.partition(":")
    digest, received = hashlib.new(algorithm, usedforsecurity=False), 0
    request = urllib.request.Request(file.url, headers={"User-Agent": f"medcls/{__version__}"})  # noqa: S310 - checked
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer, path.open("xb") as out:  # noqa: S310 - checked
            while chunk := answer.read(CHUNK):
                received += len(chunk)
                if received > file.bytes:
                    break
                digest.update(chunk)
                out.write(chunk)
                progress(received)
    except urllib.error.HTTPError as error:
        raise MedclsError(
            f"{file.url} returned {error.code} {error.reason}: the set may have moved.", kind="download_failed"
        ) from error
    except (urllib.error.URLError, http.client.HTTPException, ssl.SSLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise MedclsError(
            f"{file.url} could not be fetched, after {received:,} of {file.bytes:,} bytes: {reason}. Nothing was kept; "
            "try again.",
            kind="download_failed",
        ) from error
    if received != file.bytes:
        received_bytes = "more" if received > file.bytes else f"{received:,}"
        raise MedclsError(
            f"{file.url} was published with {file.bytes:,} bytes, but {received_bytes} were received. Nothing was "
            "kept; try again.",
            kind="not_as_published",
        )
    if digest.hexdigest() != expected.lower():
        raise MedclsError(
            f"{file.url} is not what was published: its {algorithm} is {digest.hexdigest()}, not {expected}. Nothing "
            "was kept.",
            kind="not_as_published",
        )


@dataclasses.dataclass(frozen=True)
class Member:
    """An entry of an archive: `kind` is file, folder, link or device; `size` in bytes, unpacked."""

    name: str
    size: int
    kind: str


def unpack(archive: Path, into: Path, most_bytes: int) -> None:
    """Unpack a zip or tar archive after checking every entry."""
    try:
        if archive.name.lower().endswith(".zip"):
            with zipfile.ZipFile(archive) as zipped:
                check_members(archive, zip_members(zipped), most_bytes)
                zipped.extractall(into)  # noqa: S202 - checked
        else:
            with tarfile.open(archive) as tarred:
                check_members(archive, tar_members(tarred), most_bytes)
                tarred.extractall(into, filter="data")
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise MedclsError(f"{archive.name} cannot be unpacked: {error}.", kind="damaged_archive") from error


def zip_members(archive: zipfile.ZipFile) -> Iterator[Member]:
    """The entries of a zip archive, whose kind is in their Unix mode, if any."""
    kinds = {0: "file", stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}
    for entry in archive.infolist():
        kind = "folder" if entry.is_dir() else kinds.get(stat.S_IFMT(entry.external_attr >> 16), "device")
        yield Member(entry.filename, entry.file_size, kind)


def tar_members(archive: tarfile.TarFile) -> Iterator[Member]:
    """The entries of a tar archive."""
    for entry in archive:
        kind = "folder" if entry.isdir() else "file" if entry.isfile() else "device" if entry.isdev() else "link"
        yield Member(entry.name, entry.size, kind)


def check_members(archive: Path, members: Iterable[Member], most_bytes: int) -> None:
    """Refuse an archive with entries that an image set does not need."""
    total = 0
    for member in members:
        path = PurePosixPath(member.name.replace("\\", "/"))
        fault = None
        if path.is_absolute() or PureWindowsPath(member.name).drive:
            fault = "is an absolute path"
        elif ".." in path.parts:
            fault = "climbs out of its folder"
        elif member.kind in ("link", "device"):
            # Links within the folder are harmless, but many libraries have failed to tell them apart.
            fault = f"is a {member.kind}"
        if fault:
            raise MedclsError(
                f"{archive.name} is refused: its entry {printable(member.name)} {fault}. Nothing was kept.",
                kind="unsafe_archive",
            )
        total += member.size
        if total > most_bytes:
            raise MedclsError(
                f"{archive.name} is refused: it unpacks to more than the stated {megabytes(most_bytes)} "
                f"(reached at {printable(member.name)}). Nothing was kept.",
                kind="unsafe_archive",
            )
