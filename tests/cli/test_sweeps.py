"""Sweeps: each job is recorded by whatever launcher, and the same command again runs what is not done."""

import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from refusals import noted, refused_command

from medcls import cpu
from medcls.cli import sweeps
from medcls.cli.entry_point import run_command
from medcls.errors import MedclsError
from medcls.runs.sweep_folder import NO_END, SweepFolder

DAYS = "older_than_days=1,2,3,4"


class Command:
    """A command whose task writes the settings of each job into its folder; `broken` ends jobs by an error."""

    def __init__(self, home: Path, monkeypatch, capfd) -> None:
        self.sweep, self.monkeypatch, self.capfd = SweepFolder(home / "sweep"), monkeypatch, capfd
        self.broken: dict[int, BaseException] = {}
        self.out = self.err = ""

    def __call__(self, *arguments: str) -> int:
        broken = self.broken

        def task(cfg: DictConfig) -> float:
            if cfg.older_than_days in broken:
                raise broken[cfg.older_than_days]
            place = Path(HydraConfig.get().runtime.output_dir)
            with (place / "ran.txt").open("a", encoding="utf-8") as file:
                file.write(f"{cfg.older_than_days} {sweeps.concurrent_jobs()} {sys.argv[1:2]}\n")
            return cfg.older_than_days / 10

        self.task = task
        typed = ["cache", "-m", "clear=true", *arguments, f"hydra.sweep.dir={self.sweep.path}"]
        self.monkeypatch.setattr("sys.argv", typed)
        code = 0
        try:
            run_command(task, "cache")
        except SystemExit as end:
            code = end.code
        self.out, self.err = self.capfd.readouterr()
        return code

    def states(self) -> list[str]:
        return [job.state for job in self.sweep.jobs()]

    def ran(self) -> dict[str, list[str]]:
        """What was run in each folder: the days, how many jobs at a time, the first argument."""
        return {
            path.parent.name: path.read_text(encoding="utf-8").splitlines()
            for path in sorted(self.sweep.path.glob("*/ran.txt"))
        }


@pytest.fixture
def command(tmp_path, monkeypatch, capfd) -> Command:
    monkeypatch.chdir(tmp_path)
    return Command(tmp_path, monkeypatch, capfd)


def test_the_same_command_again_runs_what_is_not_done_in_its_own_folder(command):
    command.broken = {2: MedclsError("Not two.", kind="x"), 4: KeyError("mean")}
    assert command(DAYS) == 1, "a programming error is the more serious one"
    assert command.states() == ["done", "failed", "done", "failed"]
    assert [job.value for job in command.sweep.jobs()] == [0.1, None, 0.3, None]
    assert [job.exit_code for job in command.sweep.jobs()] == [0, 2, 0, 1]
    assert command.sweep.job(3).reason == "KeyError: 'mean'" and command.sweep.job(1).reason == "Not two."
    assert noted([command.err], f"hydra.sweep.dir='{command.sweep.path}'", str(command.sweep.table))
    command.broken = {}
    assert command(DAYS) == 0
    assert command.states() == ["done"] * 4
    assert noted(command.out.splitlines(), "2 jobs", "0", "2")
    once = {str(number): [f"{number + 1} 1 ['-m']"] for number in range(4)}
    assert command.ran() == once
    assert command(DAYS) == 0 and command.ran() == once, "nothing is left to run"


def test_a_job_with_other_settings_or_without_its_results_is_not_done(command):
    assert command("older_than_days=1,2") == 0
    (command.sweep.path / "0" / "ran.txt").unlink()
    assert command("older_than_days=1,3") == 0
    assert command.ran() == {"0": ["1 1 ['-m']"], "1": ["2 1 ['-m']", "3 1 ['-m']"]}


