"""Training batches that a resumed run continues within an epoch, and worker processes that leave signals to the run."""

import itertools
import math
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any, TypeVar

from torch.utils.data import BatchSampler, DataLoader

Batch = TypeVar("Batch")


class NoLonelyBatch(BatchSampler):
    """Batches in which a single last image joins the batch before it.

    Batch norm cannot train on one value a channel, and dropping the image would leave a row unused.

    The sampler must have its `epoch`: a run that continues within an epoch leaves out the batches that it has had.
    """

    _resumed_at = (-1, 0)

    def resume_at(self, epoch: int, batches: int) -> None:
        """Leave out the first batches of one epoch."""
        self._resumed_at = (epoch, batches)

    @property
    def epoch(self) -> int:
        """The epoch of the next iteration."""
        return int(self.sampler.epoch)  # type: ignore[union-attr]

    @property
    def left_out(self) -> int:
        """How many batches of this epoch are left out."""
        epoch, batches = self._resumed_at
        return batches if epoch == self.epoch else 0

    def __iter__(self) -> Iterator[list[Any]]:
        return itertools.islice(self._all(), self.left_out, None)

    def _all(self) -> Iterator[list[Any]]:
        if self.batch_size == 1:
            yield from super().__iter__()
            return
        waiting: list[Any] | None = None
        for batch in super().__iter__():
            if waiting is not None and len(batch) == 1:
                yield waiting + batch
                waiting = None
                continue
            if waiting is not None:
                yield waiting
            waiting = batch
        if waiting is not None:
            yield waiting

    def __len__(self) -> int:
        # Of a complete epoch: by this Lightning finds the last batch, also of an epoch that it continues.
        items = len(self.sampler)  # type: ignore[arg-type]
        batches = math.ceil(items / self.batch_size)
        return batches - 1 if batches > 1 and items % self.batch_size == 1 else batches


class TrainingLoader(DataLoader[Batch]):
    """A loader whose place within the epoch is in Lightning's checkpoints, and found again by a resumed run."""

    batch_sampler: NoLonelyBatch
    _given = 0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        # A generator: worker processes begin when the first batch is asked for, and the sampler has its epoch.
        self._given = self.batch_sampler.left_out
        for batch in super().__iter__():
            self._given += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The epoch, and how many of its batches were given."""
        return {"epoch": self.batch_sampler.epoch, "batches": self._given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue after the batches that were given."""
        self.batch_sampler.resume_at(state["epoch"], state["batches"])


def leave_signals_to_the_run(worker: int) -> None:
    """Let a worker process of a loader end by its run alone, not by a signal to all processes.

    A terminal sends Ctrl-C, and a cluster its signals, to every process. The run ends its workers itself, when it has
    the batches that it needs to finish a step.
    """
    for name in ("SIGINT", "SIGUSR1", "SIGUSR2"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    # SIGTERM is also how the run ends a worker. Only Linux says who sent it, and only to a thread that waits for it.
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(run: int) -> None:
    """Wait for SIGTERM; end if the run sent it, or is gone."""
    while True:
        sender = signal.sigwaitinfo({signal.SIGTERM}).si_pid
        if sender == run or os.getppid() != run:
            os._exit(0)
