"""A folder or zip file with all that belongs to a model, to be handed on: no patient, image or path in it."""

import dataclasses
import hashlib
import json
import logging
import re
import shutil
import tempfile
import zipfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from medcls.errors import MedclsError
from medcls.evaluation.predictions import KEPT_TOGETHER, Predictions
from medcls.inference import onnx_file
from medcls.inference.load import Loaded, weights_hash
from medcls.models.weights import read_state
from medcls.report.model_card import LICENCES, Subject, licence_note, model_card
from medcls.report.sources import Sources
from medcls.runs.registry import past_readings
from medcls.runs.run_folder import RunFolder, without_nan
from medcls.workflow import evaluating, exporting, result_files
from medcls.workflow.evaluating import Fitted
from medcls.workflow.exporting import Checkpoint, Sample
from medcls.workflow.report_settings import ReportSettings
from medcls.writing import atomic_write

log = logging.getLogger(__name__)

CARD, WEIGHTS, REPORT, HASHES = "README.md", "model.safetensors", "report.html", "SHA256SUMS"

NAME = "bundle"

_PLACES = ("data.root", "data.csv", "data.exclude_file", "data.locked_test", "model.weights")

_LONG_NAME = 4  # letters: a shorter name of a patient may be any word or number of a report


@dataclasses.dataclass(frozen=True)
class Reported:
    """What the report and the card of a bundle are made of.

    Parameters
    ----------
    tables : sequence of Predictions
        Stored predictions of the checkpoint, the result last.
    sources : Sources
        Records of the run.
    options : ReportSettings
        Without images and paths.
    checkpoint : Path
        `best.ckpt` of the run.
    licence : str or None
        Of the weights.
    """

    tables: Sequence[Predictions]
    sources: Sources
    options: ReportSettings
    checkpoint: Path
    licence: str | None


