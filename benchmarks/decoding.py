"""The time to decode and to scan a file: `python -m benchmarks.decoding`.

Measures a few files of smooth, noisy images in each format and size. In one thread and in turn:

- the minimum: Pillow opens the file, converts it to RGB and resizes it (for DICOM: pydicom reads it, NumPy scales its
  values to 8 bits by their minimum and maximum);
- `medcls.data.reading.images.read` and `resize`, with all their rules: checksums, orientation, windows;
- `medcls.data.sources.scan.scan_images`, which reads and describes every file, against `read` alone in as many threads.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from benchmarks.results import ratio, report, seconds
from medcls import cpu, hardware
from medcls.data.reading import images
from medcls.data.sources.scan import ScanOptions, scan_images
from medcls.preprocessing import Decoding


def speckle_image(size: int, seed: int) -> np.ndarray:
    """An image like tissue: smooth shapes with speckle, uint8 `(size, size)`."""
    draw = np.random.default_rng(seed)
    coarse = Image.fromarray(draw.integers(0, 200, (8, 8), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), dtype=np.int16)
    return (smooth + draw.normal(0, 8, (size, size)).astype(np.int16)).clip(0, 255).astype(np.uint8)


def as_dicom(grey: np.ndarray, path: Path) -> None:
    """Write 12-bit grey as uncompressed DICOM, without a window of its own."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[path.name])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = Dataset()
    data.file_meta = meta
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    data.Rows, data.Columns = grey.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.PixelData = (grey.astype(np.uint16) * 16).tobytes()
    data.save_as(path, enforce_file_format=True)


def as_raster(grey: np.ndarray, path: Path) -> None:
    """Write RGB in the format of the file ending; JPEG with quality 90, others with Pillow's defaults."""
    Image.fromarray(grey).convert("RGB").save(path, **({"quality": 90} if path.suffix == ".jpg" else {}))


def barely(path: Path, size: tuple[int, int]) -> np.ndarray:
    """With Pillow alone."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize(size[::-1], Image.Resampling.BILINEAR))


def barely_dicom(path: Path, size: tuple[int, int]) -> np.ndarray:
    """With pydicom and Pillow alone."""
    values = pydicom.dcmread(path).pixel_array.astype(np.float32)
    grey = ((values - values.min()) * (255 / max(np.ptp(values), 1))).astype(np.uint8)
    return np.asarray(Image.fromarray(grey).convert("RGB").resize(size[::-1], Image.Resampling.BILINEAR))


def fully(path: Path, size: tuple[int, int]) -> np.ndarray:
    """With medcls."""
    return images.resize(images.read(path, Decoding()).pixels, size, "squash", "bilinear")


FORMATS: dict[str, tuple[str, Callable[[np.ndarray, Path], None], Callable[[Path, tuple[int, int]], np.ndarray]]] = {
    "JPEG": (".jpg", as_raster, barely),
    "PNG": (".png", as_raster, barely),
    "TIFF": (".tif", as_raster, barely),
    "DICOM": (".dcm", as_dicom, barely_dicom),
}


def main() -> None:
    """Time each format and size; print and write the medians and the spread."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512, 1024, 2048], help="pixels of a file's side")
    parser.add_argument("--network-size", type=int, default=224, help="pixels of a side for the network")
    parser.add_argument("--files", type=int, default=8, help="of each kind")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("runs/bench/decoding.json"))
    given = parser.parse_args()
    hardware.choose()  # memory is kept, as in the commands
    size = (given.network_size, given.network_size)
    rows = []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(cpu.available_cores()) as pool:
        for name in given.formats:
            ending, write, bare = FORMATS[name]
            for side in given.sizes:
                here = Path(folder) / f"{name}{side}"
                here.mkdir()
                paths = [here / f"{number}{ending}" for number in range(given.files)]
                for number, path in enumerate(paths):
                    write(speckle_image(side, number), path)
                rows += compare(f"{name}, {side} pixels", here, paths, size, bare, pool, given.pairs)
    report(
        "Decoding, resizing and scanning",
        {
            "to pixels": given.network_size,
            "files": given.files,
            "pairs": given.pairs,
            "threads of the scan": cpu.available_cores(),
        },
        rows,
        given.out,
    )


def compare(
    kind: str,
    folder: Path,
    paths: list[Path],
    size: tuple[int, int],
    bare: Callable[[Path, tuple[int, int]], np.ndarray],
    pool: ThreadPoolExecutor,
    pairs: int,
) -> list[dict[str, object]]:
    """Rows of one format and size, milliseconds an image."""
    names = [path.name for path in paths]

    def each(work: Callable[[Path], object]) -> float:
        return seconds(lambda: [work(path) for path in paths])

    def together(work: Callable[[Path], object]) -> float:
        return seconds(lambda: list(pool.map(work, paths)))

    def one_turn() -> tuple[float, float, float, float]:
        return (
            each(lambda path: fully(path, size)),
            each(lambda path: bare(path, size)),
            seconds(lambda: scan_images(folder, names, ScanOptions(remember=False))),
            together(lambda path: images.read(path, Decoding())),
        )

    one_turn()  # brings the files into memory
    turns = [one_turn() for _ in range(pairs)]

    def milliseconds(column: int) -> float:
        return 1000 * statistics.median(turn[column] for turn in turns) / len(paths)

    least, read = f"{kind}: the least", f"{kind}: read alone, in threads"
    return [
        {"what": least, "figure": milliseconds(1), "unit": "ms"},
        {
            "what": f"{kind}: read and resize",
            "figure": milliseconds(0),
            "unit": "ms",
            "against": least,
            **ratio([(turn[0], turn[1]) for turn in turns]),
        },
        {"what": read, "figure": milliseconds(3), "unit": "ms"},
        {
            "what": f"{kind}: scan",
            "figure": milliseconds(2),
            "unit": "ms",
            "against": read,
            **ratio([(turn[2], turn[3]) for turn in turns]),
        },
    ]


if __name__ == "__main__":
    main()
