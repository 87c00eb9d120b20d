import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from refusals import refused

from medcls.cli import lack_of_memory

TRAINING = OmegaConf.create({"data": {"batch_size": 32, "image_size": None, "workers": None}, "keep_memory": True})
SETTINGS = ("data.batch_size=32", "trainer.accumulate_grad_batches=2", "data.image_size", "data.workers", "keep_memory")
CPU = "[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate"


@pytest.mark.parametrize(
    ("error", "names"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has"), ("GPU", "2.00 GiB")),
        (RuntimeError(f"{CPU} 4000000 bytes. Error code 12 (Cannot allocate memory)"), ("4000000 bytes",)),
        (RuntimeError("CUDA error: out of memory"), ("GPU",)),
        (MemoryError("Unable to allocate 1.82 TiB for an array with shape"), ("1.82 TiB",)),
        (MemoryError(), ()),
        (MemoryError("Caught MemoryError in DataLoader worker process 0."), ()),
    ],
)
def test_too_little_memory_is_an_error_of_the_user_that_names_the_settings(error, names):
    error.add_note("Resume with: a command")
    with refused("out_of_memory", *SETTINGS, *names) as raised, lack_of_memory.explained(TRAINING):
        raise error
    assert raised.value.__notes__ == ["Resume with: a command"] and raised.value.__cause__ is error


def test_what_numpy_and_torch_raise_is_recognised():
    for allocate in (lambda: np.empty(2**62, np.uint8), lambda: torch.empty(2**50, dtype=torch.uint8)):
        with refused("out_of_memory", "keep_memory"), lack_of_memory.explained(TRAINING):
            allocate()


@pytest.mark.parametrize(
    "text",
    [
        "DataLoader worker (pid(s) 12, 13) exited unexpectedly",
        "DataLoader worker (pid 123) is killed by signal: Killed. ",
    ],
)
def test_a_killed_worker_is_named(text):
    with refused("worker_killed", "12", "data.workers"), lack_of_memory.explained(TRAINING):
        raise RuntimeError(text)


def test_only_settings_of_the_command_are_named_and_other_errors_pass():
    with refused("out_of_memory") as raised, lack_of_memory.explained(OmegaConf.create({"run": "x"})):
        raise MemoryError
    assert "data." not in str(raised.value) and "keep_memory" not in str(raised.value)
    with pytest.raises(RuntimeError, match="shapes"), lack_of_memory.explained(TRAINING):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
