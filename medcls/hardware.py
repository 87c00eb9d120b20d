"""Choose threads, workers and memory for the machine; never batch size or precision."""

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
# Smaller batches are dominated by overhead: the first was measured (docs/performance.md), the second was not.
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
        Threads of one tensor operation.
    workers : int
        Loader processes.
    memory_for_images : int
        Bytes that decoded images may take.
    reasons : tuple of str
        One line for each choice, for the log.
    """

    threads: int
    workers: int
    memory_for_images: int
    reasons: tuple[str, ...]


def choose(workers: int | None = None, keep_memory: bool = True, *, jobs: int = 1, processes: int = 1) -> Hardware:
    """Choose for this machine, and apply the settings of the process.

    Parameters
    ----------
    workers : int, optional
        Loader processes, if the user sets their number.
    keep_memory : bool
        Tell the C library to keep freed memory instead of returning it after each step.
    jobs : int
        Runs of a sweep that run at the same time, and share cores and memory.
    processes : int
        Processes of this training on this machine, which share them too.
    """
    cores = available_cores()
    cuda = torch.cuda.is_available()
    reasons = [f"device: {torch.cuda.get_device_name() if cuda else 'CPU (no CUDA device found)'}"]
    sharing = jobs * processes
    among = " of ".join(
        part for part, number in ((f"{processes} processes", processes), (f"{jobs} runs at a time", jobs)) if number > 1
    )
    share = max(1, cores // sharing)
    if (asked := os.environ.get("OMP_NUM_THREADS", "")).isdigit() and int(asked) > 0:
        threads = int(asked)
        reasons.append(f"threads: {threads}, as set by OMP_NUM_THREADS (there are {cores} core(s))")
    elif sharing > 1:
        threads = share
        reasons.append(f"threads: {threads}, {cores} core(s) shared by {among}")
    else:
        threads = cores
        reasons.append(f"threads: {threads}, one for each core")
    torch.set_num_threads(threads)
    if workers is None:
        # On a CPU the network needs the cores: one worker prepares the next batch while this one trains.
        workers = min(8, max(1, share - 1)) if cuda else min(4, max(1, min(share, threads) // 2))
        reasons.append(
            f"loader workers: at most {workers}, for {share} core(s){' and a GPU' if cuda else ''}; none if all images "
            "are decoded already"
        )
    else:
        reasons.append(f"loader workers: at most {workers}, as set by data.workers")
    memory = _memory() // 4 // sharing
    reasons.append(
        f"without the cache, images are kept in memory up to {memory / 2**30:.1f} GiB, a quarter of the machine's"
        + (f" shared by {among}" if sharing > 1 else "")
    )
    reasons.append("memory format: channels_last, the fastest for these convolutions")
    if keep_memory and _keep_freed_memory():
        reasons.append("freed memory is kept by the process (keep_memory), which saves time in each step")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > cores / 2:
        reasons.append(
            f"NOTE: the machine is already busy (load {load:.1f} on {cores} core(s)), so this run will be slower. To "
            "share the cores between two runs, start each with OMP_NUM_THREADS set to its share"
        )
    return Hardware(threads, workers, memory, tuple(reasons))


def check_compiler() -> None:
    """Check that torch can compile a network on this machine."""
    if "CXX" not in os.environ and not any(map(shutil.which, COMPILERS)):
        raise MedclsError(
            f"compile=true needs a C++ compiler, and none was found ({', '.join(COMPILERS)}): install one, or leave "
            "compile out.",
            kind="no_compiler",
        )


def suggestions(precision: str, batch_size: int) -> list[str]:
    """Settings that would suit this machine better, for the log; they belong to the experiment, so none is changed.

    Parameters
    ----------
    precision : str
        `trainer.precision`.
    batch_size : int
        `data.batch_size`.
    """
    if torch.cuda.is_available():
        lines = []
        if precision == "32-true" and torch.cuda.is_bf16_supported():
            lines.append(
                "trainer.precision=bf16-mixed: this GPU computes several times as fast with 16 bits (results will "
                "differ)"
            )
        if batch_size < MIN_GPU_BATCH:
            lines.append(
                f"data.batch_size={MIN_GPU_BATCH}: batches of {batch_size} leave most of a GPU idle (with larger ones, "
                "tune the learning rate again)"
            )
        return lines
    if "16" in precision:
        return ["trainer.precision=32-true: on a CPU, training with 16 bits is slower"]
    if batch_size < MIN_CPU_BATCH:
        return [
            f"data.batch_size={MIN_CPU_BATCH}: with batches of {batch_size} each image takes longer (with larger ones, "
            "tune the learning rate again)"
        ]
    return []


def _memory() -> int:
    """Bytes that this process may use: the machine's, or those of its control group (a container, a job) if fewer."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4 << 30
    return min([machine, *_memory_limits()])


def _memory_limits(proc: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup")) -> list[int]:
    """Memory limits of the control groups of this process, version 1 and 2, from its own up to the topmost.

    No limit is `max` in version 2, and a number larger than any machine's memory in version 1. Within a container the
    named groups may not be visible; the topmost visible one is then the container's.
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
    """Call glibc's mallopt, before the first large tensor; without glibc, do nothing."""
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # The thresholds under which memory stays with the process: 1 GiB mapped, 2 GiB at the top.
    return bool(mallopt(M_MMAP_THRESHOLD, 1 << 30)) and bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))


def environment() -> dict[str, Any]:
    """Versions and machine, for `environment.json`."""
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
