"""The sections of a report about the run: its data, its training, and the reporting standards."""

import dataclasses
import json
from collections.abc import Sequence

from medcls.evaluation.assessment import Assessment
from medcls.report.checklists import Item
from medcls.report.pages.names import Names
from medcls.report.pages.parts import Cell, Sheet, numeric_sheet, splits_sheet
from medcls.report.phrases import learned_from
from medcls.report.sources import Sources
from medcls.statistics.digits import rounded

_LEVELS = ("error", "warning", "information", "good")


@dataclasses.dataclass(frozen=True)
class ShownFinding:
    """A finding of the audit, as the report shows it."""

    level: str
    title: str
    text: str


@dataclasses.dataclass(frozen=True)
class Checklist:
    """The items of a reporting standard, and how many of them the run answers."""

    standard: str
    answered: int
    sheet: Sheet


def settings(sources: Sources) -> str | None:
    """List the configuration, one setting a line."""
    if sources.config is None:
        return None
    return "\n".join(
        f"{name}={value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)}"
        for name, value in sources.config.flat().items()
    )


def splits(assessment: Assessment, sources: Sources) -> Sheet | None:
    """Images by class and split."""
    table, suffix = sources.splits, ": images"
    if table is None:
        return None
    classes = [name.removesuffix(suffix) for name in table.columns if name.endswith(suffix)]
    groups = bool((assessment.table.rows["group"] != "").any())
    return splits_sheet(table, classes, assessment.table.positive, groups=groups)


def training_duplicates(sources: Sources) -> str | None:
    """Describe how many images of an external set are also in the run."""
    if sources.training_duplicates is None:
        return None
    return f"Images of the external set that are also in the run (compared by pixels): {sources.training_duplicates:,}."


def findings(sources: Sources, paths: bool) -> list[ShownFinding] | None:
    """List the findings of the audit, the worst first; without paths, only which checks were made."""
    if sources.audit is None:
        return None
    return [
        ShownFinding(
            finding.level,
            finding.title if paths else finding.check.replace("_", " "),
            finding.text if paths and finding.level in ("error", "warning") else "",
        )
        for finding in sorted(sources.audit.findings, key=lambda finding: _LEVELS.index(finding.level))
    ]


def training(sources: Sources, paths: bool) -> list[tuple[str, str | None]]:
    """List what was trained, on what, and which epoch was kept; None for what is unknown."""
    weights, environment = sources.weights, sources.environment
    # The summary of the network is the last paragraph.
    network = None if sources.model is None else sources.model.strip().split("\n\n")[-1].splitlines()
    epochs = None if sources.history is None else f"{int(sources.history['epoch'].max()) + 1}"
    if epochs is not None and sources.best_epoch is not None:
        epochs += f"; the checkpoint is from epoch {sources.best_epoch}, counted from 0"
    initial = None
    if weights is not None:
        initial = weights.summary if paths else f"{weights.loaded} of {weights.tensors} tensors were loaded"
        if not paths and weights.licence:
            initial += f" (licence {weights.licence})"
        for origin in weights.learned_from:
            initial += f"; of {learned_from(origin['name'], origin['images'], origin['near_duplicates'])}"
    rows = [
        ("Network", None if network is None else "; ".join(" ".join(line.split()) for line in network)),
        ("Initial weights", initial),
        *_teacher(sources, paths),
        ("Epochs", epochs) if sources.probe is None else ("Fitted", sources.probe.statements["method"]),
    ]
    if (limited := sources.images_per_epoch()) is not None:
        rows.append(("Images per epoch", f"{limited[0]:,} of {limited[1]:,} (trainer.limit_train_batches)"))
    if environment is None:
        return [*rows, ("Device", None), ("Software", None)]
    packages = ", ".join(f"{name} {version}" for name, version in environment.packages.items())
    return [
        *rows,
        ("Device", f"{environment.device}, {environment.platform}"),
        ("Software", f"Python {environment.python}, {packages}"),
    ]


def _teacher(sources: Sources, paths: bool) -> list[tuple[str, str | None]]:
    """The run that taught this one, and how; empty without one."""
    teacher = sources.teacher
    if teacher is None:
        return []
    where = f"{teacher.run}, " if paths else ""
    settings = ", ".join(f"{name} {value}" for name, value in teacher.settings.items())
    origin = learned_from(teacher.name, teacher.images, teacher.near_duplicates)
    loss = f"{teacher.loss.rpartition('.')[2]} ({settings})"
    return [("Teacher", f"{where}weights {teacher.checkpoint}, on the training images alone, by {loss}: {origin}")]


def probe_table(sources: Sources) -> Sheet | None:
    """AUROC of a linear probe, of shortcuts, and the difference."""
    if sources.probe is None:
        return None
    found = sources.probe.difference

    def shown(name: str) -> str:
        return "undefined" if found[name] is None else rounded(found[name])

    limits = "" if found["low"] is None else f"{found['low']:+.3f} to {found['high']:+.3f}"
    rows = [
        ["Features of the images", shown("first"), ""],
        ["Shortcuts only", shown("second"), ""],
        ["Difference", shown("difference"), limits],
    ]
    return numeric_sheet(["Out of fold", "AUROC", "95% interval"], rows)


def phases(sources: Sources, names: Names) -> Sheet | None:
    """Freezing phases, with their first and last epochs."""
    if not sources.phases:
        return None
    rows = [[names.within(frozen), str(first), str(after - 1)] for frozen, first, after in sources.phases]
    return numeric_sheet(["Frozen", "First epoch", "Last epoch"], rows)


def checklists(items: Sequence[Item], names: Names) -> list[Checklist]:
    """Group the items by standard."""
    by_standard: dict[str, list[Item]] = {}
    for item in items:
        by_standard.setdefault(item.standard, []).append(item)
    return [
        Checklist(standard, sum(item.answer is not None for item in group), _items_sheet(group, names))
        for standard, group in by_standard.items()
    ]


def _items_sheet(items: Sequence[Item], names: Names) -> Sheet:
    rows = tuple(
        (
            Cell(item.number),
            Cell(item.topic, note=item.section),
            Cell("not provided" if item.answer is None else names.within(item.answer)),
        )
        for item in items
    )
    return Sheet(("Item", "Topic", "Answer"), (False, False, False), rows, headed=True)
