"""Measurements: each figure is a ratio of two things timed in turn, in one run, the median of several."""

from medcls import cores

# As the commands do, before anything here imports torch.
cores.yield_to_others()
