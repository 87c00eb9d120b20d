"""Freeze parts of the network by the epoch."""

import dataclasses
import fnmatch
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

import lightning
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from medcls.errors import MedclsError, nearest

log = logging.getLogger(__name__)

FIRST_SHARE = re.compile(r"backbone\[:(0?\.\d+|[01]|1\.0*|0\.0*)\]")


@dataclasses.dataclass(frozen=True)
class Phase:
    """Consecutive epochs with the same parts frozen.

    Parameters
    ----------
    epochs : int or None
        Their number; None in the last phase, which lasts to the end of the run.
    freeze : list of str
        Patterns, as `names_matching` reads them.
    """

    epochs: int | None
    freeze: list[str]


@dataclasses.dataclass(frozen=True)
class PhaseRow:
    """Counts of what a phase trains and freezes in one top-level child of the network.

    `first_epoch` counts from 0; `last_epoch` is None if the phase lasts to the end of the run.
    """

    phase: int
    first_epoch: int
    last_epoch: int | None
    child: str
    tensors_trained: int
    parameters_trained: int
    tensors_frozen: int
    parameters_frozen: int


def names_matching(network: nn.Module, pattern: str, head: str) -> set[str]:
    """Dotted names of the parameters and buffers that a pattern matches.

    Buffers that are not saved with the network are left out: they are constants.

    Parameters
    ----------
    pattern : str
        A glob on dotted names (`blocks.3.*`), where `*` crosses dots; or a reserved word: `head`;
        `backbone`, which is everything else; `backbone[:0.5]`, the first half of the backbone's
        modules that own parameters, in the order in which the network registers them.
    head : str
        Dotted prefix of the modules that make the head.

    Raises
    ------
    MedclsError
        Nothing matches (suggests similar names), or the network has no such head.
    """
    saved = network.state_dict().keys()
    names = [name for name, _ in (*network.named_parameters(), *network.named_buffers()) if name in saved]
    in_head = {name for name in names if name.startswith(head + ".")}
    if not in_head:
        raise MedclsError(
            f"The network has no parameter under its head, {head!r}.{nearest(head, _prefixes(names))}",
            kind="unknown_head",
        )
    if pattern == "head":
        return in_head
    if pattern == "backbone":
        return set(names) - in_head
    if share := FIRST_SHARE.fullmatch(pattern):
        owners = [
            name
            for name, module in network.named_modules()
            if any(True for _ in module.parameters(recurse=False)) and not f"{name}.".startswith(head + ".")
        ]
        first = set(owners[: round(float(share[1]) * len(owners))])
        matched = {name for name in names if name.rpartition(".")[0] in first}
    else:
        matched = set(fnmatch.filter(names, pattern))
    if not matched:
        known = [*_prefixes(names), *(f"{prefix}.*" for prefix in _prefixes(names)), *names, "head", "backbone"]
        children = ", ".join(f"{name}.*" for name, _ in network.named_children())
        raise MedclsError(
            f"The pattern {pattern!r} matches no parameter of the network.{nearest(pattern, known)} Its parts are "
            f"{children}; head, backbone and backbone[:0.5] (its first half) work for any network.",
            kind="pattern_matches_nothing",
        )
    return matched


