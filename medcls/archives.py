"""Whether a checkpoint on disk is what was written: its archive carries a checksum of each part."""

import zipfile
import zlib
from pathlib import Path


def damage(path: Path) -> str | None:
    """What is wrong with an archive; None where each of its parts bears its checksum.

    Neither torch nor Lightning looks at the checksums: a bit that flipped would be read as another weight.
    """
    if not path.stat().st_size:
        return "it is empty"
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    # What the standard library raises where sizes, names, flags or methods make no sense.
    except (
        zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, ValueError, OverflowError, EOFError, OSError,
    ) as error:  # fmt: skip
        return f"its archive is damaged or cut short ({error})"
    return None if bad is None else f"its part {bad} does not bear its checksum"
