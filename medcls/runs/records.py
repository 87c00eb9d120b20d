"""The records of a run folder as typed objects: config.yaml, environment.json, weights.json, and so on.

Each is read by `read`; a record whose file is missing is None.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from medcls.errors import MedclsError
from medcls.runs.run_folder import read_json

Record = TypeVar("Record")


@dataclasses.dataclass(frozen=True)
class Configuration:
    """The resolved configuration of a run, config.yaml. Nothing is built from it.

    Parameters
    ----------
    settings : mapping
    """

    settings: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> "Configuration | None":
        """Read the configuration of a run folder; None if there is no config.yaml.

        Raises
        ------
        MedclsError
            The file is damaged.
        """
        path = folder / "config.yaml"
        if not path.is_file():
            return None
        try:
            settings = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise MedclsError(
                f"{path} cannot be read as a configuration ({error}).", kind="damaged_configuration"
            ) from error
        if not isinstance(settings, dict):
            raise MedclsError(f"{path} is not a configuration.", kind="damaged_configuration")
        return cls(settings)

    def setting(self, name: str) -> Any:  # noqa: ANN401 - settings have any type
        """Return a setting by its dotted name; None if there is none."""
        value: Any = self.settings
        for key in name.split("."):
            if not isinstance(value, Mapping):
                return None
            value = value.get(key)
        return value

    def flat(self) -> dict[str, Any]:
        """Return the settings by their dotted names."""
        return dict(_flat(self.settings, ""))

    @property
    def seed(self) -> int | None:
        """The seed of the run."""
        seed = self.setting("seed")
        return seed if isinstance(seed, int) else None

    @property
    def positive_class(self) -> str | None:
        """The positive class of a binary task."""
        positive = self.setting("positive_class")
        return None if positive is None else str(positive)

    @property
    def images(self) -> Path | None:
        """The folder of the images at the time of training."""
        root = self.setting("data.root")
        return None if root is None else Path(str(root))

    def without_fold(self) -> "Configuration":
        """Return a copy without `data.fold`."""
        data = {name: value for name, value in (self.setting("data") or {}).items() if name != "fold"}
        return Configuration({**self.settings, "data": data})

    def without_fold_and_seed(self) -> "Configuration":
        """Return a copy without what differs between the runs of one cross-validation."""
        settings = {name: value for name, value in self.without_fold().settings.items() if name != "seed"}
        return Configuration(settings)


def _flat(settings: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


@dataclasses.dataclass(frozen=True)
class Environment:
    """Software and machine of a run, environment.json.

    Parameters
    ----------
    packages : mapping of str to str
        Versions by package.
    python, platform, device : str
    run : str
        The identity of the training (`workflow.resuming.identity`); empty in runs of earlier versions.
    """

    packages: Mapping[str, str]
    python: str
    platform: str
    device: str
    run: str = ""


@dataclasses.dataclass(frozen=True)
class InitialWeights:
    """Where the initial weights of a run came from, weights.json; see `models.weights.Account`.

    Parameters
    ----------
    source, file, sha256 : str or None
    summary : str
    tensors, loaded : int
        Number of tensors, and of those loaded.
    reinitialised : mapping of str to list of str
        Names of tensors by reason.
    origin, licence : str or None
        Of published weights; None in runs of earlier versions.
    frozen_at_random : sequence of str
        Tensors that were frozen with random weights.
    learned_from : sequence of mapping
        Of each run whose weights these are: `run`, `name`, `images` and `near_duplicates`; see
        `workflow.seen_images.Origin`.
    """

    source: str | None
    file: str | None
    sha256: str | None
    reinitialised: Mapping[str, list[str]]
    summary: str
    tensors: int
    loaded: int
    origin: str | None = None
    licence: str | None = None
    frozen_at_random: Sequence[str] = ()
    learned_from: Sequence[Mapping[str, Any]] = ()


@dataclasses.dataclass(frozen=True)
class TeacherRun:
    """The run that taught this one, teacher.json.

    Parameters
    ----------
    run, name : str
        Its folder; its data and network.
    checkpoint : str
        Hash of its weights.
    loss : str
        The function that `distillation` names.
    settings : mapping
        Its settings.
    images : int
    near_duplicates : int or None
        See `workflow.seen_images.Origin`.
    """

    run: str
    name: str
    checkpoint: str
    loss: str
    settings: Mapping[str, Any]
    images: int
    near_duplicates: int | None


@dataclasses.dataclass(frozen=True)
class AuditFinding:
    """A finding of an audit; see `auditing.findings.Finding`."""

    check: str
    level: str
    title: str
    text: str
    values: Mapping[str, Any]
    table: tuple[Mapping[str, Any], ...]
    pairs: tuple[Mapping[str, str], ...]
    images: tuple[str, ...]
    exclude: tuple[str, ...]

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "AuditFinding":
        """Read a finding of audit.json."""
        table, pairs, images, exclude = (tuple(plain[name] or ()) for name in ("table", "pairs", "images", "exclude"))
        check, level, title, text = (str(plain[name]) for name in ("check", "level", "title", "text"))
        return cls(check, level, title, text, plain["values"], table, pairs, images, exclude)


@dataclasses.dataclass(frozen=True)
class Audit:
    """The audit of a run's images, audit.json.

    Parameters
    ----------
    root : str
        The folder of the images.
    images, unreadable : int
        Number of images, and of those that cannot be read.
    splits : tuple of mapping
        The rows of splits.csv.
    findings : tuple of AuditFinding
    """

    root: str
    images: int
    unreadable: int
    splits: tuple[Mapping[str, Any], ...]
    findings: tuple[AuditFinding, ...]

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Audit":
        """Read the content of audit.json."""
        data, findings = plain["data"], tuple(AuditFinding.from_plain(finding) for finding in plain["findings"])
        return cls(data["root"], data["images"], data["unreadable"], tuple(data["splits"]), findings)

    def finding(self, check: str) -> AuditFinding | None:
        """Return the finding of a check; None if there is none."""
        return next((finding for finding in self.findings if finding.check == check), None)


@dataclasses.dataclass(frozen=True)
class Probe:
    """How a linear probe was fitted, and what the images add to shortcuts, probe.json; see `workflow.probing`.

    Parameters
    ----------
    folds, repeats : int
        Of the cross-validation.
    difference : mapping
        `comparing.Comparison` of the AUROC of the probe and of the shortcuts.
    statements : mapping of str to str
        Sentences on the `method`, the `penalty` and the `shortcuts`.
    """

    folds: int
    repeats: int
    difference: Mapping[str, Any]
    statements: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class StoredMetrics:
    """What metrics.json says about itself.

    Parameters
    ----------
    checkpoint : str
        Hash of the weights.
    keys : frozenset of str
        Splits and other keys of the file.
    """

    checkpoint: str
    keys: frozenset[str]

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "StoredMetrics":
        """Read the content of metrics.json."""
        return cls(str(plain["checkpoint"]), frozenset(plain))


_KEYS = {Audit: ("data", "findings"), StoredMetrics: ("checkpoint",)}
"""Required keys of a record that has a `from_plain`; those of the others are their fields without a default."""


def read(path: Path, kind: type[Record]) -> Record | None:
    """Read a record; None if there is no such file.

    Raises
    ------
    MedclsError
        The file is damaged.
    """
    way_out = "Restore the file, or remove it to go on without it."
    try:
        plain = read_json(path)
    except MedclsError as error:
        raise MedclsError(f"{error} {way_out}", kind=error.kind) from error
    if plain is None:
        return None
    fields = {} if kind in _KEYS else {field.name: field.default for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    required = _KEYS.get(kind) or [name for name, default in fields.items() if default is dataclasses.MISSING]
    try:
        if kind in _KEYS:
            record: Record = kind.from_plain(plain)  # type: ignore[attr-defined]
            return record
        return kind(**{name: plain[name] for name in fields if name in plain})
    except (KeyError, TypeError, AttributeError) as error:
        raise MedclsError(
            f"{path} is not what a training wrote: it should have {', '.join(required)}. {way_out}", kind="damaged_file"
        ) from error