def test_a_sweep_that_was_ended_from_outside_has_all_its_jobs_in_the_table(command):
    command.broken = {2: KeyboardInterrupt()}
    assert command(DAYS) == 130
    assert command.states() == ["done", "missing", "missing", "missing"]
    assert [job.reason for job in command.sweep.jobs()] == ["", NO_END, "", ""]
    assert command.sweep.table.read_text(encoding="utf-8").count("missing") == 3
    assert noted([command.err], f"hydra.sweep.dir='{command.sweep.path}'")
    command.broken = {}
    assert command(DAYS) == 0 and list(map(len, command.ran().values())) == [1, 1, 1, 1]


def test_a_job_that_fails_leaves_those_of_later_batches_their_turn(command):
    command.broken = {1: MedclsError("Not one.", kind="x")}
    assert command(DAYS, "hydra.sweeper.max_batch_size=1") == 2
    assert command.states() == ["failed", "done", "done", "done"]


def test_the_folder_may_have_another_name_than_its_number(command):
    assert command("older_than_days=1,2", "hydra.sweep.subdir='days-${older_than_days}-${hydra.job.num}'") == 0
    assert [job.run for job in command.sweep.jobs()] == ["days-1-0", "days-2-1"]
    (command.sweep.path / "days-2-1" / "ran.txt").unlink()
    assert command("older_than_days=1,2", "hydra.sweep.subdir='days-${older_than_days}-${hydra.job.num}'") == 0
    assert [len(lines) for lines in command.ran().values()] == [1, 1]


@pytest.mark.parametrize("launcher", ["joblib", pytest.param("submitit_local", marks=pytest.mark.slow)])
def test_jobs_in_processes_of_their_own_are_recorded_and_share_the_cores(command, launcher):
    more = ["hydra.launcher.n_jobs=2"] if launcher == "joblib" else []
    command.broken = {2: MedclsError("Not two.", kind="x")}
    assert command("older_than_days=1,2,3", f"hydra/launcher={launcher}", *more) == 2
    assert command.states() == ["done", "failed", "done"] and command.sweep.job(1).reason == "Not two."
    assert noted([command.err], "1 of 3 jobs", "older_than_days=2")
    # Each knows what was typed, and how many run at the same time: two by joblib, all by submitit.
    at_once = 2 if more else 3
    assert command.ran() == {"0": [f"1 {at_once} ['-m']"], "2": [f"3 {at_once} ['-m']"]}
    command.broken = {}
    assert command("older_than_days=1,2,3", f"hydra/launcher={launcher}", *more) == 0
    assert command.ran()["1"] == ["2 1 ['-m']"], "the one that was left has all cores"
    assert (command.sweep.path / ".submitit").is_dir() is (launcher == "submitit_local")


