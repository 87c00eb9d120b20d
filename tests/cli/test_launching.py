"""The processes of a training as the command sees them: how they end, and what it says of that."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from refusals import refused

from medcls.cli import launching
from medcls.cli.launching import Place, check_shares, place, run_in_processes, starts_processes

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")

# A task without torch: what each process does, by its rank.
TASK = """
import os, signal, sys, time
from medcls.cli import launching
from medcls.cli.termination import sigterm_interrupts
from medcls.errors import MedclsError

rank = int(os.environ["RANK"])

def task(cfg):
{body}

with sigterm_interrupts():
    launching.take_part(task)
"""

# A command that runs this task.
COMMAND = """
import sys
from medcls.cli import launching
from medcls.cli.termination import exit_code_and_message, exit_with, sigterm_interrupts
from omegaconf import OmegaConf

launching.PROGRAM = (sys.argv[1],)
with sigterm_interrupts():
    try:
        launching.run_in_processes(OmegaConf.create({}), 2)
    except BaseException as error:
        exit_with(*exit_code_and_message(error))
"""


@pytest.fixture
def task(tmp_path):
    """Write a program for each process, of what its task does."""

    def of(body: str) -> str:
        path = tmp_path / "task.py"
        path.write_text(TASK.format(body=textwrap.indent(textwrap.dedent(body), "    ")), encoding="utf-8")
        return str(path)

    return of


@pytest.fixture
def run(monkeypatch, task):
    """Run a task in two processes; returns what the command returns."""
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    monkeypatch.setattr(launching, "AFTER_AN_END_S", 2)

    def of(body: str, **cfg):
        monkeypatch.setattr(launching, "PROGRAM", (task(body),))
        return run_in_processes(OmegaConf.create(cfg), 2)

    return of


@pytest.fixture
def command(tmp_path, task):
    """A command whose two processes have begun, and a function that gives the ids of these."""
    begun = tmp_path / "begun"
    begun.mkdir()
    path = task(
        f"""
        open({str(begun)!r} + f"/{{os.getpid()}}", "w").close()
        try:
            time.sleep(60)
        except KeyboardInterrupt as interrupt:
            interrupt.add_note(f"left by {{rank}}")
            raise
        """
    )
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, path], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    _until(lambda: len(list(begun.iterdir())) == 2)
    yield process, [int(path.name) for path in begun.iterdir()]
    process.kill()
    process.communicate()


def test_what_the_first_process_returns_is_the_result(run):
    assert run("return cfg.value + rank / 8 if os.environ['WORLD_SIZE'] == '2' else None", value=0.5) == 0.5


def test_the_first_error_is_raised_with_its_kind_and_what_is_left(run):
    with refused("broken_image", "scan.png") as raised:
        run(
            """
            if rank == 1:
                raise MedclsError("scan.png cannot be read.", kind="broken_image")
            time.sleep(0.5)
            error = RuntimeError("Connection closed by peer")
            error.add_note("resume=runs/A")
            raise error
            """
        )
    assert raised.value.__notes__ == ["resume=runs/A"]


def test_an_error_of_all_processes_is_raised_once(run):
    with refused("bad_value", "optimizer.lr"):
        run("raise MedclsError('optimizer.lr is abc.', kind='bad_value')")


def test_a_programming_error_keeps_its_stack_trace(run):
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        run("return 1 / (1 - rank) if rank else time.sleep(60)")


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_the_others_in_finite_time(run, rank):
    began = time.monotonic()
    with refused("process_killed", f"Process {rank} of the 2", "SIGKILL"):
        run(f"time.sleep(0.3) if rank == {rank} else time.sleep(60); os.kill(os.getpid(), signal.SIGKILL)")
    assert time.monotonic() - began < 20


def test_output_of_a_process_that_ends_without_a_message_is_shown(run):
    with refused("process_killed", "core dumped"):
        run("rank and (print('core dumped', flush=True), os.abort()); time.sleep(60)")


def test_processes_whose_command_is_killed_end(command):
    process, started = command
    process.kill()
    _until(lambda: not any(map(_runs, started)))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_the_first_process_alone_which_says_what_is_left(command, how):
    process, started = command
    os.killpg(process.pid, how)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 128 + how
    assert "left by 0" in error and "left by 1" not in error and "Traceback" not in error
    assert not any(map(_runs, started))


def _until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def _runs(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


# ---------------------------------------------------------------------- who starts processes


def trainer(devices, num_nodes=1):
    return OmegaConf.create({"devices": devices, "num_nodes": num_nodes})


@pytest.fixture
def environment(monkeypatch):
    """These variables, and no others by which processes are known."""

    def of(**variables):
        for name in (launching.CHANNEL, "TORCHELASTIC_RUN_ID", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_JOB_NAME"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))

    return of


def test_a_command_starts_the_processes_of_one_machine(environment):
    environment()
    assert starts_processes(trainer(2)) and not starts_processes(trainer(1))
    assert place(trainer(1)) == Place(0, 1)
    # What is wrong is refused by the checks of the trainer's settings.
    assert not any(starts_processes(trainer(devices)) for devices in ("auto", None, 0, True))


def test_processes_of_torchrun_and_slurm_find_their_place(environment):
    environment(TORCHELASTIC_RUN_ID="1", RANK=3, WORLD_SIZE=4)
    assert place(trainer(2, num_nodes=2)) == Place(3, 4)
    environment(SLURM_NTASKS=4, SLURM_PROCID=2, SLURM_JOB_NAME="train")
    assert place(trainer(4)) == Place(2, 4)
    assert not starts_processes(trainer(4))


def test_trainings_beside_one_another_and_interactive_jobs_of_slurm_are_not_ranks(environment):
    environment(SLURM_NTASKS=4, SLURM_PROCID=2, SLURM_JOB_NAME="seeds")
    assert place(trainer(1)) == Place(0, 1)
    environment(SLURM_NTASKS=4, SLURM_PROCID=0, SLURM_JOB_NAME="bash")
    assert starts_processes(trainer(2))


@pytest.mark.parametrize(
    ("variables", "settings"),
    [
        ({}, (2, 2)),
        ({"TORCHELASTIC_RUN_ID": "1", "RANK": 0, "WORLD_SIZE": 2}, (1, 1)),
        ({"SLURM_NTASKS": 3, "SLURM_PROCID": 0}, (2, 1)),
    ],
    ids=["none", "torchrun", "slurm"],
)
def test_another_number_of_processes_than_the_settings_say_is_refused(environment, variables, settings):
    environment(**variables)
    with refused("processes_do_not_fit", "trainer.devices", "trainer.num_nodes"):
        place(trainer(*settings))


def test_a_step_is_shared_out_evenly():
    check_shares(32, 4)
    check_shares(33, 1)
    with refused("bad_value", "data.batch_size=33"):
        check_shares(33, 2)
