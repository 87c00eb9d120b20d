"""The jobs of a sweep on the terminal."""

import logging
from collections.abc import Sequence

import pandas as pd

from medcls.runs.sweep_folder import Job
from medcls.statistics.digits import rounded
from medcls.wording import counted
from medcls.workflow import terminal

log = logging.getLogger(__name__)


def show(jobs: Sequence[Job]) -> None:
    """Print the jobs with what distinguishes them, and log how many are left out of a comparison."""
    values = ["" if job.value is None else rounded(job.value) for job in jobs]
    metrics = list(dict.fromkeys(job.metric for job in jobs if job.value is not None))
    columns = {
        "job": [str(job.number) for job in jobs],
        "settings": [", ".join(own) for own in varied(jobs)],
        "state": [job.state for job in jobs],
        " or ".join(metrics) or "value": values,
        "reason": [job.reason.partition("\n")[0] for job in jobs],
    }
    terminal.show_table(pd.DataFrame(columns), "Jobs of the sweep")
    left_out = [job for job in jobs if job.state != "done"]
    if left_out:
        log.warning(
            "left out: %s failed, %s missing",
            counted(sum(job.state == "failed" for job in left_out), "job"),
            counted(sum(job.state == "missing" for job in left_out), "job"),
            extra={"rule": "jobs_left_out"},
        )


def varied(jobs: Sequence[Job]) -> list[list[str]]:
    """Return for each job the settings that not all jobs have."""
    shared = set.intersection(*(set(job.overrides) for job in jobs))
    return [[setting for setting in job.overrides if setting not in shared] for job in jobs]
