"""A run's best checkpoint as a network that can be used, with all that travels in it."""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medcls.errors import MedclsError
from medcls.learning.checkpoints import AtomicCheckpointIO
from medcls.learning.classifier import logits_of_classes
from medcls.models.weights import read_state
from medcls.models.zoo import replace_head
from medcls.preprocessing import Preprocessing


class ClassLogits(nn.Module):
    """A network whose output has a logit for each class, also where the trained one has a single logit.

    Parameters
    ----------
    network : Module
        float32 `(B, C, H, W)` to `(B, K)` or, in a binary task, `(B, 1)`.
    num_classes : int
        K.
    positive : int or None
        Whose logit a single one is.
    """

    def __init__(self, network: nn.Module, num_classes: int, positive: int | None) -> None:
        super().__init__()
        self.network, self.num_classes, self.positive = network, num_classes, positive

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(B, K)` of images `(B, C, H, W)`."""
        outputs = self.network(images.contiguous(memory_format=torch.channels_last))
        return logits_of_classes(outputs, self.num_classes, self.positive)


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A checkpoint, ready to predict.

    Parameters
    ----------
    network : ClassLogits
        In eval mode, on the CPU.
    classes : tuple of str
        In the order of its outputs.
    positive : str or None
        The class that a binary task looks for.
    preprocessing : Preprocessing
        What its input must have gone through.
    checkpoint : str
        The hash of its weights.
    decision_rules : mapping or None
        As `DecisionRules.to_plain` gave them; None where nothing was fitted yet.
    watermarks : tuple of str
        What every figure made with it must say.
    manifest : str
        The fingerprint of the manifest that it was trained on.
    run : str
        Of which training it is (`workflow.resuming.identity`); empty where a checkpoint does not say it.
    epoch : int or None
        After which epoch it was written, counted from 0.
    """

    network: ClassLogits
    classes: tuple[str, ...]
    positive: str | None
    preprocessing: Preprocessing
    checkpoint: str
    decision_rules: Mapping[str, Any] | None
    watermarks: tuple[str, ...]
    manifest: str = ""
    run: str = ""
    epoch: int | None = None


def load(checkpoint: Path, build: Callable[[Mapping[str, Any]], nn.Module]) -> Loaded:
    """Read a checkpoint that medcls wrote.

    Where weights were averaged in training, these are the averages: what the monitored metric was computed with.

    Parameters
    ----------
    checkpoint : Path
        `best.ckpt` of a run.
    build : callable
        From the description of a network (its `_target_` and settings) to the network.

    Raises
    ------
    MedclsError
        No such file, one that is damaged or no checkpoint of medcls, or weights that do not fit what it describes.
    """
    if not checkpoint.is_file():
        raise MedclsError(f"There is no checkpoint {checkpoint}.", kind="no_such_file")
    state, described = read_state(checkpoint)
    kinds = {"network": Mapping, "classes": list, "preprocessing": Mapping}
    wrong = [name for name, kind in kinds.items() if not isinstance(described.get(name), kind)]
    if wrong:
        raise MedclsError(
            f"{checkpoint} is no checkpoint that medcls trained: it does not say its {', '.join(wrong)}.",
            kind="damaged_checkpoint",
        )
    classes, positive = tuple(described["classes"]), described.get("positive")
    if positive is not None and positive not in classes:
        raise MedclsError(
            f"{checkpoint} looks for {positive!r}, and its classes are {', '.join(map(str, classes))}.",
            kind="damaged_checkpoint",
        )
    network = build(described["network"])
    if described.get("head"):
        replace_head(network, described["network"]["num_classes"], **described["head"])
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise MedclsError(
            f"{checkpoint} does not fit the network that it describes: {error}", kind="damaged_checkpoint"
        ) from error
    wrapped = ClassLogits(network, len(classes), None if positive is None else classes.index(positive))
    return Loaded(
        network=wrapped.to(memory_format=torch.channels_last).eval(),
        classes=classes,
        positive=positive,
        preprocessing=Preprocessing.from_plain(described["preprocessing"]),
        checkpoint=weights_hash(state),
        decision_rules=described.get("policies"),
        watermarks=tuple(described.get("stamps", ())),
        manifest=str(described.get("manifest", "")),
        run=str(described.get("run", "")),
        epoch=described["epoch"],
    )


def check_is_of(checkpoint: Path, described: tuple[str, str], manifest: str, run: str) -> None:
    """Refuse a checkpoint that belongs to other images, or to another training, than the run folder it lies in.

    Parameters
    ----------
    checkpoint : Path
        Where it lies.
    described : tuple of str
        The fingerprint of its manifest and the training that it is of, as it says itself; empty where it does not.
    manifest, run : str
        The same of the run folder.

    Raises
    ------
    MedclsError
        Either differs.
    """
    its_manifest, its_run = described
    if its_manifest and its_manifest != manifest:
        raise MedclsError(
            f"{checkpoint} was trained on another manifest ({its_manifest}) than the manifest.csv of its run folder "
            f"({manifest}): either was changed, cut, or is another run's. Numbers of it would say nothing. Bring the "
            "run's own file back.",
            kind="of_another_run",
        )
    if its_run and run and its_run != run:
        raise MedclsError(
            f"{checkpoint} is of another training ({its_run}) than its run folder ({run}, in environment.json). Bring "
            "the run's own checkpoint back.",
            kind="of_another_run",
        )


def add_decision_rules(checkpoint: Path, decision_rules: Mapping[str, Any]) -> None:
    """Let a checkpoint carry what was fitted with it; its weights, and so their hash, stay as they are."""
    files = AtomicCheckpointIO()
    content = files.load_checkpoint(checkpoint)
    content["medcls"]["policies"] = dict(decision_rules)
    files.save_checkpoint(content, checkpoint)


def weights_hash(state: Mapping[str, Tensor]) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of all tensors with their names, types and shapes.

    What stands beside each number made with these weights. It does not change with the file that they lie in.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
