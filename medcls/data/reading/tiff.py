"""TIFF tags that Pillow would misread: the file is read correctly or refused with its reason."""

import io
from collections.abc import Mapping
from typing import Any

from PIL.TiffImagePlugin import COMPRESSION_INFO, ImageFileDirectory_v2

from medcls.wording import counted

# TIFF 6.0.
WIDTH, LENGTH, BITS_PER_SAMPLE, COMPRESSION, PHOTOMETRIC, SAMPLES = 256, 257, 258, 259, 262, 277
PLANAR, EXTRA_SAMPLES, SAMPLE_FORMAT = 284, 338, 339
RGB, IN_PLANES, UNSPECIFIED = 2, 2, 0  # of PHOTOMETRIC, PLANAR and EXTRA_SAMPLES
SIGNED = 2
KINDS = {
    1: "whole numbers", SIGNED: "signed whole numbers", 3: "floating-point numbers", 4: "values of unspecified type",
    5: "complex whole numbers", 6: "complex numbers",
}  # fmt: skip
BEGINNINGS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
ADVICE = "save it as whole numbers of 8 or 16 bits or floating-point numbers of 32, grey or red, green and blue"


def refusal(data: bytes, frame: int) -> str | None:
    """Why Pillow cannot read a page of a TIFF, if its kind of values is the reason; None for other files."""
    if not data.startswith(BEGINNINGS):
        return None
    if data.startswith(b"MM\0+"):
        return "it is a BigTIFF in big-endian byte order, which Pillow does not read: save it in little-endian order"
    try:
        tags = _tags(data, frame)
        if not (tags[WIDTH] and tags[LENGTH]):
            return None
        compression = tags.get(COMPRESSION, 1)
        if compression not in COMPRESSION_INFO:
            return f"it is a TIFF whose values are compressed in a way that Pillow does not know (number {compression})"
        stored = f"{_values(tags)} (PhotometricInterpretation {tags.get(PHOTOMETRIC)})"
    except Exception:  # noqa: BLE001  Pillow raises nearly every type there is on a damaged directory
        return None
    return f"it is a TIFF of {stored}, which medcls does not read: {ADVICE}"


def misread(tags: Mapping[int, Any]) -> str | None:
    """Why Pillow would silently misread a page with these tags, or None.

    Its readers of 16 bits ignore planes, and channels of unspecified meaning are dropped.
    """
    samples, bits = tags.get(SAMPLES, 1), max(tags.get(BITS_PER_SAMPLE, (1,)))
    in_planes = tags.get(PLANAR, 1) == IN_PLANES and samples > 1
    if in_planes and bits > 8:
        return (
            f"it is a TIFF of {_values(tags)} in separate planes (PlanarConfiguration 2), which medcls "
            "reads only with 8 bits: save it with the channels of each pixel together (in tifffile, "
            "planarconfig='contig' and an array of height, width, channels)"
        )
    unknown = sum(extra == UNSPECIFIED for extra in tags.get(EXTRA_SAMPLES, ()))
    if unknown > (tags.get(PHOTOMETRIC) == RGB):
        return f"it is a TIFF of {_values(tags)} of unspecified meaning: {ADVICE}"
    return None


def left_out(tags: Mapping[int, Any]) -> tuple[str, ...]:
    """Note a fourth channel of unspecified meaning, which is not shown."""
    return (
        ("a fourth channel of unspecified meaning is left out",) if UNSPECIFIED in tags.get(EXTRA_SAMPLES, ()) else ()
    )


def _values(tags: Mapping[int, Any]) -> str:
    """`3 channels of 16-bit whole numbers`."""
    bits = "- and ".join(map(str, sorted(set(tags.get(BITS_PER_SAMPLE, (1,))))))
    kinds = " and ".join(KINDS.get(kind, f"kind {kind}") for kind in sorted(set(tags.get(SAMPLE_FORMAT, (1,)))))
    return f"{counted(tags.get(SAMPLES, 1), 'channel')} of {bits}-bit {kinds}"


def _tags(data: bytes, frame: int) -> ImageFileDirectory_v2:
    """The directory of a page, of a file that Pillow itself may not open."""
    directory = ImageFileDirectory_v2(data[: 16 if data[2] == 43 else 8])
    file = io.BytesIO(data)
    for _ in range(frame + 1):
        file.seek(directory.next)
        directory.load(file)
    return directory
