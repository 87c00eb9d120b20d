"""Uploads that are meant to break a server, or just wrong."""

import gzip
import io
import struct
import zipfile
import zlib

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

INFLATED = 2**22
"""The most bytes of a deflated DICOM that a test allows, where the files below must stay small."""


def encoded(kind: str, mode: str = "RGB", size: tuple[int, int] = (16, 16), **settings: object) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, kind, **settings)
    return buffer.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, rows: bytes, more: bytes = b"", depth: int = 1, colour: int = 0) -> bytes:
    """A PNG that claims a size, with these compressed rows."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + more + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def huge_png(width: int = 20_000, height: int = 10_000) -> bytes:
    """A complete PNG of 200 megapixels in a few kilobytes."""
    squeeze, row = zlib.compressobj(9), bytes(1 + (width + 7) // 8)
    return png(width, height, b"".join(squeeze.compress(row) for _ in range(height)) + squeeze.flush())


def zip_bomb(megabytes: int = 10) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("image.png", bytes(megabytes * 2**20))
    return buffer.getvalue()


def dicom(
    rows: int = 16, columns: int = 16, pixels: bytes | None = None, syntax: str = ExplicitVRLittleEndian
) -> bytes:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = syntax, SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    one = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    one.SOPClassUID, one.SOPInstanceUID, one.PatientName = SecondaryCaptureImageStorage, "1.2.3", "Secret^Patient"
    one.Rows, one.Columns, one.SamplesPerPixel = rows, columns, 1
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 8, 8, 7, 0
    one.PhotometricInterpretation = "MONOCHROME2"
    one.PixelData = bytes(16 * 16) if pixels is None else pixels
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, one, enforce_file_format=True)
    return buffer.getvalue()


def float_tiff() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((16, 16), np.nan, np.float32)).save(buffer, "TIFF")
    return buffer.getvalue()


def hostile_files() -> dict[str, bytes]:
    """At least forty files, each by what is wrong with it. None of them is an image that can be read."""
    good, jpeg, tiff, gif = (encoded(kind) for kind in ("PNG", "JPEG", "TIFF", "GIF"))
    webp, bmp, complete = encoded("WEBP"), encoded("BMP"), dicom()
    return {
        "nothing": b"",
        "one byte": b"\x00",
        "text": b"This is text, not an image.\n",
        "text in UTF-16": "text".encode("utf-16"),
        "HTML": b"<!doctype html><script>alert(1)</script>",
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
        "SVG of an entity bomb": b'<!DOCTYPE s [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><svg>&b;</svg>',
        "a script": b"#!/bin/sh\nrm -rf /\n",
        "a program": b"\x7fELF" + bytes(200),
        "a PDF": b"%PDF-1.7\n1 0 obj\n",
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n",
        "a pickle": b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
        "a zip bomb": zip_bomb(),
        "a gzip bomb": gzip.compress(bytes(10 * 2**20)),
        "a gzipped PNG": gzip.compress(good),
        "a PNG of 200 megapixels": huge_png(),
        "a PNG that claims 2^31 - 1 pixels a side": png(2**31 - 1, 2**31 - 1, zlib.compress(b"\0")),
        "a PNG that claims no pixels": png(0, 0, zlib.compress(b"\0")),
        "a PNG with too few rows": png(4000, 4000, zlib.compress(bytes(100))),
        "a PNG whose rows are no zlib": png(16, 16, b"not zlib at all"),
        "a PNG of an unknown depth": png(16, 16, zlib.compress(bytes(100)), depth=3),
        "a PNG with a text bomb": png(
            16, 16, zlib.compress(bytes(48)), chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10 * 2**20), 9))
        ),
        "a PNG with a wrong checksum": good[:-20] + bytes([good[-20] ^ 1]) + good[-19:],
        "half a PNG": good[: len(good) // 2],
        "the header of a PNG": good[:8],
        "half a JPEG": jpeg[: len(jpeg) // 2],
        "the start of a JPEG": b"\xff\xd8\xff\xe0",
        "a JPEG that claims 65,500 x 65,500": jpeg.replace(b"\x00\x10\x00\x10\x03", b"\xff\xdc\xff\xdc\x03"),
        "half a TIFF": tiff[:60],
        "a TIFF whose directory points at itself": b"II*\0\x08\0\0\0\0\0\x08\0\0\0",
        "a TIFF beyond its end": b"II*\0\xff\xff\xff\x7f",
        "a TIFF of values that are no numbers": float_tiff(),
        "half a GIF": gif[:20],
        "half a WebP": webp[:20],
        "a BMP that claims 2^30 pixels a side": bmp[:18] + struct.pack("<ii", 2**30, 2**30) + bmp[26:],
        "a PNM without an end": b"P6 100000 100000 255\n",
        "a PNM of a negative size": b"P6 -5 5 255\n" + bytes(100),
        "half a DICOM": complete[:200],
        "a DICOM of 200 megapixels": dicom(10_000, 20_000),
        "a DICOM with too few pixels": dicom(512, 512),
        "a DICOM with no pixels": dicom(0, 0),
        "a deflated bomb of a DICOM": dicom(512, 512, bytes(2 * INFLATED), DeflatedExplicitVRLittleEndian),
        "a DICOM's first bytes": bytes(128) + b"DICM" + b"\xff" * 300,
        "noise": np.random.default_rng(0).bytes(100_000),
        "a JPEG's name before noise": b"\xff\xd8\xff\xe0\x00\x10JFIF" + np.random.default_rng(1).bytes(5000),
    }


HOSTILE_NAMES = {
    "../../../../etc/passwd": "passwd",
    "..\\..\\boot.ini": "boot.ini",
    "/etc/shadow": "shadow",
    "C:\\Windows\\system32\\a.png": "a.png",
    "....//....//a.png": "a.png",
    "file:///etc/passwd": "passwd",
    "a" * 300 + ".png": None,
    "<script>alert(1)</script>.png": None,
    "; rm -rf $HOME ;.png": None,
    "=HYPERLINK(1).png": None,
    "..": "image",
    ".": "image",
    " ": "image",
    "\u202egnp.exe": None,
    "正常.png": "正常.png",
}
"""Names of uploads, and what is repeated of them, where that is fixed."""
