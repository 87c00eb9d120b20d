"""What a run folder knows besides predictions, read for its report."""

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import pandas as pd

from medcls.csv_escaping import unescaped
from medcls.data.reading.decoded import UnreadableImage
from medcls.data.reading.thumbnails import thumbnail
from medcls.errors import MedclsError
from medcls.inference.load import Loaded
from medcls.preprocessing import Decoding
from medcls.report.limitations import LEAK
from medcls.report.pages.parts import Thumbnail
from medcls.report.sources import Drawn, Sources
from medcls.runs import records
from medcls.runs.records import Audit, Configuration, Environment, InitialWeights, Probe, TeacherRun
from medcls.runs.run_folder import RunFolder
from medcls.workflow import training_plots
from medcls.workflow.report_settings import PageSettings


def sources_of_run(
    run: RunFolder, loaded: Loaded, page: PageSettings, named: tuple[str, str], images: Path | None
) -> Sources:
    """Read the records of a run folder.

    Parameters
    ----------
    loaded : Loaded
        The best checkpoint.
    page : PageSettings
    named : tuple of str
        Title of the report, and command line.
    images : Path or None
        Folder of the images, for thumbnails.

    Raises
    ------
    MedclsError
        A damaged file.
    """
    config = Configuration.read(run.path)
    try:
        history = training_plots.read_history(run.logs)
        epochs = 0 if history.empty else int(history["epoch"].max()) + 1
        splits = unescaped(pd.read_csv(run.path / "splits.csv")) if (run.path / "splits.csv").is_file() else None
        model = (run.path / "model.txt").read_text(encoding="utf-8") if (run.path / "model.txt").is_file() else None
    except (ValueError, KeyError) as error:
        raise MedclsError(
            f"{run.path}: the metrics in logs, splits.csv or model.txt are damaged ({error!r}). Restore them, or "
            "remove them to go on without them.",
            kind="damaged_file",
        ) from error
    phases = None if config is None else config.setting("schedule.phases")
    return Sources(
        name=named[0],
        made=datetime.now().astimezone(),
        command=named[1],
        purpose=page.purpose,
        watermarks=loaded.watermarks,
        config=config,
        audit=records.read(run.path / "audit.json", Audit),
        weights=records.read(run.path / "weights.json", InitialWeights),
        environment=records.read(run.path / "environment.json", Environment),
        preprocessing=loaded.preprocessing.to_plain(),
        splits=splits,
        model=model,
        history=None if history.empty else history,
        phases=None if phases is None else tuple(training_plots.phases(phases, epochs)),
        drawn=_training_plots(run),
        probe=records.read(run.path / "probe.json", Probe),
        teacher=records.read(run.path / "teacher.json", TeacherRun),
        best_epoch=loaded.epoch,
        thumbnail=None
        if images is None or not page.images
        else lambda path: read_thumbnail(images / path, loaded.preprocessing.decoding),
    )


def audit_of_folds(folds: Mapping[int, RunFolder]) -> Audit | None:
    """Join the audits of a cross-validation: leaks of each fold, all other findings once.

    Parameters
    ----------
    folds : mapping
        Runs by number of the fold; they differ in the splits only.
    """
    audits = {fold: records.read(run.path / "audit.json", Audit) for fold, run in folds.items()}
    found = {fold: audit for fold, audit in audits.items() if audit is not None}
    if not found:
        return None
    leaks = [
        dataclasses.replace(finding, title=f"In fold {fold} {finding.title}")
        for fold, audit in found.items()
        for finding in audit.findings
        if finding.check.startswith(LEAK)
    ]
    first = next(iter(found.values()))
    others = [
        finding
        for finding in first.findings
        # "leaks" reports that there are none in this fold.
        if not finding.check.startswith(LEAK) and not (leaks and finding.check == "leaks")
    ]
    return dataclasses.replace(first, findings=(*leaks, *others))


def _training_plots(run: RunFolder) -> tuple[Drawn, ...]:
    path = run.figures / "training.svg"
    text = (
        "Loss and metrics by epoch, the learning rate, and what was frozen. Where the validation loss rises while the "
        "training loss falls, the network overfits."
    )
    return (Drawn("training", "Learning curves", text, path),) if path.is_file() else ()


def read_thumbnail(path: Path, decoding: Decoding) -> Thumbnail:
    """Return a thumbnail for the report, or why the file cannot be read."""
    try:
        return Thumbnail(*thumbnail(path, decoding))
    except UnreadableImage as error:
        return Thumbnail(reason=error.reason)
