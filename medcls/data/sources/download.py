"""Published image sets, fetched where their licence and address allow: whole and checked, or not at all."""

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
SILENCE = 60.0  # seconds without a byte after which a connection counts as cut
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
        Where it lies; redirections are followed.
    checksum : str
        `sha256:...` or `md5:...`, hexadecimal, as the publisher gives it.
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
            raise MedclsError(f"{self.name}: {self.url} is no address of the web (https://...).", kind="bad_value")
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
    """Fetch a published image set into a folder that is not there yet.

    Size and target are said before the first byte is asked for. Everything happens in a hidden
    folder beside `target`, which gets its name at the very end: a cut connection, a wrong checksum
    or Ctrl-C leave nothing. A folder that is there already is left as it is.

    Parameters
    ----------
    target : path
        The folder to make.
    page, licence : str, optional
        Where a person finds the set, and under which terms; said before the download, and where there is none.
    files : sequence of mappings
        What `PublishedFile` takes; empty where nothing may be fetched without a person.
    unpacked_bytes : int
        The most that the archives may hold.
    within : str, optional
        The folder in the archives that becomes `target`; else what they hold lies in it directly.
    progress : callable, optional
        Called with bytes fetched and bytes in all.

    Raises
    ------
    MedclsError
        No address, no room on the disk, no connection, another length or checksum than was
        published, or an archive that holds more than it should or writes outside its folder.
    """
    if target is None:
        raise MedclsError(
            "data.download=true, but nothing says where to: add data.root=/path/to/images.", kind="missing_setting"
        )
    target = Path(target)
    if not files:
        by_hand = f"Get it by hand at {page}" if page else "Get the images by hand"
        raise MedclsError(
            f"data.download=true, but medcls knows no address with a published checksum for this set. {by_hand}, "
            f"unpack it to {target}, and leave data.download out.",
            kind="nothing_published",
        )
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        log.info("%s is there already: nothing is downloaded", target, extra={"rule": "already_downloaded"})
        return
    wanted = [PublishedFile(**file) for file in files]  # type: ignore[arg-type]
    check_room(wanted, unpacked_bytes, target)
    log.warning(
        "downloading %s to %s, and unpacking up to %s there. Source: %s. Licence: %s",
        megabytes(sum(file.bytes for file in wanted)),
        target.absolute(),
        megabytes(unpacked_bytes),
        page,
        licence,
    )
    with folders_above(target), tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
        made = Path(folder) / "unpacked"
        made.mkdir()
        before = 0
        for file in wanted:
            fetched = Path(folder) / file.name
            fetch_file(file, fetched, shifted(progress, before, sum(file.bytes for file in wanted)))
            before += file.bytes
            if file.name.lower().endswith(ARCHIVES):
                unpack(fetched, made, unpacked_bytes)
                fetched.unlink()
            else:
                fetched.rename(made / file.name)
        if within is not None and not (made / within).is_dir():
            raise MedclsError(
                f"The archive from {wanted[0].url} has no folder {within}: it is not what was published.",
                kind="not_as_published",
            )
        with contextlib.suppress(FileNotFoundError):
            target.rmdir()  # empty, as was seen above
        (made / (within or "")).rename(target)


@contextlib.contextmanager
def folders_above(target: Path) -> Iterator[None]:
    """Make the folders that lead to `target`; where it then does not come to be, they go again."""
    new = [folder for folder in target.absolute().parents if not folder.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):  # somebody else has put something there
            for folder in new:
                folder.rmdir()
        raise


def megabytes(size: int) -> str:
    """A number of bytes, for a person."""
    return f"{size / 1e6:,.0f} MB" if size >= 1e6 else f"{size:,} bytes"


def shifted(progress: Callable[[int, int], None] | None, before: int, whole: int) -> Callable[[int], None]:
    """How one file of several reports its bytes."""
    return lambda done: None if progress is None else progress(before + done, whole)


def check_room(files: Sequence[PublishedFile], unpacked_bytes: int, target: Path) -> None:
    """Refuse what the disk cannot hold: the archives and what they hold lie there side by side for a while.

    Raises
    ------
    MedclsError
        Says how much is needed and how much there is.
    """
    there = next(folder for folder in target.absolute().parents if folder.is_dir())
    needed, free = sum(file.bytes for file in files) + unpacked_bytes, shutil.disk_usage(there).free
    if needed > free:
        raise MedclsError(
            f"The download needs {megabytes(needed)} of disk, unpacked, but {there} has {megabytes(free)} left: make "
            "room, or give another data.root.",
            kind="disk_full",
        )


def fetch_file(file: PublishedFile, path: Path, progress: Callable[[int], None]) -> None:
    """Stream one file to disk; it is there only if it is, byte for byte, what was published.

    Raises
    ------
    MedclsError
        The server refuses, the connection breaks off, or length or checksum differ.
    """
    algorithm, _, expected = file.checksum.partition(":")
    digest, received = hashlib.new(algorithm, usedforsecurity=False), 0
    request = urllib.request.Request(file.url, headers={"User-Agent": f"medcls/{__version__}"})  # noqa: S310 - checked
    try:
        with urllib.request.urlopen(request, timeout=SILENCE) as answer, path.open("xb") as out:  # noqa: S310 - checked
            while chunk := answer.read(CHUNK):
                received += len(chunk)
                if received > file.bytes:
                    break
                digest.update(chunk)
                out.write(chunk)
                progress(received)
    except urllib.error.HTTPError as error:
        raise MedclsError(
            f"{file.url} answers {error.code} {error.reason}: the set may have moved.", kind="download_failed"
        ) from error
    except (urllib.error.URLError, http.client.HTTPException, ssl.SSLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise MedclsError(
            f"{file.url} could not be fetched, after {received:,} of {file.bytes:,} bytes: {reason}. Nothing was kept; "
            "try again.",
            kind="download_failed",
        ) from error
    if received != file.bytes:
        told = "more" if received > file.bytes else f"{received:,}"
        raise MedclsError(
            f"{file.url} was published with {file.bytes:,} bytes, but {told} came. Nothing was kept; try again.",
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
    """Unpack a zip or tar archive, none of whose entries may leave the folder; every one is looked at before the first.

    Raises
    ------
    MedclsError
        Names the entry: an absolute path, one that climbs out, a link, a device; or the archive is broken, locked, or
        holds more than `most_bytes`.
    """
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
    """The entries of a zip archive; what kind each is stands in the mode that Unix gave it, if any."""
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
    """Refuse an archive for any entry that an image set has no use for.

    Raises
    ------
    MedclsError
        Names the first such entry.
    """
    total = 0
    for member in members:
        path = PurePosixPath(member.name.replace("\\", "/"))
        fault = None
        if path.is_absolute() or PureWindowsPath(member.name).drive:
            fault = "is an absolute path"
        elif ".." in path.parts:
            fault = "climbs out of its folder"
        elif member.kind in ("link", "device"):
            # Links that stay inside would do no harm, but telling them apart has gone wrong in many libraries.
            fault = f"is a {member.kind}"
        if fault:
            raise MedclsError(
                f"{archive.name} is refused: its entry {printable(member.name)} {fault}. Nothing was kept.",
                kind="unsafe_archive",
            )
        total += member.size
        if total > most_bytes:
            raise MedclsError(
                f"{archive.name} is refused: it unpacks to more than the {megabytes(most_bytes)} that were stated "
                f"(reached at {printable(member.name)}). Nothing was kept.",
                kind="unsafe_archive",
            )
