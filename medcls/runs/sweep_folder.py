"""The folder of a sweep: a record of each job in `.jobs/`, and the table of all, jobs.csv.

Each job writes its own record and then the table, so that both are complete wherever the jobs run, and also when the
process that started them is gone.
"""

import csv
import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from medcls.errors import MedclsError
from medcls.runs.run_folder import read_json, without_nan
from medcls.writing import atomic_write

State = Literal["done", "failed", "missing"]

COLUMNS = ("job", "overrides", "state", "reason", "metric", "value", "run")

NO_END = "begun, and no end recorded: it is running, or was stopped or killed"
"""The reason of a job that is missing although it was begun."""


@dataclasses.dataclass(frozen=True)
class Job:
    """A job of a sweep, and how it ended.

    Parameters
    ----------
    number : int
    overrides : sequence of str
        Its settings as typed, those that the sweep varies and the others.
    state : str
        `done`; `failed`; or `missing`, if it was not begun or has no end.
    reason : str
        Why it failed, or why it is missing.
    exit_code : int
        Of a job that failed: what the command would have ended with.
    metric, value : str, float or None
        The monitored metric, and its best value.
    run : str
        Its run folder, relative to that of the sweep; empty before it is begun.
    settings : str
        Hash of its configuration. A job is done only for a command whose configuration has the same.
    """

    number: int
    overrides: Sequence[str]
    state: State = "missing"
    reason: str = ""
    exit_code: int = 0
    metric: str = ""
    value: float | None = None
    run: str = ""
    settings: str = ""


class SweepFolder:
    """Records and table of a sweep.

    Parameters
    ----------
    path : Path
        The folder, which may not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.table = path / "jobs.csv"
        self._records = path / ".jobs"

    def record(self, *jobs: Job) -> None:
        """Write the records of these jobs, and the table."""
        for job in jobs:
            with atomic_write(self._record_of(job.number)) as temporary:
                temporary.write_text(json.dumps(without_nan(dataclasses.asdict(job)), indent=2), encoding="utf-8")
        if jobs:
            self._write_table(jobs[0].number)

    def job(self, number: int) -> Job | None:
        """Read the record of a job; None if there is none.

        Raises
        ------
        MedclsError
            The record is damaged.
        """
        path = self._record_of(number)
        plain = read_json(path)
        if plain is None:
            return None
        try:
            return Job(**plain)
        except TypeError as error:
            raise MedclsError(f"{path} is not what a sweep wrote. Remove it.", kind="damaged_file") from error

    def jobs(self) -> list[Job]:
        """Read the records, in the order of their numbers; empty if this is no folder of a sweep."""
        numbers = sorted(int(path.stem) for path in self._records.glob("*.json") if path.stem.isdigit())
        return [job for number in numbers if (job := self.job(number)) is not None]

    def has_results(self, job: Job) -> bool:
        """Whether the run folder of a job is there, with something in it."""
        folder = self.path / job.run
        return job.run != "" and folder.is_dir() and any(folder.iterdir())

    def _record_of(self, number: int) -> Path:
        return self._records / f"{number}.json"

    def _write_table(self, number: int) -> None:
        """Write the table of all jobs, as the job of this number.

        Jobs that end at the same time write it at the same time. Each writes it again until it has all records, so the
        last one does; a lock would not work on all disks that clusters share.
        """
        from medcls.csv_escaping import escape

        written: list[Job] = []
        while (jobs := self.jobs()) != written:
            # A name of this job's own: processes on two machines may have the same number.
            own = self._records / f"{number}.csv"
            with atomic_write(own) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
                lines = csv.writer(file, lineterminator="\n")
                lines.writerow(COLUMNS)
                for job in jobs:
                    value = "" if job.value is None else repr(job.value)
                    texts = (" ".join(job.overrides), job.state, " ".join(job.reason.split()), job.metric)
                    lines.writerow([job.number, *map(escape, texts), value, escape(job.run)])
            os.replace(own, self.table)
            written = jobs