def test_a_process_that_is_killed_leaves_an_error_that_says_how_to_continue(command):
    def task(cfg: DictConfig) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    arguments = ("-m", "older_than_days=1,2", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    refused_command(
        "job_lost", (str(command.sweep.table),), lambda: run_command(task, "cache"), *arguments,
        f"hydra.sweep.dir={command.sweep.path}",
    )  # fmt: skip
    assert command.states() == ["missing", "missing"]
    assert NO_END in [job.reason for job in command.sweep.jobs()]


def test_a_launcher_that_is_not_installed_names_the_extra(command, monkeypatch):
    find = sweeps.importlib.util.find_spec
    monkeypatch.setattr(
        sweeps.importlib.util, "find_spec", lambda name: None if name.startswith("hydra_plugins.") else find(name)
    )
    for launcher, package in (("joblib", "hydra-joblib-launcher"), ("submitit_slurm", "hydra-submitit-launcher")):
        refused_command(
            "missing_extra", (package, "medcls[sweep]"), lambda: run_command(print, "cache"), "-m",
            f"hydra/launcher={launcher}", "older_than_days=1,2", f"hydra.sweep.dir={command.sweep.path}",
        )  # fmt: skip


def test_n_jobs_is_a_number(command):
    refused_command(
        "bad_value", ("hydra.launcher.n_jobs", "many"), lambda: run_command(print, "cache"), "-m",
        "older_than_days=1,2", "hydra/launcher=joblib", "hydra.launcher.n_jobs=many",
        f"hydra.sweep.dir={command.sweep.path}",
    )  # fmt: skip


# What `sbatch`, `srun` and `sacct` do for the only job array that a test submits: run it here.
SBATCH = """#!/bin/sh
script="$(dirname "$0")/submitted.sh"
cp "$1" "$script"
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$script")
(for task in $(seq 0 "${last:-0}"); do
  export SLURM_JOB_ID=7$task SLURM_NTASKS=1 SLURM_NODEID=0 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_JOB_NUM_NODES=1
  export SLURM_JOB_NODELIST=here SLURM_JOB_NAME=medcls
  [ -n "$last" ] && export SLURM_ARRAY_JOB_ID=7 SLURM_ARRAY_TASK_ID=$task
  sh "$script"
done) > /dev/null 2>&1 &
echo "Submitted batch job 7"
"""
SRUN = """#!/bin/sh
while [ "$1" != "${1#--}" ]; do [ "$1" = --output ] && shift; shift; done
exec "$@"
"""
SACCT = """#!/bin/sh
echo "JobID|State|NodeList"
for task in 0 1 2 3; do echo "7_$task|RUNNING|here"; done
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch) -> Path:
    """Commands of Slurm that run what is submitted; the folder that keeps the script."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (("sbatch", SBATCH), ("srun", SRUN), ("sacct", SACCT)):
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


@pytest.mark.timeout(300)
def test_jobs_are_submitted_to_slurm_with_the_settings_of_a_cluster(command, slurm):
    assert command(
        "older_than_days=1,2", "hydra/launcher=submitit_slurm", "hydra.launcher.partition=gpu",
        "hydra.launcher.timeout_min=90", "hydra.launcher.gpus_per_node=2", "hydra.launcher.cpus_per_task=6",
        "hydra.launcher.mem_gb=24", "hydra.launcher.additional_parameters={qos: low}",
        "hydra.launcher.setup=[umask 077]", "hydra.launcher.array_parallelism=1",
    ) == 0, command.err  # fmt: skip
    script = (slurm / "submitted.sh").read_text(encoding="utf-8")
    options = dict(re.findall(r"^#SBATCH --([\w-]+)=(\S+)$", script, re.MULTILINE))
    expected = {
        "partition": "gpu", "time": "90", "gpus-per-node": "2", "cpus-per-task": "6", "mem": "24GB", "qos": "low",
        "array": "0-1%1", "nodes": "1", "ntasks-per-node": "1", "job-name": "medcls", "signal": "USR2@120",
    }  # fmt: skip
    assert {name: options.get(name) for name in expected} == expected
    assert "account" not in options and "umask 077" in script.splitlines()
    assert Path(options["output"]).is_relative_to(command.sweep.path / ".submitit")
    assert subprocess.run(["bash", "-n", slurm / "submitted.sh"], check=False).returncode == 0
    # Each has the cores of its own allocation.
    assert command.ran() == {"0": ["1 1 ['-m']"], "1": ["2 1 ['-m']"]} and command.states() == ["done", "done"]


@pytest.mark.slow
def test_without_gpus_none_are_asked_for(command, slurm):
    assert command("older_than_days=1,2", "hydra/launcher=submitit_slurm", "hydra.launcher.gpus_per_node=null") == 0
    assert "--gpus" not in (slurm / "submitted.sh").read_text(encoding="utf-8")


@pytest.mark.parametrize(("typed", "cores", "jobs"), [(-1, 4, 4), (-2, 4, 3), (3, 4, 3), (-9, 4, 1), (None, 4, 1)])
def test_n_jobs_counts_cores_as_joblib_does(monkeypatch, typed, cores, jobs):
    monkeypatch.setattr(cpu, "available_cores", lambda: cores)
    assert sweeps._at_once({"n_jobs": typed}) == jobs
