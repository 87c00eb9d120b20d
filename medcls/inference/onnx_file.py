"""Read a model that `medcls.export` wrote, with onnxruntime alone: torch is not imported here."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medcls.cpu import available_cores
from medcls.errors import MedclsError
from medcls.inference.model import Model, ModelDescription, Pixels

if TYPE_CHECKING:
    import onnxruntime

INPUT, OUTPUT = "pixels", "logits"

DESCRIPTION, GRAPH_HASH = "medcls", "medcls_graph"
"""Keys of the metadata: the description of the model as JSON, and the SHA-256 of the graph that it is of."""

_FIXED = {1: 8, 5: 4}

LARGEST = 2**31 - 2**20
"""Bytes: what one protobuf file can hold, less what stands beside the weights."""

MOST_PIXELS = 2**26
"""Of the network's input, height times width."""

# Numbers of fields in onnx.proto: of ModelProto, of GraphProto, and of TensorProto.
_GRAPH, _INITIALIZER, _EXTERNAL_DATA = 7, 5, 13


def load(path: Path) -> Model:
    """Load an ONNX file that medcls wrote.

    Raises
    ------
    MedclsError
        onnxruntime is not installed; there is no such file; it is damaged, not an export of medcls, or changed since.
    """
    data = _read(path)
    session, metadata = _session(data, path)
    if DESCRIPTION not in metadata or GRAPH_HASH not in metadata:
        raise MedclsError(
            f"{path} is an ONNX file, but no export of medcls: it does not say which classes, preprocessing and "
            "decision rules belong to it. Make one by python -m medcls.export run=RUN",
            kind="not_an_export",
        )
    graph = _graph(data, path)
    if any(
        number == _EXTERNAL_DATA
        for field, tensor in _fields(graph, path)
        if field == _INITIALIZER
        for number, _ in _fields(tensor, path)
    ):
        raise MedclsError(
            f"{path} refers to weights in other files, which an export of medcls never does: export the run again.",
            kind="damaged_onnx",
        )
    if hashlib.sha256(graph).hexdigest() != metadata[GRAPH_HASH]:
        raise MedclsError(
            f"{path} was changed after medcls wrote it, or its description is that of another model: its predictions "
            "cannot be trusted. Export the run again.",
            kind="damaged_onnx",
        )
    try:
        description = ModelDescription.from_plain(json.loads(metadata[DESCRIPTION]))
        _check_input(session, description)
        model = Model(description, Scores(session, path))
        _check_rules(model)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        if isinstance(error, MedclsError) and error.kind == "newer_format":
            raise MedclsError(f"{path}: {error}", kind=error.kind) from error
        raise MedclsError(
            f"The description in {path} is damaged: {error or type(error).__name__}. Export the run again.",
            kind="damaged_onnx",
        ) from error
    return model


class Scores:
    """The logits of decoded images by onnxruntime on the CPU; may be called from several threads.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
    path : Path
        For error messages.
    """

    def __init__(self, session: "onnxruntime.InferenceSession", path: Path) -> None:
        self._session, self._path = session, path

    def __call__(self, pixels: Pixels) -> NDArray[np.float32]:
        """Logits `(B, K)` of images `(B, H, W, C)`.

        Raises
        ------
        MedclsError
            onnxruntime cannot compute the graph.
        """
        try:
            logits: NDArray[np.float32] = self._session.run([OUTPUT], {INPUT: pixels})[0]
        except Exception as error:
            raise MedclsError(
                f"onnxruntime cannot compute {self._path}: {_reason(error)}", kind="onnx_failed"
            ) from error
        return logits


