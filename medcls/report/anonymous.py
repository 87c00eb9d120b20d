"""Names for a report that is handed on: images, groups and paths are replaced by numbers."""

import dataclasses
import re
from collections.abc import Sequence

from medcls.evaluation.assessment import Assessment
from medcls.evaluation.predictions import KEPT_TOGETHER, Predictions
from medcls.report.pages.names import Names, numbered
from medcls.report.sources import Sources

PATH = re.compile(r"""(?:~|[A-Za-z]:)?[/\\][^\s,;:'"()]+ | [^\s,;:'"()=]+\.[A-Za-z]\w{2,3}(?![\w.=])""", re.VERBOSE)
"""Matches what looks like a path in a text: an absolute path, or a file name."""

NAMING = ("group", "path", KEPT_TOGETHER)
"""Columns whose values name patients or files."""


def anonymous_names(tables: Sequence[Predictions], sources: Sources) -> Names:
    """Name row n of the first table "image n", number the groups, and replace all paths of the run."""
    instead = dict.fromkeys(_paths(sources), "(a path)")
    for table in reversed(tables):
        instead |= numbered(table.rows, "" if table is tables[0] else f" of {table.split}")
    return Names(instead)


def without_names(assessment: Assessment, names: Names) -> Assessment:
    """Return a copy whose subgroups by patient or image are named by `names`."""
    subgroups = tuple(
        dataclasses.replace(
            column,
            groups=tuple(dataclasses.replace(group, name=names.of(group.name)) for group in column.groups),
        )
        if column.column in NAMING
        else column
        for column in assessment.subgroups
    )
    return dataclasses.replace(assessment, subgroups=subgroups)


def _paths(sources: Sources) -> set[str]:
    """Collect every path in the records of the run."""
    audit, weights = sources.audit, sources.weights
    texts = [] if sources.config is None else [text for text in sources.config.flat().values() if isinstance(text, str)]
    if weights is not None:
        texts += [text for text in (weights.source, weights.file, weights.summary) if text is not None]
        texts += [str(origin["run"]) for origin in weights.learned_from]
    texts += [] if sources.teacher is None else [sources.teacher.run]
    paths = {text for text in [*texts, "" if audit is None else audit.root] if re.search(r"[/\\]", text)}
    for finding in () if audit is None else audit.findings:
        paths |= {*finding.images, *finding.exclude}
        paths |= {pair[side] for pair in finding.pairs for side in ("first", "second")}
        paths |= {str(row["path"]) for row in finding.table if "path" in row}
        paths |= set(PATH.findall(f"{finding.title} {finding.text}"))
    return {path for path in paths if len(path) > 1}
