"""A checkpoint as one file for other programs: an ONNX graph, or a program of `torch.export`."""

import hashlib
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from medcls.data.transforms import normalise
from medcls.errors import MedclsError
from medcls.inference.load import ClassLogits, Loaded
from medcls.inference.onnx_file import DESCRIPTION, GRAPH_HASH, INPUT, LARGEST, OUTPUT
from medcls.preprocessing import Preprocessing

if TYPE_CHECKING:
    import onnx

PROGRAM_DESCRIPTION = "medcls.json"
"""The file of a `torch.export` archive that holds the description of the model."""

BATCH = "batch"


class PixelsToLogits(nn.Module):
    """From decoded and resized images to logits: scaling, normalisation and network.

    Parameters
    ----------
    network : ClassLogits
    preprocessing : Preprocessing
    """

    def __init__(self, network: ClassLogits, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.network, self.preprocessing = network, preprocessing

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits `(B, K)` of pixels `(B, H, W, C)`, uint8 or uint16."""
        images = pixels.permute(0, 3, 1, 2)
        if images.dtype != torch.uint8:
            images = images.float().div(65535)
        logits: Tensor = self.network(normalise(images, self.preprocessing))
        return logits


def write_onnx(loaded: Loaded, described: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint as one ONNX file, with its description in the metadata.

    The input `pixels` is `(batch, H, W, C)`, uint8 or uint16, of any batch size; the output `logits` is float32
    `(batch, K)`.

    Parameters
    ----------
    loaded : Loaded
        With its network on the CPU.
    described : mapping
        From `Model.described`.
    path : Path

    Raises
    ------
    MedclsError
        A package is not installed; the network cannot be exported, or is too large for one file.
    """
    check_installed("onnx", "onnxscript", "onnxruntime")
    import onnx

    size = sum(tensor.numel() * tensor.element_size() for tensor in loaded.network.state_dict().values())
    if size > LARGEST:
        raise MedclsError(
            f"The network has {size / 2**30:.1f} GiB of weights, and one ONNX file holds at most {LARGEST / 2**30:.0f} "
            "GiB. Export it with format=torch_export.",
            kind="too_large",
        )
    with _reporting_failures("format=onnx"):
        exported = torch.onnx.export(
            _program(loaded), dynamo=True, input_names=[INPUT], output_names=[OUTPUT], verbose=False
        )
    if exported is None:  # only without dynamo
        raise AssertionError("torch returned no ONNX program")
    for graph in (exported.model.graph, *(function.graph for function in exported.model.functions.values())):
        graph.metadata_props.clear()
        for node in graph.all_nodes():
            # Names of modules, and where on this machine their code is.
            node.metadata_props.clear()
            node.doc_string = None
    model = exported.model_proto
    del model.metadata_props[:]
    describe_graph(model, described)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def describe_graph(model: "onnx.ModelProto", described: Mapping[str, Any]) -> None:
    """Put a model's description, and a hash of the graph that it is of, into the metadata of an ONNX model."""
    import onnx

    from medcls import __version__

    model.producer_name, model.producer_version, model.doc_string = "medcls", __version__, ""
    model.graph.name = "medcls"
    graph = hashlib.sha256(model.graph.SerializeToString()).hexdigest()
    text = json.dumps(described, ensure_ascii=False, allow_nan=False)
    onnx.helper.set_model_props(model, {DESCRIPTION: text, GRAPH_HASH: graph})


def write_program(loaded: Loaded, described: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint as an archive for `torch.export.load`, with its description as an extra file.

    Its module takes and returns what the ONNX graph of `write_onnx` does.

    Parameters
    ----------
    loaded, described, path
        As in `write_onnx`.

    Raises
    ------
    MedclsError
        The network cannot be exported.
    """
    with _reporting_failures("format=torch_export"):
        program = _program(loaded)
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)  # where on this machine the code is
        extra = {PROGRAM_DESCRIPTION: json.dumps(described, ensure_ascii=False, allow_nan=False)}
        with path.open("wb") as file:
            torch.export.save(program, file, extra_files=extra)


def check_installed(*packages: str) -> None:
    """Check that packages of the extra `onnx` are installed.

    Raises
    ------
    MedclsError
        One is missing.
    """
    import importlib.util

    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise MedclsError(
            f"To export to ONNX, {', '.join(missing)} must be installed: pip install 'medcls[onnx]'",
            kind="missing_extra",
        )


def _program(loaded: Loaded) -> torch.export.ExportedProgram:
    preprocessing = loaded.preprocessing
    dtype = torch.uint8 if preprocessing.bits == 8 else torch.uint16
    module = PixelsToLogits(loaded.network, preprocessing).eval()
    # Two images: with one, torch would take the batch size for a constant.
    sample = torch.zeros((2, *preprocessing.size, preprocessing.channels), dtype=dtype)
    return torch.export.export(module, (sample,), dynamic_shapes={"pixels": {0: torch.export.Dim(BATCH)}})


@contextmanager
def _reporting_failures(setting: str) -> Iterator[None]:
    """Report any failure of torch's exporters as an error of the network's, without their warnings."""
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    except OSError:
        raise
    except Exception as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise MedclsError(
            f"torch cannot export this network with {setting}: {reason}", kind="not_exportable"
        ) from error
    finally:
        exporter.setLevel(level)
