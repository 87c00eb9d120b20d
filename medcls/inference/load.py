"""Load a run's best checkpoint, with its network, classes, preprocessing and decision rules."""

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
from medcls.learning.description import Description
from medcls.models.weights import read_state
from medcls.models.zoo import replace_head
from medcls.preprocessing import Preprocessing


class ClassLogits(nn.Module):
    """A network that outputs a logit for each class, also if the trained one has a single logit.

    Parameters
    ----------
    network : Module
        float32 `(B, C, H, W)` to `(B, K)` or, in a binary task, `(B, 1)`.
    num_classes : int
        K.
    positive : int or None
        Index of the positive class, to which a single logit belongs.
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
        In the order of the outputs.
    positive : str or None
        The positive class of a binary task.
    preprocessing : Preprocessing
        The preprocessing of its input.
    checkpoint : str
        The hash of its weights.
    decision_rules : mapping or None
        From `DecisionRules.to_plain`; None if none were fitted yet.
    watermarks : tuple of str
        Shown on every plot and report made with it.
    manifest : str
        The fingerprint of the manifest that it was trained on.
    run : str
        Identifier of the training (`workflow.resuming.identity`); empty if the checkpoint has none.
    epoch : int or None
        The epoch after which it was written, counted from 0.
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
    """Load a checkpoint that medcls wrote.

    If weights were averaged in training, the network has the averaged weights, as in validation.

    Parameters
    ----------
    checkpoint : Path
        `best.ckpt` of a run.
    build : callable
        From the description of a network (its `_target_` and settings) to the network.

    Raises
    ------
    MedclsError
        The file does not exist, is damaged or not a checkpoint of medcls, or its weights do not fit its network.
    """
    if not checkpoint.is_file():
        raise MedclsError(f"There is no checkpoint {checkpoint}.", kind="no_such_file")
    state, plain = read_state(checkpoint)
    own = Description.from_plain(plain, checkpoint)
    network = build(own.network)
    if own.head:
        replace_head(network, own.network["num_classes"], **own.head)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise MedclsError(
            f"The weights of {checkpoint} do not fit its network: {error}", kind="damaged_checkpoint"
        ) from error
    positive = None if own.positive is None else own.classes.index(own.positive)
    wrapped = ClassLogits(network, len(own.classes), positive)
    return Loaded(
        network=wrapped.to(memory_format=torch.channels_last).eval(),
        classes=own.classes,
        positive=own.positive,
        preprocessing=Preprocessing.from_plain(own.preprocessing),
        checkpoint=weights_hash(state),
        decision_rules=plain.get("policies"),
        watermarks=own.watermarks,
        manifest=own.manifest,
        run=own.run,
        epoch=plain["epoch"],
    )


def check_is_of(checkpoint: Path, described: tuple[str, str], manifest: str, run: str) -> None:
    """Refuse a checkpoint of other images, or of another training, than its run folder.

    Parameters
    ----------
    checkpoint : Path
    described : tuple of str
        The fingerprint of the manifest and the identifier of the training in the checkpoint; empty if it has none.
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
            f"({manifest}): one of them was changed, truncated, or belongs to another run. Restore the run's own file.",
            kind="of_another_run",
        )
    if its_run and run and its_run != run:
        raise MedclsError(
            f"{checkpoint} is of another training ({its_run}) than its run folder ({run}, in environment.json). "
            "Restore the run's own checkpoint.",
            kind="of_another_run",
        )


def add_decision_rules(checkpoint: Path, decision_rules: Mapping[str, Any]) -> None:
    """Store decision rules in a checkpoint; its weights and their hash do not change."""
    io = AtomicCheckpointIO()
    content = io.load_checkpoint(checkpoint)
    content["medcls"]["policies"] = dict(decision_rules)
    io.save_checkpoint(content, checkpoint)


def weights_hash(state: Mapping[str, Tensor]) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of all tensors with their names, dtypes and shapes.

    Recorded with predictions and metrics. It does not depend on the file.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
