"""The loader that a run continues within an epoch, and its worker processes."""

import os
import signal
import time

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from medcls.data.module import EpochSampler
from medcls.data.training_loader import NoLonelyBatch, TrainingLoader, leave_signals_to_the_run


def loader(rows: int = 11, epoch: int = 0, **settings) -> TrainingLoader:
    sampler = EpochSampler(np.arange(rows), "shuffle", np.zeros(rows, int), seed=3)
    sampler.set_epoch(epoch)
    batches = NoLonelyBatch(sampler, 2, drop_last=False)
    return TrainingLoader(TensorDataset(torch.arange(rows)), batch_sampler=batches, **settings)


def rows_of(batches) -> list[list[int]]:
    return [batch[0].tolist() for batch in batches]


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("given", [0, 1, 3, 5])
def test_a_loader_continues_where_another_was_left(workers, given):
    every = rows_of(loader(epoch=4))
    first, second = loader(epoch=4), loader(num_workers=workers)
    batches = iter(first)
    before = [next(batches)[0].tolist() for _ in range(given)]
    assert first.state_dict() == {"epoch": 4, "batches": given}
    second.load_state_dict(first.state_dict())
    second.batch_sampler.sampler.set_epoch(4)
    assert before + rows_of(second) == every and len(every) == 5
    assert len(second) == 5, "by its length Lightning finds the last batch"
    assert second.state_dict() == {"epoch": 4, "batches": 5}
    # Once more, as when it is interrupted again.
    assert rows_of(second) == every[given:]
    second.batch_sampler.sampler.set_epoch(5)
    assert rows_of(second) == rows_of(loader(epoch=5)), "the next epoch is complete"


def test_nothing_is_loaded_before_the_first_batch_is_asked_for():
    one = loader()
    batches = iter(one)
    one.batch_sampler.sampler.set_epoch(7)
    assert rows_of(batches) == rows_of(loader(epoch=7))


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="this system does not say who sent a signal")
def test_workers_end_by_their_run_alone():
    rows = DataLoader(
        TensorDataset(torch.arange(100)), 2, num_workers=1, worker_init_fn=leave_signals_to_the_run
    )  # fmt: skip
    batches = iter(rows)
    next(batches)
    worker = batches._workers[0]
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        os.kill(worker.pid, number)
    os.waitpid(os.spawnlp(os.P_NOWAIT, "kill", "kill", "-TERM", str(worker.pid)), 0)
    time.sleep(0.2)
    assert worker.is_alive() and len(rows_of(batches)) == 49
    batches = iter(rows)
    next(batches)
    worker = batches._workers[0]
    # Also where torch, at the end of a program, waits for a worker that did not end by itself.
    worker.terminate()
    worker.join(20)
    assert worker.exitcode == 0
