"""A command in a process of its own that can be killed, or trained into a fault, and what its run comes to."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from entry_points import FAST, run_main

SETTINGS = (*FAST, "positive_class=a", "resamples=100")


# Of a run with all that a resume restores.
EPOCHS = ("trainer.max_epochs=3", "scheduler=plateau", "ema=0.9")


def training(place: Path, images: Path, *more: str) -> tuple[str, ...]:
    """The settings of a training in `place/run`."""
    return (*SETTINGS, *EPOCHS, f"data.root={images}", f"hydra.run.dir={place}/run", *more)


def start(
    main: Callable[[], None], arguments: tuple[str, ...], place: Path, prepare: Callable[[], None] = lambda: None
) -> int:
    """Start a command in a fork, which has what takes long to import already; its cache and records are in `place`.

    Parameters
    ----------
    prepare : callable
        Called in the new process first: to break something, or to set a limit.

    Returns
    -------
    int
        The number of the process, which leads a group of its own.
    """
    import lightning  # noqa: F401 - loaded once, before the processes part

    import medcls.workflow.result_files  # noqa: F401

    place.mkdir(parents=True, exist_ok=True)
    number = os.fork()
    if number:
        return number
    code = 99
    try:
        os.setpgid(0, 0)
        os.environ |= {"MEDCLS_STATE": str(place / "state"), "MEDCLS_CACHE": str(place / "cache")}
        # As in a terminal: a job in the background ignores it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        output = os.open(place / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout = sys.stderr = os.fdopen(output, "w")
        sys.__stderr__ = sys.stderr
        prepare()
        try:
            run_main(main, *arguments)
            code = 0
        except AssertionError as ended:  # of another exit code
            code = int(str(ended).split()[2]) if str(ended).startswith("exit code ") else 98
        sys.stdout.flush()
    finally:
        os._exit(code)


def end(number: int) -> int:
    """Wait for a process; its exit code, negative if a signal ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


def output(place: Path) -> str:
    """What the commands of a place have printed, and forget it."""
    text = (place / "output.txt").read_text(encoding="utf-8", errors="replace")
    (place / "output.txt").unlink()
    return text


def run_command(
    main: Callable[[], None], arguments: tuple[str, ...], place: Path, prepare: Callable[[], None] = lambda: None
) -> tuple[int, str]:
    """Run a command in a process of its own; its exit code, and what it printed."""
    code = end(start(main, arguments, place, prepare))
    return code, output(place)


def result(run: Path) -> dict[str, object]:
    """What a run comes to: its weights, predictions, metrics and decision rules; and that nothing is half-written."""
    from medcls.inference.load import weights_hash
    from medcls.models.weights import read_state

    found: dict[str, object] = {
        name: weights_hash(read_state(run / "checkpoints" / name)[0]) for name in ("best.ckpt", "last.ckpt")
    }
    for name in (
        "predictions/val.csv", "predictions/test.csv", "policies.json", "metrics.json", "manifest.csv", "config.yaml",
    ):  # fmt: skip
        text = (run / name).read_text(encoding="utf-8")
        found[name] = "\n".join(line for line in text.splitlines() if not line.startswith("resume:"))
    left = [str(path) for path in run.rglob("*") if path.name.startswith(".") or path.name.endswith(".tmp")]
    return found | {"half-written": left, "report": (run / "report.html").exists()}


def differing(one: dict[str, object], other: dict[str, object], *moved: tuple[str, str]) -> set[str]:
    """Where two results differ, once these texts are exchanged in the second."""
    names = set()
    for name, value in one.items():
        text = str(other[name])
        for before, now in moved:
            text = text.replace(now, before)
        if text != str(value):
            names.add(name)
    return names
