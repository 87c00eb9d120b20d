"""CPU cores of this process, and how its idle threads wait; imported before torch."""

import os

SPINS = 10_000
"""How often an idle thread looks for work before it sleeps.

OpenMP's default is 300,000. With it, two trainings on the same two cores spend nearly all their time looking for work,
and run at a fifteenth of their speed instead of somewhat less than half. A single training is not slower with 10,000;
it is with 1,000, and its frozen phases with 3,000 (docs/performance.md).
"""


def available_cores() -> int:
    """Cores that this process may use, by its affinity mask, its container's quota and `LOKY_MAX_CPU_COUNT`."""
    import joblib  # not at the top, so that a typo is reported before it is loaded

    return int(joblib.cpu_count())


def shorten_spinning() -> None:
    """Let idle OpenMP threads sleep soon, so that programs on the same cores do not slow each other down.

    Works for GNU OpenMP, which torch's packages for Linux use, and only before torch is imported. `OMP_WAIT_POLICY` and
    `GOMP_SPINCOUNT` take precedence.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))