def write_bundle(
    checkpoint: Checkpoint, sample: Sample, tolerance: float, reported: Reported, folder: Path, *, zipped: bool
) -> tuple[Path, dict[str, Any]]:
    """Write a bundle, and read it again.

    Parameters
    ----------
    checkpoint, sample, tolerance
        As in `exporting.export_file`.
    reported : Reported
    folder : Path
        The bundle becomes `bundle/` in it, or `bundle.zip`.
    zipped : bool

    Returns
    -------
    path : Path
    record : dict
        For export.json.

    Raises
    ------
    MedclsError
        The export differs from the checkpoint; a file names an image or a patient; a file is not as it was written.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=".bundle-") as temporary:
        place = Path(temporary) / NAME
        place.mkdir()
        model = place / exporting.FILES["onnx"]
        record = exporting.export_file("onnx", checkpoint, sample, tolerance, model) | {"format": "bundle"}
        write_weights(reported.checkpoint, checkpoint.model.described(), place / WEIGHTS)
        subject, page, card, plots = _report(checkpoint.loaded, reported, Path(temporary) / "report")
        texts = {
            REPORT: page,
            CARD: model_card(subject, card),
            LICENCES: licence_note(subject),
            "environment.json": _json(_environment(reported.sources)),
            "export.json": _json(record),
        }
        check_names_nothing(texts | plots, [table.rows for table in reported.tables], _places(reported.sources))
        for name, text in texts.items():
            (place / name).write_text(text, encoding="utf-8")
        (place / HASHES).write_text(_sums(place), encoding="utf-8")
        check_bundle(place, checkpoint.model.checkpoint)
        if zipped:
            path = folder / f"{NAME}.zip"
            with atomic_write(path) as archive:
                _pack(place, archive)
                with zipfile.ZipFile(archive) as opened:
                    opened.extractall(Path(temporary) / "again")
                check_bundle(Path(temporary) / "again" / NAME, checkpoint.model.checkpoint)
        else:
            path = folder / NAME
            place.rename(path)
    return path, record


def write_weights(checkpoint: Path, described: Mapping[str, Any], path: Path) -> None:
    """Write the weights of a checkpoint as safetensors; in the metadata the model, and how its network is built.

    Parameters
    ----------
    checkpoint : Path
        `best.ckpt` of a run.
    described : mapping
        From `Model.described`.
    path : Path

    Raises
    ------
    MedclsError
        safetensors is not installed.
    """
    from medcls.inference.export import check_installed

    check_installed("safetensors")
    from safetensors.torch import save

    state, its_own = read_state(checkpoint)
    # Cloned, because tensors that share memory are refused.
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    network = {name: its_own.get(name) for name in ("network", "head")}
    metadata = {"medcls": described, "network": network}
    texts = {name: json.dumps(content, ensure_ascii=False, allow_nan=False) for name, content in metadata.items()}
    path.write_bytes(save(tensors, texts))


def check_bundle(place: Path, checkpoint: str) -> None:
    """Check each file of a bundle against its hash, that the models can be loaded, and the weights' own hash.

    Raises
    ------
    MedclsError
        A file is missing, or not as it was written.
    """
    from safetensors.torch import load_file

    lines = [line.split("  ", 1) for line in (place / HASHES).read_text(encoding="utf-8").splitlines()]
    sums = {name: digest for digest, name in lines}
    there = {path.name: _hash(path) for path in place.iterdir() if path.name != HASHES}
    model = onnx_file.load(place / exporting.FILES["onnx"])
    front = yaml.safe_load((place / CARD).read_text(encoding="utf-8").split("---\n")[1])
    if there != sums or {weights_hash(load_file(place / WEIGHTS)), model.checkpoint} != {checkpoint} or not front:
        wrong = sorted(name for name in {*there, *sums} if there.get(name) != sums.get(name))
        raise MedclsError(
            f"The bundle was not written correctly: {', '.join(wrong) or 'other weights than the checkpoint'}. "
            "Is the disk full or damaged?",
            kind="cannot_write",
        )


def check_names_nothing(texts: Mapping[str, str], tables: Sequence[Any], places: Collection[str]) -> None:
    """Check that no text of a bundle names an image, a patient or a folder of the run.

    Parameters
    ----------
    texts : mapping of str to str
        By the names of files.
    tables : sequence of DataFrame
        Rows of predictions, with paths and groups.
    places : collection of str
        Folders.

    Raises
    ------
    MedclsError
        One does; says which file, but not which name.
    """
    names = {place for place in places if len(place) > 1}
    for rows in tables:
        names |= {str(path) for path in rows["path"]}
        for column in ("group", KEPT_TOGETHER):
            groups = set(rows[column]) if column in rows else set()
            names |= {str(group) for group in groups if len(str(group)) >= _LONG_NAME and not str(group).isdigit()}
    # One pass over each text, by whole words.
    words = re.compile(r"[^\s<>\"'`|]+")
    ends = ".,;:()[]"
    for file, text in texts.items():
        found = {word.strip(ends) for word in words.findall(text)}
        if found & names or any(re.search(rf"{re.escape(place)}(?![\w-])", text) for place in places if len(place) > 1):
            raise MedclsError(
                f"{file} of the bundle would name an image, a patient or a folder of this run, so the bundle was not "
                "written. Look for such a name in report.purpose, data.name and the names of classes and subgroups.",
                kind="names_in_bundle",
            )


def _report(loaded: Loaded, reported: Reported, folder: Path) -> tuple[Subject, str, str, dict[str, str]]:
    """Make the report again, without images and paths: what it is of, the page, the card, and plots by name."""
    if loaded.decision_rules is None:
        raise MedclsError(
            "The run has no decision rules, because its training did not end: evaluate it first, by "
            "python -m medcls.evaluate run=RUN split=val",
            kind="no_decision_rules",
        )
    fitted = Fitted.from_plain(loaded.decision_rules)
    results = evaluating.evaluate(reported.tables, fitted, reported.options)
    sources = dataclasses.replace(reported.sources, readings=past_readings(reported.tables[-1]))
    run = RunFolder(folder)
    try:
        result_files.write_report(run, results, sources, reported.options)
        page, card = (run.path / name for name in (REPORT, "report.md"))
        subject = Subject(results.headline, sources, reported.licence)
        drawn = [*run.figures.glob("*.svg"), *(one.svg for one in sources.drawn)]
        plots = {path.name: path.read_text(encoding="utf-8") for path in drawn}
        return subject, page.read_text(encoding="utf-8"), card.read_text(encoding="utf-8"), plots
    finally:
        run.close()


def _environment(sources: Sources) -> dict[str, Any]:
    """Software of the training and of the export."""
    environment = sources.environment
    training = None
    if environment is not None:
        training = {
            "python": environment.python,
            "platform": environment.platform,
            "device": environment.device,
            "packages": dict(environment.packages),
        }
    return {"training": training, "export": exporting.versions()}


def _places(sources: Sources) -> set[str]:
    """Folders that the run's records name."""
    settings = {} if sources.config is None else sources.config.flat()
    texts = [str(value) for name, value in settings.items() if name in _PLACES or str(value).startswith("/")]
    texts += [str(Path.home()), *([] if sources.audit is None else [sources.audit.root])]
    return {text for text in texts if re.search(r"[^/\\][/\\]|[/\\][^/\\]", text)}


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(without_nan(dict(content)), indent=2, ensure_ascii=False) + "\n"


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sums(place: Path) -> str:
    """For `sha256sum --check`."""
    return "".join(f"{_hash(path)}  {path.name}\n" for path in sorted(place.iterdir()))


def _pack(place: Path, archive: Path) -> None:
    """Pack a bundle; the same files give the same bytes."""
    with zipfile.ZipFile(archive, "w") as opened:
        for path in sorted(place.iterdir()):
            entry = zipfile.ZipInfo(f"{NAME}/{path.name}", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = (
                zipfile.ZIP_DEFLATED if path.suffix in (".html", ".json", ".md") else zipfile.ZIP_STORED
            )
            with path.open("rb") as file, opened.open(entry, "w", force_zip64=True) as packed:
                shutil.copyfileobj(file, packed)
