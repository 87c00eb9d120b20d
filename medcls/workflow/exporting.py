"""Export a checkpoint as one file, and keep it only if it predicts what the checkpoint does."""

import dataclasses
import hashlib
import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcls.data.manifest import Manifest
from medcls.errors import MedclsError
from medcls.evaluation.comparing import Question, compare_all
from medcls.evaluation.predictions import Predictions, from_logits
from medcls.inference import export, onnx_file
from medcls.inference.load import Loaded
from medcls.inference.model import Model, Pixels
from medcls.inference.verification import Agreement, agreement, agreement_of, milliseconds
from medcls.wording import counted
from medcls.workflow import terminal
from medcls.writing import atomic_write

log = logging.getLogger(__name__)

FILES = {"onnx": "model.onnx", "torch_export": "model.pt2", "onnx_int8": "model_int8.onnx"}
"""The file of each format."""

PACKAGES = ("medcls", "torch", "onnx", "onnxscript", "onnxruntime", "numpy", "pillow")

BATCHES = (1, 32)
"""Numbers of images whose time is measured."""

INT8_WATERMARK = "8-bit weights"


@dataclasses.dataclass(frozen=True)
class Sample:
    """Decoded and resized images on which an export is verified.

    Parameters
    ----------
    source : str
        What they are: `val images of the run`, `phantoms`.
    pixels : tuple of ndarray
        `(H, W, C)` each.
    """

    source: str
    pixels: tuple[Pixels, ...]


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What is exported.

    Parameters
    ----------
    loaded : Loaded
        With its network on the CPU.
    model : Model
        The same, which scores by torch on the CPU.
    """

    loaded: Loaded
    model: Model

    def eager(self, pixels: Pixels) -> np.ndarray:
        """Logits as plain torch computes them."""
        import torch

        with torch.inference_mode():
            module = export.PixelsToLogits(self.loaded.network, self.loaded.preprocessing)
            outputs: np.ndarray = module(torch.from_numpy(pixels)).numpy()
            return outputs


def export_file(form: str, checkpoint: Checkpoint, sample: Sample, tolerance: float, path: Path) -> dict[str, Any]:
    """Write a checkpoint as ONNX or as a program of torch; keep the file only if its predictions are the same.

    Parameters
    ----------
    form : str
        `onnx` or `torch_export`.
    checkpoint : Checkpoint
    sample : Sample
    tolerance : float
        The largest difference of probabilities.
    path : Path
        The file.

    Returns
    -------
    dict
        For export.json.

    Raises
    ------
    MedclsError
        As `inference.export`; or the predictions differ.
    """
    with atomic_write(path) as temporary:
        with terminal.progress(f"exporting to {path.name}"):
            write, read = {"onnx": (export.write_onnx, onnx_file.load), "torch_export": _PROGRAM}[form]
            write(checkpoint.loaded, checkpoint.model.described(), temporary)
            exported = read(temporary)
        with terminal.progress(f"verifying {path.name}"):
            found = agreement(checkpoint.model, exported, sample.pixels)
            _check(found, sample, tolerance, form)
            latency = _latency(checkpoint, exported, sample.pixels)
    log.info("%s: %s", path.name, _sentence(found, sample), extra={"rule": "export_verified"})
    verified = {"images_are": sample.source, "tolerance": tolerance, **dataclasses.asdict(found)}
    return _record(form, checkpoint, path) | {"verified": verified, "latency": latency}


def export_int8(
    checkpoint: Checkpoint, training: Sequence[Pixels], val: Manifest, most_lost: float, path: Path
) -> dict[str, Any]:
    """Write a checkpoint as ONNX with weights and activations of 8 bits; keep the file only if val's AUROC is kept.

    Parameters
    ----------
    checkpoint : Checkpoint
    training : sequence of ndarray
        Training images `(H, W, C)`, by which the ranges of activations are calibrated.
    val : Manifest
        All of its images are predicted.
    most_lost : float
        How much lower the AUROC of val may be.
    path : Path

    Returns
    -------
    dict
        For export.json.

    Raises
    ------
    MedclsError
        As `inference.export`; val has one class only; or more is lost.
    """
    from medcls.inference.quantization import write_int8

    plain = checkpoint.model.described()
    described = plain | {"watermarks": [*plain["watermarks"], INT8_WATERMARK]}
    with atomic_write(path) as temporary, tempfile.TemporaryDirectory() as folder:
        with terminal.progress(f"exporting to {path.name}"):
            exact = Path(folder) / "model.onnx"
            export.write_onnx(checkpoint.loaded, plain, exact)
            write_int8(exact, described, training, temporary)
            exported = onnx_file.load(temporary)
        with terminal.progress("comparing val") as progress:
            models = (checkpoint.model, exported)
            logits = _logits_of(models, val, progress)
        loss = _auroc_loss(*(_predictions(model, one, val) for model, one in zip(models, logits, strict=True)))
        found = agreement_of(*models, *logits)
        if not loss["loss"] <= most_lost:
            raise MedclsError(
                f"With 8 bits the AUROC of val is {loss['int8']:.4f} instead of {loss['exact']:.4f}, a loss of "
                f"{loss['loss']:.4f} (95% interval {loss['low']:.4f} to {loss['high']:.4f}), more than the "
                f"auroc_tolerance of {most_lost:g}: no file was written. Export with format=onnx, or calibrate on more "
                "images (calibration_images).",
                kind="export_differs",
            )
        latency = _latency(checkpoint, exported, training)
    log.info(
        "%s: the AUROC of val is %.4f, and %.4f exactly; %d of %s decided alike",
        path.name, loss["int8"], loss["exact"], found.same_decisions, counted(found.images, "image"),
        extra={"rule": "export_verified"},
    )  # fmt: skip
    gate = {"calibrated_on": f"{len(training)} training images", "auroc_of_val": loss, "auroc_tolerance": most_lost}
    verified = {"images_are": "val images of the run", **dataclasses.asdict(found)}
    return _record("onnx_int8", checkpoint, path) | {"int8": gate, "verified": verified, "latency": latency}


def _load_program(path: Path) -> Model:
    """Load what `export.write_program` wrote."""
    import json

    import torch

    extra = {export.PROGRAM_DESCRIPTION: ""}
    module = torch.export.load(path, extra_files=extra).module()

    def score(pixels: Pixels) -> np.ndarray:
        with torch.inference_mode():
            outputs: np.ndarray = module(torch.from_numpy(pixels)).numpy()
            return outputs

    return Model.from_described(json.loads(extra[export.PROGRAM_DESCRIPTION]), score)


_PROGRAM: tuple[Callable[[Loaded, Mapping[str, Any], Path], None], Callable[[Path], Model]] = (
    export.write_program,
    _load_program,
)


def _check(found: Agreement, sample: Sample, tolerance: float, form: str) -> None:
    if not found.is_within(tolerance):
        other = found.images - found.same_decisions - found.at_the_threshold
        raise MedclsError(
            f"The export (format={form}) does not predict what the checkpoint does: on {len(sample.pixels)} images "
            f"({sample.source}) probabilities differ by up to {found.probability_difference:.2g}, more than the "
            f"tolerance of {tolerance:g} or enough for {other} other decisions; logits by up to "
            f"{found.logit_difference:.2g}, of up to {found.largest_logit:.3g}. No file was written. If this is "
            "rounding in a network with large logits, raise the tolerance.",
            kind="export_differs",
        )


def _sentence(found: Agreement, sample: Sample) -> str:
    return (
        f"on {found.images} images ({sample.source}) logits differ from the checkpoint's by at most "
        f"{found.logit_difference:.1e}, probabilities by {found.probability_difference:.1e}; "
        f"{found.same_decisions} of {found.images} decisions are the same"
    )


def _latency(checkpoint: Checkpoint, exported: Model, pixels: Sequence[Pixels]) -> dict[str, Any]:
    """The time of eager torch and of the export, in milliseconds a batch."""
    from medcls import cpu

    rows = []
    for size in BATCHES:
        batch = np.stack([pixels[number % len(pixels)] for number in range(size)])
        eager, other = milliseconds([checkpoint.eager, exported.score], batch)
        rows.append({"images": size, "eager_ms": round(eager, 3), "exported_ms": round(other, 3)})
    return {"cores": cpu.available_cores(), "median_of_batches": rows}


def _logits_of(
    models: tuple[Model, Model], val: Manifest, progress: Callable[[int, int], None]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The logits of two models on all images of val, of which only a batch is in memory."""
    paths, size = [val.root / name for name in val.rows["path"]], models[0].batch_size
    found: tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]] = ([], [])
    for first in range(0, len(paths), size):
        pixels = np.stack([models[0].read(path) for path in paths[first : first + size]])
        for model, logits in zip(models, found, strict=True):
            logits.append(model.score(pixels))
        progress(min(first + size, len(paths)), len(paths))
    return np.concatenate(found[0]), np.concatenate(found[1])


def _predictions(model: Model, logits: NDArray[np.float32], val: Manifest) -> Predictions:
    return from_logits(val.rows, np.arange(len(logits)), logits, model.classes, model.positive, model.checkpoint)


def _auroc_loss(exact: Predictions, int8: Predictions) -> dict[str, Any]:
    """The AUROC of both, and the loss with its paired interval."""
    (row,) = compare_all({"exact": exact, "int8": int8}, Question()).to_dict("records")
    if not np.isfinite(row["difference"]):
        raise MedclsError(
            "val has images of one class only, so its AUROC is undefined, and what 8 bits cost cannot be judged: "
            "export with format=onnx.",
            kind="one_class",
        )
    loss = {"exact": row["first"], "int8": row["second"], "loss": row["difference"]}
    return loss | {name: row[name] for name in ("low", "high", "method", "n")}


def _record(form: str, checkpoint: Checkpoint, path: Path) -> dict[str, Any]:
    """What export.json says of any export. No paths: the file may be handed on."""
    data = path.read_bytes()
    return {
        "format": form,
        "file": path.name,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "model": checkpoint.model.name,
        "checkpoint": checkpoint.model.checkpoint,
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """The versions of the packages that an export depends on."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
