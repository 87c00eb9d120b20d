"""Measure a training from within its process: the time of its first step, its memory.

Other benchmarks call `watch`, which starts `python -m benchmarks.watched REQUEST ANSWER`.
"""

import functools
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

MIB = 2**20

# Libraries that a training needs. Lightning imports torch, torchvision and torchmetrics.
LIBRARIES = (
    "lightning",
    "hydra",
    "pandas",
    "scipy.stats",
    "sklearn.model_selection",
    "sklearn.tree",
    "matplotlib.figure",
    "mlxtend.plotting",
    "pydicom",
    "imagehash",
    "jinja2",
    "rich.progress",
)

# Stages of a run before its first epoch, and their functions.
STAGES = {
    "reading the manifest": ("medcls.cli.training", "read_source"),
    "splitting": ("medcls.data.splits.split", "split"),
    "rehearsing the report": ("medcls.workflow.reporting", "rehearse"),
    "the audit": ("medcls.auditing.quick", "audit_quickly"),
    "the network": ("medcls.cli.training", "make_classifier"),
    "its summary": ("medcls.models.summary", "summarise"),
    "plots of the data": ("medcls.workflow.training_plots", "of_data"),
}


def watch(
    settings: Sequence[str], place: Path, *, until: Literal["first step", "end of fit"], environment: Mapping[str, str]
) -> dict[str, Any]:
    """Train in a separate process, up to some point, and measure it.

    Parameters
    ----------
    settings : sequence of str
        Of the command line.
    place : Path
        A folder for the run, which is kept, and by default for cache and state.
    until : str
        When the process ends: before the first step, or after the last epoch.
    environment : mapping
        Variables besides those of this process.

    Returns
    -------
    dict
        `imports`, seconds of importing `LIBRARIES`; `start`, seconds from then to the first step; `stages`, the parts
        of `start`; `resident`, MiB at the beginning of each epoch and at the end, without memory-mapped files; `peak`,
        largest MiB, with them; `manifest`, MiB of the table of images.

    Raises
    ------
    RuntimeError
        The training failed; with its output.
    """
    place.mkdir(parents=True, exist_ok=True)
    request, answer = place / "request.json", place / "answer.json"
    answer.unlink(missing_ok=True)
    run = place / f"run {time.time_ns()}"
    request.write_text(json.dumps({"settings": [*settings, f"hydra.run.dir={run}"], "until": until}), encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks.watched", str(request), str(answer)]
    folders = {"MEDCLS_CACHE": str(place / "cache"), "MEDCLS_STATE": str(place / "state")}
    ended = subprocess.run(
        command, env={**os.environ, **folders, **environment}, capture_output=True, text=True, check=False
    )
    if ended.returncode or not answer.exists():
        raise RuntimeError(f"the training failed (exit code {ended.returncode}):\n{ended.stdout}\n{ended.stderr}")
    return json.loads(answer.read_text(encoding="utf-8"))


def resident() -> float:
    """Resident memory of this process in MiB, without memory-mapped files, which the system can drop at any time."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return (int(fields["VmRSS"].split()[0]) - int(fields["RssFile"].split()[0])) / 1024


def peak() -> float:
    """Peak memory of this process so far, in MiB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (MIB if sys.platform == "darwin" else 1024)


def main() -> None:
    """Train in the measured process."""
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    answer = Path(sys.argv[2])
    measured: dict[str, Any] = {"stages": {}, "resident": []}
    begun = time.perf_counter()

    from medcls.cli.importing import import_large

    for name in LIBRARIES:
        import_large(name)
    imported = time.perf_counter()
    measured["imports"] = imported - begun
    for module, _ in STAGES.values():
        import_module(module)
    measured["stages"]["medcls's own modules"] = time.perf_counter() - imported
    for what, (module, name) in STAGES.items():
        setattr(sys.modules[module], name, timed(getattr(sys.modules[module], name), what, measured["stages"]))

    from medcls import train
    from medcls.learning.classifier import Classifier

    def end() -> None:
        measured["peak"] = peak()
        answer.write_text(json.dumps(measured), encoding="utf-8")
        os._exit(0)

    def first_step(classifier: Classifier) -> None:
        if "start" not in measured:
            measured["start"] = time.perf_counter() - imported
            measured["stages"]["the rest"] = measured["start"] - sum(measured["stages"].values())
            manifest = classifier.trainer.datamodule.manifest
            tables = (manifest.rows, manifest.scan)
            measured["manifest"] = sum(int(table.memory_usage(deep=True).sum()) for table in tables) / MIB
            if request["until"] == "first step":
                end()

    def epoch_begins(classifier: Classifier) -> None:
        measured["resident"].append(resident())

    def fit_ends(classifier: Classifier) -> None:
        measured["resident"].append(resident())
        end()

    before(Classifier, "on_train_batch_start", first_step)
    before(Classifier, "on_train_epoch_start", epoch_begins)
    before(Classifier, "on_fit_end", fit_ends)
    sys.argv = ["medcls.train", *request["settings"]]
    train.main()


def timed(work: Callable[..., Any], what: str, into: dict[str, float]) -> Callable[..., Any]:
    """Wrap a function to add up the seconds of its calls."""

    @functools.wraps(work)  # its signature is read
    def instead(*arguments: Any, **settings: Any) -> Any:  # noqa: ANN401
        start = time.perf_counter()
        try:
            return work(*arguments, **settings)
        finally:
            into[what] = into.get(what, 0.0) + time.perf_counter() - start

    return instead


def before(owner: type, hook: str, note: Callable[[Any], None]) -> None:
    """Call `note` before a hook of a class."""
    original = getattr(owner, hook)

    def instead(self: Any, *arguments: Any) -> Any:  # noqa: ANN401
        note(self)
        return original(self, *arguments)

    setattr(owner, hook, instead)


if __name__ == "__main__":
    main()