class FreezeSchedule(lightning.Callback):
    """Freeze and unfreeze parts of `module.network` by the epoch.

    The phase of an epoch is applied at its start, also after a resume: frozen parameters need no gradient, and a batch
    norm whose parameters are all frozen is in eval mode, so that its statistics do not change either. Dropout in frozen
    parts stays on: it has no state, it regularises the head, and the training loss does not jump between phases.

    Parameters
    ----------
    phases : sequence of mapping
        `{epochs: ..., freeze: [...]}` each; the last with `epochs: null`.
    head : str
        Dotted prefix of the network's head.

    Raises
    ------
    MedclsError
        The phases do not follow these rules.
    """

    def __init__(self, phases: Sequence[Mapping[str, Any]], head: str) -> None:
        self.phases = tuple(_phase(number, phase) for number, phase in enumerate(phases or (), start=1))
        self.head = head
        self._network: nn.Module | None = None
        self._frozen: list[set[str]] = []
        if not self.phases:
            raise MedclsError("schedule.phases is empty: give at least {epochs: null, freeze: []}.", kind="bad_value")
        for number, phase in enumerate(self.phases, start=1):
            is_last = number == len(self.phases)
            if is_last and phase.epochs is not None:
                raise MedclsError(
                    f"schedule.phases: the last phase has epochs: {phase.epochs}, so it is not defined what trains "
                    "after it. Give it epochs: null, or add a phase {epochs: null, freeze: []}.",
                    kind="bad_value",
                )
            if not is_last and (not isinstance(phase.epochs, int) or phase.epochs < 1):
                raise MedclsError(
                    f"schedule.phases: phase {number} of {len(self.phases)} has epochs: {phase.epochs}; each but the "
                    "last needs a whole number of at least 1.",
                    kind="bad_value",
                )

    def starts(self) -> tuple[int, ...]:
        """First epoch of each phase, counted from 0."""
        starts = [0]
        for phase in self.phases[:-1]:
            starts.append(starts[-1] + (phase.epochs or 0))
        return tuple(starts)

    def phase_at(self, epoch: int) -> int:
        """Index of the phase of an epoch, both counted from 0."""
        return max(index for index, start in enumerate(self.starts()) if start <= epoch)

    def frozen(self, network: nn.Module, phase: int) -> set[str]:
        """Dotted names of the parameters and buffers frozen in a phase; see `names_matching`."""
        return {name for pattern in self.phases[phase].freeze for name in names_matching(network, pattern, self.head)}

    @property
    def freezes(self) -> bool:
        """Whether any phase freezes anything."""
        return any(phase.freeze for phase in self.phases)

    def unreached(self, max_epochs: int) -> list[int]:
        """Indices of the phases that a run of so many epochs does not reach (P26)."""
        return [index for index, start in enumerate(self.starts()) if start >= max_epochs]

    def table(self, network: nn.Module) -> list[PhaseRow]:
        """Count what trains in each phase, by top-level child (P28).

        Raises
        ------
        MedclsError
            A pattern matches nothing, or a phase freezes everything.
        """
        rows = []
        ends = (*(start - 1 for start in self.starts()[1:]), None)
        for index, (first, last) in enumerate(zip(self.starts(), ends, strict=True)):
            frozen = self.frozen(network, index)
            counts: dict[str, list[int]] = {}
            for name, parameter in network.named_parameters():
                count = counts.setdefault(name.partition(".")[0], [0, 0, 0, 0])
                kind = 2 if name in frozen else 0
                count[kind] += 1
                count[kind + 1] += parameter.numel()
            if not any(count[0] for count in counts.values()):
                raise MedclsError(
                    f"schedule.phases: phase {index + 1} freezes the whole network, so nothing trains.",
                    kind="nothing_trains",
                )
            rows += [PhaseRow(index, first, last, child, *count) for child, count in counts.items()]
        return rows

    def apply(self, network: nn.Module, epoch: int) -> None:
        """Apply the phase of an epoch: set `requires_grad` of parameters and the mode of modules."""
        phase = self.phase_at(epoch)
        frozen = self._frozen[phase] if network is self._network else self.frozen(network, phase)
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(name not in frozen)
        network.train()
        for prefix, module in network.named_modules():
            if isinstance(module, _BatchNorm):
                # One without parameters is frozen if its statistics match.
                own = [name for name, _ in module.named_parameters()] or [name for name, _ in module.named_buffers()]
                if own and all(f"{prefix}.{name}" in frozen for name in own):
                    module.eval()

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Check all patterns, log what each phase trains, and warn of phases that are not reached."""
        if stage != "fit":
            return
        network = pl_module.get_submodule("network")
        # DistributedDataParallel, which wraps the network later, must see every parameter that will train.
        network.requires_grad_(True)
        # Found once: searching the names takes longer than a step from precomputed features.
        self._network, self._frozen = network, [self.frozen(network, phase) for phase in range(len(self.phases))]
        lines = describe(self.table(network))
        if trainer.is_global_zero:
            log.debug("What trains, by phase:\n%s", "\n".join(lines))
            if trainer.max_epochs is not None and trainer.max_epochs >= 0:
                for index in self.unreached(trainer.max_epochs):
                    log.warning(
                        "Phase %d would begin at epoch %d (counted from 0), but the run ends after %d epochs. Increase "
                        "trainer.max_epochs, or shorten the phases before it.",
                        index + 1,
                        self.starts()[index],
                        trainer.max_epochs,
                        extra={"rule": "phase_never_reached"},
                    )

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Apply the phase of this epoch."""
        epoch = trainer.current_epoch
        self.apply(pl_module.get_submodule("network"), epoch)
        if trainer.is_global_zero and len(self.phases) > 1 and epoch in self.starts():
            phase = self.phase_at(epoch)
            freeze = self.phases[phase].freeze
            log.info("Epoch %d: phase %d begins, frozen: %s.", epoch, phase + 1, ", ".join(freeze) or "nothing")


def describe(table: Sequence[PhaseRow]) -> list[str]:
    """Format the table for the log, one line for each phase and child."""
    lines = []
    for row in table:
        epochs = f"{row.first_epoch} to {'the end' if row.last_epoch is None else row.last_epoch}"
        lines.append(
            f"phase {row.phase + 1}, epochs {epochs}, {row.child}: trains {row.tensors_trained} tensors "
            f"({row.parameters_trained:,} parameters), frozen {row.tensors_frozen} ({row.parameters_frozen:,})"
        )
    return lines


def _phase(number: int, phase: Mapping[str, Any]) -> Phase:
    if (
        not isinstance(phase, Mapping)
        or set(phase) != {"epochs", "freeze"}
        or not isinstance(phase["freeze"], list)
        or not all(isinstance(pattern, str) for pattern in phase["freeze"])
    ):
        raise MedclsError(
            f"schedule.phases: phase {number} is {phase}; write each as {{epochs: NUMBER or null, "
            "freeze: [PATTERN, ...]}.",
            kind="bad_value",
        )
    return Phase(phase["epochs"], list(phase["freeze"]))


def _prefixes(names: Sequence[str]) -> list[str]:
    """All dotted prefixes of the names, as suggestions for a mistyped pattern."""
    return list(dict.fromkeys(name.rsplit(".", cut)[0] for name in names for cut in range(1, name.count(".") + 1)))
