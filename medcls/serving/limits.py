"""Limits of a server: how much it accepts, and for how long it works on a request."""

import dataclasses
from pathlib import PurePath

from medcls.errors import MedclsError
from medcls.wording import printable

MEBIBYTE = 2**20
LONGEST_NAME = 100
"""Characters of a file name in an answer."""


class RefusedRequest(MedclsError):
    """A request that is answered by an error.

    Parameters
    ----------
    message : str
        What was wrong, in a sentence for the client.
    kind : str
    status : int
        The HTTP status: below 500 where the request is at fault.
    """

    def __init__(self, message: str, kind: str, status: int) -> None:
        super().__init__(message, kind)
        self.status = status


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a server accepts.

    Parameters
    ----------
    file_mib : float
        Of one file.
    request_mib : float
        Of all files of a request together.
    files : int
        Files in a request.
    megapixels : float
        Of one image, decoded.
    seconds : float
        For receiving a request, and again for answering it.
    waiting : int
        Images that wait or are being worked on; requests beyond are asked to come back.

    Raises
    ------
    MedclsError
        A value is not a number above 0.
    """

    file_mib: float = 50
    request_mib: float = 200
    files: int = 20
    megapixels: float = 50
    seconds: float = 60
    waiting: int = 500

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            numbers = int if field.type is int else int | float
            if isinstance(value, bool) or not isinstance(value, numbers) or not 0 < value < float("inf"):
                kind = "a whole number" if numbers is int else "a number"
                raise MedclsError(f"limits.{field.name} is {value!r}: give {kind} above 0.", kind="bad_value")

    @property
    def file_bytes(self) -> int:
        """Bytes of one file."""
        return round(self.file_mib * MEBIBYTE)

    @property
    def request_bytes(self) -> int:
        """Bytes of a request."""
        return round(self.request_mib * MEBIBYTE)

    @property
    def pixels(self) -> int:
        """Pixels of one image."""
        return round(self.megapixels * 10**6)


def display_name(name: str | None) -> str:
    """The name of an uploaded file for an answer; it is never used as a path.

    Folders are left out, invisible characters escaped, long names shortened; `image` if nothing is left.
    """
    last = PurePath((name or "").replace("\\", "/")).name
    text = printable(last).strip().lstrip(".")
    return (text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 3]}...") or "image"
