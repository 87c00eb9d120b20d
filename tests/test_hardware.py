"""What is chosen for a machine and logged; settings of the experiment are not changed."""

import os
import subprocess
import sys

import pytest
import torch
from refusals import noted

from medcls import cpu, hardware
from medcls.cli import sweeps


@pytest.fixture(autouse=True)
def threads_as_they_were(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def machine(monkeypatch):
    """A machine of so many cores."""

    def of(count, *, load=0.0):
        monkeypatch.setattr(hardware, "available_cores", lambda: count)
        monkeypatch.setattr(os, "getloadavg", lambda: (load, load, load))

    return of


def said(chosen, word):
    (line,) = [reason for reason in chosen.reasons if word in reason]
    return line


def test_one_thread_a_core(machine):
    machine(3)
    chosen = hardware.choose(keep_memory=False)
    assert chosen.threads == 3 == torch.get_num_threads()
    assert noted([said(chosen, "threads:")], "3")


def test_runs_at_the_same_time_share_cores_and_memory(machine):
    machine(8)
    alone, beside = hardware.choose(keep_memory=False), hardware.choose(keep_memory=False, jobs=4)
    assert beside.threads == 2 == torch.get_num_threads()
    assert beside.workers == 1
    assert beside.memory_for_images == alone.memory_for_images // 4
    assert noted([said(beside, "threads:")], "2", "4")


def test_processes_of_a_training_share_cores_and_memory(machine):
    machine(8)
    alone = hardware.choose(keep_memory=False)
    for chosen in (
        hardware.choose(keep_memory=False, processes=4),
        hardware.choose(keep_memory=False, jobs=2, processes=2),
    ):
        assert chosen.threads == 2 == torch.get_num_threads()
        assert chosen.workers == 1
        assert chosen.memory_for_images == alone.memory_for_images // 4
        assert noted([said(chosen, "threads:")], "2", "8")


def test_more_runs_than_cores_leave_each_one_thread(machine):
    machine(2)
    assert hardware.choose(keep_memory=False, jobs=5).threads == 1


def test_a_number_of_threads_in_the_environment_rules(machine, monkeypatch):
    machine(8)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    chosen = hardware.choose(keep_memory=False, jobs=4)
    assert chosen.threads == 3 == torch.get_num_threads()
    assert "OMP_NUM_THREADS" in said(chosen, "threads:")


def test_a_busy_machine_is_logged_with_advice(machine):
    machine(4, load=3.5)
    assert noted([said(hardware.choose(keep_memory=False), "NOTE:")], "3.5", "4", "OMP_NUM_THREADS")
    machine(4, load=0.5)
    assert not [reason for reason in hardware.choose(keep_memory=False).reasons if "NOTE:" in reason]


def test_workers_are_as_asked(machine):
    machine(8)
    assert hardware.choose(5, keep_memory=False).workers == 5
    assert hardware.choose(0, keep_memory=False).workers == 0
    assert hardware.choose(keep_memory=False).workers == 4


def test_a_containers_quota_counts(monkeypatch):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    assert cpu.available_cores() == 1


@pytest.mark.parametrize(
    ("groups", "limits", "found"),
    [
        # Version 1, as on older hosts and clusters; without a limit the kernel says a huge number.
        ("4:memory:/job/17\n1:cpu:/", {"memory/job/17/memory.limit_in_bytes": "1000"}, [1000]),
        ("4:cpu,memory:/", {"memory/memory.limit_in_bytes": "9223372036854771712"}, [9223372036854771712]),
        # Version 2: its own group, and one above it that is stricter.
        ("0::/a/b", {"a/b/memory.max": "3000", "a/memory.max": "2000", "memory.max": "max"}, [3000, 2000]),
        # In a container, whose path on the host cannot be seen.
        ("0::/kubepods/pod1", {"memory.max": "5000"}, [5000]),
        ("4:memory:/docker/1", {"memory/memory.limit_in_bytes": "6000", "memory.max": "1"}, [6000]),
        ("4:cpuset:/x", {"memory.max": "1"}, []),
    ],
)
def test_a_containers_memory_limit_counts_in_either_version(tmp_path, groups, limits, found):
    (tmp_path / "cgroup").write_text(groups + "\n")
    for name, value in limits.items():
        path = tmp_path / "mounted" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value + "\n")
    assert hardware._memory_limits(tmp_path / "cgroup", tmp_path / "mounted") == found
    assert hardware._memory_limits(tmp_path / "nothing", tmp_path / "mounted") == []


def test_the_least_of_machine_and_limits_is_shared_out(machine, monkeypatch):
    machine(2)
    monkeypatch.setattr(hardware, "_memory_limits", lambda: [8 << 30, 1 << 30])
    assert hardware.choose(keep_memory=False).memory_for_images == (1 << 30) // 4


@pytest.mark.parametrize(
    ("precision", "batch_size", "suggested"),
    [("32-true", 32, []), ("bf16-mixed", 32, ["trainer.precision=32-true"]), ("32-true", 2, ["data.batch_size="])],
)
def test_what_would_suit_a_cpu_better_is_suggested(monkeypatch, precision, batch_size, suggested):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = hardware.suggestions(precision, batch_size)
    assert len(found) == len(suggested)
    assert all(line.startswith(start) for line, start in zip(found, suggested, strict=True))


def test_what_would_suit_a_gpu_better_is_suggested(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    precision, batch = hardware.suggestions("32-true", 32)
    assert precision.startswith("trainer.precision=bf16-mixed")
    assert batch.startswith("data.batch_size=64")
    assert hardware.suggestions("bf16-mixed", 128) == []


@pytest.mark.parametrize(("set_before", "spins"), [({}, str(cpu.SPINS)), ({"GOMP_SPINCOUNT": "7"}, "7")])
def test_idle_threads_sleep_soon_by_default(monkeypatch, set_before, spins):
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    for name, value in set_before.items():
        monkeypatch.setenv(name, value)
    cpu.shorten_spinning()
    assert os.environ["GOMP_SPINCOUNT"] == spins


def test_a_waiting_policy_of_ones_own_is_left_alone(monkeypatch):
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    cpu.shorten_spinning()
    assert "GOMP_SPINCOUNT" not in os.environ


def test_the_commands_set_it_before_torch_is_loaded():
    # OpenMP reads it once, when it is loaded, so the command must not have imported torch before.
    code = (
        "import os, sys; from medcls import cpu; loaded = []; "
        "cpu.shorten_spinning = lambda: loaded.append('torch' in sys.modules); "
        "import medcls.train as command; sys.argv = ['train', '--version'];\n"
        "try: command.main()\n"
        "except SystemExit: pass\n"
        "print(loaded)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip().splitlines()[-1] == "[False]"


@pytest.mark.parametrize(
    ("launcher", "jobs"), [({"n_jobs": 3}, 3), ({"n_jobs": -1}, 4), ({}, 1), ({"n_jobs": None}, 1)]
)
def test_a_launcher_has_the_number_of_concurrent_runs(monkeypatch, launcher, jobs):
    from types import SimpleNamespace

    config = SimpleNamespace(mode=sweeps.RunMode.MULTIRUN, launcher=launcher)
    monkeypatch.setattr(sweeps.HydraConfig, "get", lambda: config)
    monkeypatch.setattr(cpu, "available_cores", lambda: 4)
    assert sweeps.concurrent_jobs() == jobs
    config.mode = sweeps.RunMode.RUN
    assert sweeps.concurrent_jobs() == 1
