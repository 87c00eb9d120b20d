import os
import signal
import subprocess
from types import SimpleNamespace

import pytest

from medcls.cli import slurm
from medcls.cli.termination import Preempted, exit_code_and_message

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="this system has no SIGUSR1")


@pytest.fixture(autouse=True)
def _job(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith("SLURM_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("MEDCLS_STATE", str(tmp_path / "state"))


@pytest.mark.parametrize(
    ("variables", "job"),
    [
        ({}, "77"),
        ({"SLURM_ARRAY_JOB_ID": "70", "SLURM_ARRAY_TASK_ID": "3"}, "70_3"),
        ({"SLURM_JOB_NAME": "interactive"}, None),
    ],
)
def test_a_job_is_named_as_the_cluster_does(monkeypatch, variables, job):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert slurm.job() == job


def test_a_restarted_job_finds_where_it_began(monkeypatch, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    assert slurm._begun_before(first, ["seed=1"]) is None
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert slurm._begun_before(second, ["seed=1"]) == first
    assert slurm._begun_before(second, ["seed=2"]) is None, "another training of the job"
    monkeypatch.setenv("SLURM_JOB_ID", "78")
    assert slurm._begun_before(second, ["seed=1"]) is None, "another job"
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    first.rmdir()
    assert slurm._begun_before(second, ["seed=1"]) is None, "its folder was removed"


@pytest.mark.parametrize(
    ("process", "answer", "asked"),
    [("0", 0, [["scontrol", "requeue", "77"]]), ("0", 1, [["scontrol", "requeue", "77"]]), ("1", 0, [])],
)
def test_a_preempted_job_is_queued_again_by_its_first_process(monkeypatch, process, answer, asked):
    commands = []

    def run(command, **_):
        commands.append(command)
        return SimpleNamespace(returncode=answer, stderr="not permitted")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setenv("SLURM_PROCID", process)
    with pytest.raises(Preempted) as ended, slurm.requeue_if_preempted():
        os.kill(os.getpid(), signal.SIGUSR1)
    assert commands == asked
    code, message = exit_code_and_message(ended.value)
    assert code == 138 and ("not permitted" in message) == bool(answer)
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


def test_a_signal_that_another_program_waits_for_is_left_to_it(monkeypatch):
    received = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: received.append(number))
    try:
        with slurm.requeue_if_preempted():
            os.kill(os.getpid(), signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert received == [signal.SIGUSR1]


def test_outside_of_jobs_the_signal_keeps_its_meaning(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID")
    with slurm.requeue_if_preempted():
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
