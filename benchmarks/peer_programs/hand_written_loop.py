"""A loop written by hand: contiguous, 32 bits, Adam. `python -m benchmarks.peer_programs.hand_written_loop`."""

import time

import torch
from torch import nn

from benchmarks.peer_programs import arguments, print_result
from benchmarks.peer_programs.files import loader
from medcls.models.mobilenetv3 import mobilenetv3_large


def main() -> None:
    """Train; print the seconds of each epoch."""
    given = arguments(__doc__).parse_args()
    torch.manual_seed(0)
    batches = loader(given.images, given.batch, given.size, given.workers)
    network = mobilenetv3_large(len(batches.dataset.classes))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    loss_of = nn.CrossEntropyLoss()
    times = []
    for _ in range(given.epochs):
        start, total = time.perf_counter(), 0.0
        network.train()
        for images, labels in batches:
            optimizer.zero_grad()
            loss = loss_of(network(images), labels)
            loss.backward()
            optimizer.step()
            total += loss.item()
        times.append(time.perf_counter() - start)
    print_result(times, len(batches.dataset))


if __name__ == "__main__":
    main()
