"""What every data source can be asked for, in one dataclass."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from medcls.data.manifest import Manifest
from medcls.data.sources.scan import Progress, ScanOptions
from medcls.errors import MedclsError

MatchClasses = Callable[[Sequence[str]], tuple[Mapping[str, str], list[str]]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """Which images a source keeps, how it labels and groups them, and how they are read.

    Parameters
    ----------
    positive : str, optional
        The positive class of a binary task.
    label_map : mapping, optional
        `{new class: [labels]}`, to merge or rename classes.
    leave_out_unmapped : bool
        Leave out images of classes that `label_map` does not name; by default these are an error.
    group_pattern : str, optional
        A regular expression that finds the patient (lesion, exam) in an image's relative path.
    masks : str, optional
        `keep` treats segmentation masks as images. By default masks beside their images are left out; see
        `masks.masks_beside_images`.
    exclude_paths : str or sequence of str
        Relative paths of images to leave out.
    exclude_file : path, optional
        A text file of such paths, one a line, as `medcls.audit` writes it.
    dicom_patients : bool
        Group DICOM files by patient: a salted hash of the patient id, see `medcls.data.reading.dicom.patient_group`.
    dicom_columns : bool
        Add columns for modality, view and scanner from DICOM headers; nothing that identifies a person.
    frame, remember, progress
        See `medcls.data.sources.scan.ScanOptions`.
    strict : bool
        False for the audit, which reports what would stop a training: unreadable images go to `Manifest.unreadable`,
        an image may have two labels, and a binary task needs no positive class.
    judged_by : callable, optional
        For images that a trained network will classify: maps their labels to the network's classes, and returns notes.
        Labels without a class are left out, and one class is enough.
    """

    positive: str | None = None
    label_map: Mapping[str, Sequence[str]] | None = None
    leave_out_unmapped: bool = False
    group_pattern: str | None = None
    masks: str | None = None
    exclude_paths: str | Sequence[str] = ()
    exclude_file: str | Path | None = None
    dicom_patients: bool = False
    dicom_columns: bool = False
    frame: int = 0
    remember: bool = True
    strict: bool = True
    judged_by: MatchClasses | None = None
    progress: Progress | None = None

    def __post_init__(self) -> None:
        if self.masks not in (None, "keep"):
            raise MedclsError(
                f"data.masks is {self.masks!r}: choose keep, or null to leave them out.", kind="bad_value"
            )

    @property
    def scan(self) -> ScanOptions:
        """How files are read."""
        return ScanOptions(self.frame, self.remember, self.progress)


def takes_options(source: Callable[..., Manifest]) -> Callable[..., Manifest]:
    """Let a source be called with the fields of its `options` as arguments, as a configuration names them.

    The decorated function's signature, against which settings are checked, lists these fields after its own arguments.
    """
    signature, fields = inspect.signature(source, eval_str=True), inspect.signature(SourceOptions).parameters
    own = [parameter for name, parameter in signature.parameters.items() if name != "options"]

    @functools.wraps(source)
    def with_options(*arguments: Any, **settings: Any) -> Manifest:  # noqa: ANN401 - the signature checks them
        options = SourceOptions(**{name: settings.pop(name) for name in fields if name in settings})
        return source(*arguments, options=options, **settings)

    with_options.__signature__ = signature.replace(parameters=[*own, *fields.values()])  # type: ignore[attr-defined]
    return with_options
