"""What a checkpoint says of itself, beside its weights."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medcls import __version__
from medcls.errors import MedclsError


@dataclasses.dataclass(frozen=True)
class Description:
    """What is needed to rebuild a network and its preprocessing, and what it was trained on.

    Parameters
    ----------
    network : mapping
        `_target_` and settings, with `num_classes`.
    head : mapping or None
        Settings of the head that replaces the published one.
    classes : tuple of str
        In the order of the outputs.
    positive : str or None
        The positive class of a binary task.
    preprocessing : mapping
        From `Preprocessing.to_plain`.
    manifest, run : str
        The fingerprint of the manifest and the identity of the training (`workflow.resuming.identity`); empty in
        checkpoints of earlier versions.
    """

    network: Mapping[str, Any]
    head: Mapping[str, Any] | None
    classes: tuple[str, ...]
    positive: str | None
    preprocessing: Mapping[str, Any]
    manifest: str = ""
    run: str = ""
    watermarks: tuple[str, ...] = ()

    def to_plain(self) -> dict[str, Any]:
        """For the checkpoint, with the version of medcls."""
        plain = dataclasses.asdict(self) | {"medcls": __version__, "classes": list(self.classes)}
        return plain | {"stamps": list(plain.pop("watermarks"))}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any], checkpoint: Path) -> "Description":
        """Read what `read_state` returns for a checkpoint.

        Raises
        ------
        MedclsError
            It is not a checkpoint of medcls, or its positive class is none of its classes.
        """
        kinds = {"network": Mapping, "classes": list, "preprocessing": Mapping}
        wrong = [name for name, kind in kinds.items() if not isinstance(plain.get(name), kind)]
        if wrong:
            raise MedclsError(
                f"{checkpoint} is not a checkpoint of medcls: it lacks {', '.join(wrong)}.", kind="damaged_checkpoint"
            )
        classes, positive = tuple(plain["classes"]), plain.get("positive")
        if positive is not None and positive not in classes:
            raise MedclsError(
                f"{checkpoint} has the positive class {positive!r}, which is not among its classes "
                f"{', '.join(map(str, classes))}.",
                kind="damaged_checkpoint",
            )
        return cls(
            plain["network"],
            plain.get("head"),
            classes,
            positive,
            plain["preprocessing"],
            str(plain.get("manifest", "")),
            str(plain.get("run", "")),
            tuple(plain.get("stamps", ())),
        )
