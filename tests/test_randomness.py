"""Random numbers for different purposes are independent."""

import numpy as np
import torch
from lightning import Trainer

from medcls.data.module import EpochSampler
from medcls.data.transforms import draws
from medcls.learning.callbacks import SeedEachEpoch
from medcls.randomness import seeds_of, stream


def test_order_and_augmentation_are_independent():
    """Balanced sampling inverts a uniform draw: with one stream for both, that draw is the augmentation's too."""
    count = 2000
    labels = np.arange(count) % 2  # as many of each: the row drawn rises with the number drawn
    sampler = EpochSampler(np.arange(count), "balanced", labels, seed=3)
    for epoch in range(3):
        sampler.set_epoch(epoch)
        order = np.array(list(sampler))
        augmented = draws(3, epoch, np.arange(count)).numpy().ravel()[:count]
        # Of independent draws, 3.3 standard errors; 32-bit draws take half a 64-bit word each, so every second one.
        halves = draws(3, epoch, np.arange(count)).numpy().ravel()[1 : 2 * count : 2]
        for drawn in (augmented, halves):
            assert abs(np.corrcoef(order, drawn)[0, 1]) < 3.3 / np.sqrt(count)


def test_each_purpose_seed_and_epoch_has_its_own_draws():
    keys = [
        (purpose, *numbers)
        for purpose in ("order", "augmentation", "dropout")
        for numbers in ((0, 0), (0, 1), (1, 0), (3, 5))
    ]
    first = {key: stream(*key).integers(2**63) for key in keys}
    assert len(set(first.values())) == len(keys)
    assert first == {key: stream(*key).integers(2**63) for key in keys}


def test_torchs_seed_of_an_epoch_is_not_the_seed_of_another_purpose():
    trainer = Trainer(logger=False, enable_checkpointing=False)
    SeedEachEpoch(3).on_train_epoch_start(trainer, None)
    others = [np.random.SeedSequence([3, 0]), seeds_of("order", 3, 0, 0), seeds_of("augmentation", 3, 0, 0)]
    assert torch.initial_seed() not in [int(one.generate_state(1, np.uint64)[0] >> 1) for one in others]