def _read(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > 2**31:
            raise MedclsError(f"{path} has {size:,} bytes, and an ONNX file at most 2 GiB.", kind="damaged_onnx")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise MedclsError(f"There is no file {path}.", kind="no_such_file") from error
    except OSError as error:
        raise MedclsError(f"{path} cannot be read: {error.strerror or error}.", kind="unreadable_file") from error


def _session(data: bytes, path: Path) -> tuple["onnxruntime.InferenceSession", dict[str, str]]:
    """A session, and the metadata of its model."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MedclsError(
            f"To read {path}, onnxruntime must be installed: pip install onnxruntime", kind="missing_extra"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = available_cores()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # other programs share the cores
    options.log_severity_level = 4  # what goes wrong is raised too
    try:
        # From bytes: weights in other files, which an export of medcls never has, are then not looked for.
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"], enable_fallback=0)
        return session, session.get_modelmeta().custom_metadata_map
    except Exception as error:
        raise MedclsError(
            f"{path} is no ONNX file that onnxruntime can read: {_reason(error)}. Export the run again.",
            kind="damaged_onnx",
        ) from error


def _check_input(session: "onnxruntime.InferenceSession", description: ModelDescription) -> None:
    preprocessing = description.preprocessing
    height, width = preprocessing.size
    if height * width > MOST_PIXELS:
        raise MedclsError(f"an input of {height} x {width} pixels is more than {MOST_PIXELS:,}", kind="damaged_onnx")
    inputs, outputs = session.get_inputs(), session.get_outputs()
    expected = {
        INPUT: (
            "tensor(uint8)" if preprocessing.bits == 8 else "tensor(uint16)",
            ["batch", height, width, preprocessing.channels],
        ),
        OUTPUT: ("tensor(float)", ["batch", len(description.classes)]),
    }
    # The name of a size stands for any number.
    found = {
        one.name: (one.type, ["batch" if isinstance(one.shape[0], str) else one.shape[0], *one.shape[1:]])
        for one in (*inputs, *outputs)
    }
    if found != expected:
        raise MedclsError(f"it describes {_shown(expected)}, and the graph has {_shown(found)}", kind="damaged_onnx")


def _check_rules(model: Model) -> None:
    classes, positive = model.classes, model.positive
    if len({name for name in classes if isinstance(name, str)}) < max(2, len(classes)):
        raise MedclsError("it does not name two classes or more, each once", kind="damaged_onnx")
    if (positive is not None) is not (len(classes) == 2) or positive not in (None, *classes):
        raise MedclsError("its positive class is not one of two classes", kind="damaged_onnx")
    with np.errstate(all="ignore"):
        (prediction,) = model.judge(np.zeros((1, len(model.classes)), np.float32))
    if not np.isfinite([*prediction.probabilities.values()]).all():
        raise MedclsError("its calibration gives no probabilities", kind="damaged_onnx")


def _shown(tensors: dict[str, tuple[str, list[Any]]]) -> str:
    return ", ".join(f"{name}: {dtype} ({', '.join(map(str, shape))})" for name, (dtype, shape) in tensors.items())


def _reason(error: Exception) -> str:
    """The end of onnxruntime's message, which begins with codes and names of its source files."""
    return str(error).splitlines()[0].rpartition(" : ")[2].strip().rstrip(".") or type(error).__name__


def _graph(data: bytes, path: Path) -> memoryview:
    """The bytes of the graph in a serialized ModelProto."""
    graph = None
    for number, value in _fields(memoryview(data), path):
        if number == _GRAPH:
            if graph is not None:  # parsers would merge them
                raise MedclsError(f"{path} has two graphs.", kind="damaged_onnx")
            graph = value
    if graph is None:
        raise MedclsError(f"{path} has no graph.", kind="damaged_onnx")
    return graph


def _fields(data: memoryview, path: Path) -> Iterator[tuple[int, memoryview]]:
    """The length-delimited fields of a protobuf message: their numbers and bytes.

    A message is a sequence of fields, each a key (number * 8 + type) and a value: a varint (0), 8 bytes (1), a length
    and as many bytes (2), or 4 bytes (5).
    """
    place = 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = data[place]
            place += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    try:
        while place < len(data):
            key = varint()
            if key & 7 == 2:
                length = varint()
                yield key >> 3, data[place : place + length]
                place += length
            elif key & 7 == 0:
                varint()
            elif key & 7 in _FIXED:
                place += _FIXED[key & 7]
            else:
                break
    except IndexError:
        place = -1
    if place != len(data):
        raise MedclsError(f"{path} is damaged: it is not a sequence of protobuf fields.", kind="damaged_onnx")
