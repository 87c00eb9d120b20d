"""medcls as its command trains, from the cache. `python -m benchmarks.peer_programs.medcls_training`.

It is told the whole folder of images, not the training files that the others are, and cuts it as `benchmarks.peers`
did: its training images are theirs.
"""

from benchmarks.frozen import EpochTimes
from benchmarks.peer_programs import arguments, print_result
from benchmarks.pieces import classifier_of, loaders, read, trainer_with
from medcls import hardware
from medcls.data.transforms import Augmentation
from medcls.learning.callbacks import SeedEachEpoch


def main() -> None:
    """Train; print the seconds of each epoch."""
    parser = arguments(__doc__)
    parser.add_argument("--positive")
    parser.add_argument("--most", type=int)
    given = parser.parse_args()
    machine = hardware.choose()  # which chooses the workers: no other number is taken
    manifest = read(given.images, given.positive, given.most)
    times = EpochTimes()
    with trainer_with([times, SeedEachEpoch(0)], given.epochs, validate=False) as trainer:
        data = loaders(manifest, machine, given.size, given.batch, Augmentation())
        trainer.fit(classifier_of(manifest), datamodule=data)
    print_result(times.seconds, len(manifest.indices("train")))


if __name__ == "__main__":
    main()
