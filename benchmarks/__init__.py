"""Benchmarks: each value is the median ratio of two things timed in turn, in one run."""

from medcls import cpu

# As the commands do, before anything here imports torch.
cpu.shorten_spinning()
