"""Random numbers of a run: one stream for each purpose, so that no draw says anything about another."""

from typing import Literal

import numpy as np

Purpose = Literal["order", "augmentation", "dropout"]

# A purpose keeps its number: another one would change every run.
_KEYS: dict[Purpose, int] = {"order": 1, "augmentation": 2, "dropout": 3}


def seeds_of(purpose: Purpose, *numbers: int) -> np.random.SeedSequence:
    """Seeds for one purpose, at the seed and epoch (and process) that are given.

    Without a key of its own each purpose would begin with the same numbers: NumPy's seed sequences of [3, 5] and of
    [3, 5, 0] are one and the same too.
    """
    return np.random.SeedSequence(numbers, spawn_key=(_KEYS[purpose],))


def stream(purpose: Purpose, *numbers: int) -> np.random.Generator:
    """A generator for one purpose; see `seeds_of`."""
    return np.random.default_rng(seeds_of(purpose, *numbers))
