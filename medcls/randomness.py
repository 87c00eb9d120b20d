"""Random numbers of a run: an independent stream for each purpose."""

from typing import Literal

import numpy as np

Purpose = Literal["order", "augmentation", "dropout"]

# Do not change these: other numbers would change every run.
_KEYS: dict[Purpose, int] = {"order": 1, "augmentation": 2, "dropout": 3}


def seeds_of(purpose: Purpose, *numbers: int) -> np.random.SeedSequence:
    """A seed sequence for one purpose, seed and epoch (and process).

    Without the spawn key all purposes would draw the same numbers; so would [3, 5] and [3, 5, 0], which NumPy treats
    as equal.
    """
    return np.random.SeedSequence(numbers, spawn_key=(_KEYS[purpose],))


def stream(purpose: Purpose, *numbers: int) -> np.random.Generator:
    """A random generator for one purpose; see `seeds_of`."""
    return np.random.default_rng(seeds_of(purpose, *numbers))
