"""A fastai Learner in channels_last. `python -m benchmarks.peer_programs.fastai_learner`; needs fastai."""

import time

import torch
from fastai.callback.channelslast import ChannelsLast
from fastai.vision.all import (
    Callback,
    CancelValidException,
    CrossEntropyLossFlat,
    ImageDataLoaders,
    Learner,
    Normalize,
    Resize,
    aug_transforms,
)

from benchmarks.peer_programs import MEAN, STD, arguments, print_result
from medcls.models.mobilenetv3 import mobilenetv3_large


class Times(Callback):
    """Seconds of each epoch's training; there is no validation."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._start = 0.0

    def before_train(self) -> None:
        """Start the clock."""
        self._start = time.perf_counter()

    def after_train(self) -> None:
        """Stop it."""
        self.seconds.append(time.perf_counter() - self._start)

    def before_validate(self) -> None:
        """Leave it out."""
        raise CancelValidException


def main() -> None:
    """Train; print the seconds of each epoch."""
    given = arguments(__doc__).parse_args()
    torch.manual_seed(0)
    data = ImageDataLoaders.from_folder(
        given.images.parent,
        train=given.images.name,
        valid="none",
        item_tfms=Resize(given.size, method="squish"),
        # Flip, rotation, zoom and lighting by the batch; a warp is more than the others do.
        batch_tfms=[*aug_transforms(max_warp=0), Normalize.from_stats(MEAN, STD)],
        bs=given.batch,
        num_workers=given.workers,
        device=torch.device("cpu"),
    )
    times = Times()
    learner = Learner(data, mobilenetv3_large(data.c), loss_func=CrossEntropyLossFlat(), cbs=[ChannelsLast(), times])
    with learner.no_bar(), learner.no_logging():
        learner.fit(given.epochs, 1e-3)
    # A last batch that is not full is dropped.
    print_result(times.seconds, len(data.train) * given.batch)


if __name__ == "__main__":
    main()
