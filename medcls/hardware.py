"""What the machine decides: threads, workers, memory; never batch size or precision."""

import ctypes
import dataclasses
import os
import platform
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from medcls.cpu import available_cores
from medcls.errors import MedclsError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
# Batches below these leave a machine waiting for its own bookkeeping: the first measured (docs/performance.md), the
# second not.
MIN_CPU_BATCH, MIN_GPU_BATCH = 8, 64
COMPILERS = ("g++", "clang++", "c++", "cl")
PACKAGES = (
    "medcls",
    "torch",
    "torchvision",
    "lightning",
    "torchmetrics",
    "timm",
    "numpy",
    "pillow",
    "scikit-learn",
    "mlxtend",
)


@dataclasses.dataclass(frozen=True)
class Hardware:
    """What was chosen for this machine, and why.

    Parameters
    ----------
    threads : int
        Of one tensor operation.
    workers : int
        Loader processes.
    memory_for_images : int
        Bytes that decoded images may take.
    reasons : tuple of str
        One line a choice, for the log.
    """

    threads: int
    workers: int
    memory_for_images: int
    reasons: tuple[str, ...]


def choose(workers: int | None = None, keep_memory: bool = True, *, jobs: int = 1) -> Hardware:
    """Look at the machine, choose, and set what is set once a process.

    Parameters
    ----------
    workers : int, optional
        Loader processes, where the user wants a number of their own.
    keep_memory : bool
        Tell the C library to keep freed memory instead of giving it back after each step.
    jobs : int
        Runs of a sweep that go on at the same time and share the cores and the memory.
    """
    cores = available_cores()
    cuda = torch.cuda.is_available()
    reasons = [f"device: {torch.cuda.get_device_name() if cuda else 'CPU (no CUDA device found)'}"]
    share = max(1, cores // jobs)
    if (asked := os.environ.get("OMP_NUM_THREADS", "")).isdigit() and int(asked) > 0:
        threads = int(asked)
        reasons.append(f"threads: {threads}, as set by OMP_NUM_THREADS (there are {cores} core(s))")
    elif jobs > 1:
        threads = share
        reasons.append(f"threads: {threads}, {cores} core(s) shared out among {jobs} runs at a time")
    else:
        threads = cores
        reasons.append(f"threads: {threads}, one a core")
    torch.set_num_threads(threads)
    if workers is None:
        # On a CPU the network needs the cores: one worker prepares the next batch while this one trains.
        workers = min(8, max(1, share - 1)) if cuda else min(4, max(1, min(share, threads) // 2))
        reasons.append(
            f"loader workers: {workers} at most, for {share} core(s){' beside a GPU' if cuda else ''}; none where all "
            "images are decoded already"
        )
    else:
        reasons.append(f"loader workers: {workers} at most, as set by data.workers")
    memory = _memory() // 4 // jobs
    reasons.append(
        f"without the cache, images are kept in memory up to {memory / 2**30:.1f} GiB, a quarter of the machine's"
        + (f" shared out among {jobs} runs" if jobs > 1 else "")
    )
    reasons.append("memory format: channels_last, in which these convolutions run fastest")
    if keep_memory and _keep_freed_memory():
        reasons.append("freed memory is kept by the process (keep_memory): giving it back each step costs time")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > cores / 2:
        reasons.append(
            f"NOTE: the machine is already busy (load {load:.1f} on {cores} core(s)), and this run will be slower. To "
            "let two share the cores, start each with OMP_NUM_THREADS set to its part"
        )
    return Hardware(threads, workers, memory, tuple(reasons))


def check_compiler() -> None:
    """See that torch can compile a network here.

    Raises
    ------
    MedclsError
        There is no C++ compiler.
    """
    if "CXX" not in os.environ and not any(map(shutil.which, COMPILERS)):
        raise MedclsError(
            f"compile=true needs a C++ compiler, and none is found ({', '.join(COMPILERS)}): install one, or leave "
            "compile out.",
            kind="no_compiler",
        )


def suggestions(precision: str, batch_size: int) -> list[str]:
    """What would suit this machine better, for the log: batch and precision belong to the experiment, and stay.

    Parameters
    ----------
    precision : str
        `trainer.precision`.
    batch_size : int
        `data.batch_size`.
    """
    if torch.cuda.is_available():
        found = []
        if precision == "32-true" and torch.cuda.is_bf16_supported():
            found.append(
                "trainer.precision=bf16-mixed: this GPU computes with 16 bits several times as fast (its results are "
                "another experiment's)"
            )
        if batch_size < MIN_GPU_BATCH:
            found.append(
                f"data.batch_size={MIN_GPU_BATCH}: batches of {batch_size} leave most of a GPU idle (with larger ones "
                "the learning rate wants to be chosen anew)"
            )
        return found
    if "16" in precision:
        return ["trainer.precision=32-true: on a CPU, training with 16 bits takes longer, not less"]
    if batch_size < MIN_CPU_BATCH:
        return [
            f"data.batch_size={MIN_CPU_BATCH}: with batches of {batch_size} each image takes longer (with larger ones "
            "the learning rate wants to be chosen anew)"
        ]
    return []


def _memory() -> int:
    """Bytes that this process may use: the machine's, or its control group's (a container's, a job's) if less."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4 << 30
    return min([machine, *_memory_limits()])


def _memory_limits(proc: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup")) -> list[int]:
    """What the control groups of this process allow, version 1 and 2, from its own up to the topmost one.

    No limit is `max` in version 2, and a number larger than any machine in version 1. Within a container the groups
    named may not be there to be seen; the topmost is then the container's own.
    """
    try:
        lines = proc.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    limits = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top, name = (mounted / "memory", "memory.limit_in_bytes") if controllers else (mounted, "memory.max")
        own = Path(group.lstrip("/"))
        for folder in (own, *own.parents):
            try:
                limit = (top / folder / name).read_text(encoding="ascii").strip()
            except OSError:
                continue
            limits += [int(limit)] if limit.isdigit() else []
    return limits


def _keep_freed_memory() -> bool:
    """Glibc's mallopt, before the first large tensor; elsewhere nothing happens."""
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # The thresholds under which memory stays with the process: 1 GiB mapped, 2 GiB at the top.
    return bool(mallopt(M_MMAP_THRESHOLD, 1 << 30)) and bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))


def environment() -> dict[str, Any]:
    """Versions and machine, for a run's record."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        "threads": torch.get_num_threads(),
        "packages": versions,
    }
