"""How many cores there are for this process, and how it waits for them: what is settled before torch is loaded."""

import os

SPINS = 10_000
"""How often an idle thread looks for work before it sleeps.

OpenMP's own number is 300,000. Two trainings on the same two cores then spend nearly all their time looking, and come
to a fifteenth of their speed instead of somewhat less than half of it. Alone, a training does not feel the difference,
as it would with 1,000, and frozen phases already with 3,000 (docs/performance.md).
"""


def available_cores() -> int:
    """Cores that this process may use: those of its affinity mask and its container's quota, `LOKY_MAX_CPU_COUNT`."""
    import joblib  # not at the top: a typo is answered without it

    return int(joblib.cpu_count())


def shorten_spinning() -> None:
    """Let idle threads of tensor operations sleep soon, so that programs on the same cores do not starve each other.

    It counts for GNU OpenMP, with which torch's packages for Linux are built, and only before torch is first imported.
    Whoever has said how threads are to wait (`OMP_WAIT_POLICY`, `GOMP_SPINCOUNT`) keeps that.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))
