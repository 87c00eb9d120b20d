"""Measurements: each figure is a ratio of two things timed in turn, in one run, the median of several."""

from medcls import cpu

# As the commands do, before anything here imports torch.
cpu.shorten_spinning()
