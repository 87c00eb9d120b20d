"""Stop a training only between steps, and save it within an epoch, so that a resumed run continues at that step."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Checkpoint

from medcls.errors import MedclsError

# Of Ctrl-C, of schedulers, and of clusters that announce the end of a job.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2") if hasattr(signal, name))

AT_ONCE_AFTER = 0.5
"""Seconds after which a second Ctrl-C stops at once: launchers may pass on the one that the terminal sent to all."""

KEY = "within_epoch"
"""Of what is added to a checkpoint."""

Handler = Callable[[int, FrameType | None], Any]


class SaveWithinEpoch(Checkpoint):
    """Save `last.ckpt` within an epoch: each time an interval has passed, and when a signal arrives.

    A signal that a handler in Python waits for is passed to this handler only once the step is finished and saved, or
    the validation and with it the epoch. A second Ctrl-C is passed at once.

    A run resumed from such a checkpoint equals one that was not interrupted, to the last bit on a CPU. Saved in
    addition to what Lightning saves are the state of the random generators (dropout) and, by the loader and the
    module, the place in the epoch and its running metrics. It is saved after optimizer steps only, and not after the
    last batch of an epoch, where the checkpoint of the epoch follows the validation.

    Parameters
    ----------
    path : Path
        Of `last.ckpt`.
    minutes : float or None
        The interval; None saves at signals only.

    Raises
    ------
    MedclsError
        The interval is not a number above 0.
    """

    def __init__(self, path: Path, minutes: float | None = None) -> None:
        if minutes is not None and (isinstance(minutes, bool) or not isinstance(minutes, int | float) or minutes <= 0):
            raise MedclsError(
                f"checkpoint_minutes is {minutes!r}: give a number of minutes above 0, such as 30, or null to save "
                "after each epoch only.",
                kind="bad_value",
            )
        self._path, self._minutes = path, minutes
        self._saved_at = 0.0  # of the monotonic clock, which is never set back
        self._saving = False
        self._resumed: dict[str, Any] | None = None
        self._handlers: dict[int, Handler] = {}
        self._received: tuple[int, float] | None = None

    # ------------------------------------------------------------------ signals

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Remember the handlers of signals, before Lightning replaces them."""
        if stage == "fit" and threading.current_thread() is threading.main_thread():
            handlers = {number: signal.getsignal(number) for number in SIGNALS}
            self._handlers = {number: handler for number, handler in handlers.items() if callable(handler)}

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Hold back signals; set up the rest of an epoch that is continued."""
        self._received, self._saved_at = None, time.monotonic()
        for number in self._handlers:
            signal.signal(number, self._hold_back)
        if trainer.fit_loop.restarted_mid_epoch:
            self._resume_within_epoch(trainer, pl_module)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Pass on a signal that arrived after the last step."""
        self._pass_on(trainer)
        self._give_back()

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        """Give the signals back to their handlers."""
        self._give_back()

    def _hold_back(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._received is not None:
            if number == signal.SIGINT and now - self._received[1] > AT_ONCE_AFTER:
                self._give_back()
                self._handlers[number](number, frame)
            return
        self._received = (number, now)
        text = (
            f"\nmedcls: {signal.Signals(number).name}: the training stops when this step, or the validation, is "
            "finished and saved. Ctrl-C stops it at once.\n"
        )
        # Not by a stream, which the signal may have interrupted while it was writing.
        with contextlib.suppress(OSError):
            os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, text.encode())

    def _give_back(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _pass_on(self, trainer: lightning.Trainer) -> None:
        """Call the handler of a signal that was held back, in all processes of the run."""
        number = self._agreed(trainer)[0]
        if number == 0:  # one that arrived while the processes agreed waits for the next step
            return
        self._received = None
        if number in self._handlers:
            self._handlers[number](number, None)

    def _agreed(self, trainer: lightning.Trainer) -> tuple[int, bool]:
        """The signal held back, or 0, and whether the interval has passed, in any process of the run."""
        number = 0 if self._received is None else self._received[0]
        due = self._minutes is not None and time.monotonic() - self._saved_at >= 60 * self._minutes
        if trainer.world_size > 1:
            own = torch.tensor([number, int(due)], device=trainer.strategy.root_device)
            number, due = trainer.strategy.reduce(own, reduce_op="max").tolist()
        return number, bool(due)

    # ------------------------------------------------------------------ saving

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,  # noqa: ANN401 - Lightning's signature
        batch: Any,  # noqa: ANN401
        batch_idx: int,
    ) -> None:
        """Save, and stop if a signal was held back."""
        done = batch_idx + 1
        if done % trainer.accumulate_grad_batches or done >= trainer.num_training_batches:
            return
        number, due = self._agreed(trainer)
        if number or due:
            self._saving = True
            try:
                trainer.save_checkpoint(self._path, weights_only=False)
            finally:
                self._saving = False
            self._saved_at = time.monotonic()
        if number:
            self._pass_on(trainer)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Stop if a signal was held back: `last.ckpt` of the epoch is written."""
        self._saved_at = time.monotonic()
        self._pass_on(trainer)

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Within an epoch, add the place of the loader, and the random generators of each process."""
        if not self._saving:
            return
        own = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            own["cuda"] = torch.cuda.get_rng_state()
        generators = [own]
        if trainer.world_size > 1:
            generators *= trainer.world_size
            torch.distributed.all_gather_object(generators, own)
        loader: Any = trainer.train_dataloader
        checkpoint[KEY] = {"loader": loader.state_dict(), "generators": generators}

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep what was added until the training starts."""
        self._resumed = checkpoint.get(KEY)

    def _resume_within_epoch(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Set up what Lightning leaves out where it continues an epoch."""
        if self._resumed is None:
            raise RuntimeError("a checkpoint within an epoch without the place of its loader")
        # Phases, features, the teacher and the bar are set up in this hook.
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            callback.on_train_epoch_start(trainer, module)
        # Lightning restores loaders too, but not one that was made for `estimated_stepping_batches`.
        loader: Any = trainer.train_dataloader
        loader.load_state_dict(self._resumed["loader"])
        generators = self._resumed["generators"]
        if trainer.global_rank >= len(generators):
            return  # more processes than before: the others begin as in a new epoch
        own = generators[trainer.global_rank]
        torch.set_rng_state(own["cpu"])
        if "cuda" in own and torch.cuda.is_available():
            torch.cuda.set_rng_state(own["cuda"])
