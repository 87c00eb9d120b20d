"""Verify the checksums of a checkpoint's archive."""

import zipfile
import zlib
from pathlib import Path


def find_damage(path: Path) -> str | None:
    """What is wrong with an archive; None if the checksum of each part matches.

    Neither torch nor Lightning verifies the checksums, so a flipped bit would become a wrong weight.
    """
    if not path.stat().st_size:
        return "it is empty"
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    # Raised by the standard library for invalid sizes, names, flags or methods.
    except (
        zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, ValueError, OverflowError, EOFError, OSError,
    ) as error:  # fmt: skip
        return f"its archive is damaged or incomplete ({error})"
    return None if bad is None else f"the checksum of its part {bad} does not match"
