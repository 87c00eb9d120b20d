"""Training steps of MobileNetV3-Large: channels_last against contiguous. `python -m benchmarks.memory_format`."""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.results import report, spread
from medcls.models.mobilenetv3 import mobilenetv3_large


def make_step(memory_format: torch.memory_format, batch: int, size: int) -> Callable[[], None]:
    """One training step on fixed synthetic images `(batch, 3, size, size)`."""
    torch.manual_seed(0)
    network = mobilenetv3_large(2).to(memory_format=memory_format)
    optimizer = torch.optim.AdamW(network.parameters())
    images = torch.randn(batch, 3, size, size).contiguous(memory_format=memory_format)
    labels = torch.randint(0, 2, (batch,))

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()

    return step


def seconds(step: Callable[[], None]) -> float:
    """Wall-clock time of one call."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def main() -> None:
    """Time the two in turn; print and write the medians and the spread of the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--out", type=Path, default=Path("runs/bench/memory_format.json"))
    given = parser.parse_args()
    contiguous = make_step(torch.contiguous_format, given.batch, given.size)
    channels_last = make_step(torch.channels_last, given.batch, given.size)
    for step in (contiguous, channels_last) * 2:  # the first steps allocate
        step()
    pairs = [(seconds(contiguous), seconds(channels_last)) for _ in range(given.pairs)]
    result = {
        "network": "mobilenetv3_large",
        "batch": given.batch,
        "size": given.size,
        "threads": torch.get_num_threads(),
        "contiguous, images/s": given.batch / statistics.median(slow for slow, _ in pairs),
        "channels_last, images/s": given.batch / statistics.median(fast for _, fast in pairs),
        **spread(pairs),
    }
    report(result, given.out)


if __name__ == "__main__":
    main()
