"""What the machine decides: threads, workers, memory; never batch size or precision."""

import ctypes
import dataclasses
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
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


def choose(workers: int | None = None, keep_memory: bool = True) -> Hardware:
    """Look at the machine, choose, and set what is set once a process.

    Parameters
    ----------
    workers : int, optional
        Loader processes, where the user wants a number of their own.
    keep_memory : bool
        Tell the C library to keep freed memory instead of giving it back after each step.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cuda = torch.cuda.is_available()
    reasons = [f"device: {torch.cuda.get_device_name() if cuda else 'CPU (no CUDA device found)'}"]
    torch.set_num_threads(cores)
    reasons.append(f"threads: {cores}, one a core")
    if workers is None:
        # On a CPU the network needs the cores: one worker prepares the next batch while this one trains.
        workers = min(8, max(1, cores - 1)) if cuda else min(4, max(1, cores // 2))
        reasons.append(f"loader workers: {workers}, for {cores} core(s){' beside a GPU' if cuda else ''}")
    else:
        reasons.append(f"loader workers: {workers}, as set by data.workers")
    memory = _memory() // 4
    reasons.append(
        f"without the cache, images are kept in memory up to {memory / 2**30:.1f} GiB, a quarter of the machine's"
    )
    reasons.append("memory format: channels_last, in which these convolutions run fastest")
    if keep_memory and _keep_freed_memory():
        reasons.append("freed memory is kept by the process (keep_memory): giving it back each step costs time")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > cores / 2:
        reasons.append(
            f"NOTE: the machine is already busy (load {load:.1f} on {cores} core(s)): this run will be slower"
        )
    return Hardware(cores, workers, memory, tuple(reasons))


def _memory() -> int:
    """Bytes that this process may use: the machine's, or the container's where that is less."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4 << 30
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        return machine
    return min(machine, int(limit)) if limit.isdigit() else machine


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
