"""Whether test images of earlier runs are in training now."""

from collections.abc import Sequence

import pandas as pd

from medcls.auditing.findings import MOST_SHOWN, Finding, Level
from medcls.runs.registry import Meeting
from medcls.wording import counted


def locked_test(met: Sequence[Meeting] | None) -> list[Finding]:
    """Test images of earlier runs that are in training now; nothing if this was not looked up.

    An error if the same settings gave another split, because the images have changed; information if other settings
    did, as asked. There is one finding a level, not one a run, since every earlier split by another seed shares images
    with this training.
    """
    if met is None:
        return []
    if not met:
        return [Finding("locked_test", "good", "No test image of an earlier run on this folder is in training")]
    levels: dict[Level, list[Meeting]] = {
        "error": [meeting for meeting in met if meeting.same_settings],
        "information": [meeting for meeting in met if not meeting.same_settings],
    }
    return [_finding(level, meetings) for level, meetings in levels.items() if meetings]


def _finding(level: Level, met: Sequence[Meeting]) -> Finding:
    paths = sorted({path for meeting in met for path in meeting.paths})
    runs = f"the run {met[0].run} ({met[0].date})" if len(met) == 1 else f"{len(met)} earlier runs"
    return Finding(
        "locked_test",
        level,
        f"{counted(len(paths), 'test image')} of {runs} in training now",
        "Results of the two runs cannot be compared, and the test of a network or setting from the earlier run is "
        "biased. data.locked_test=<that run's manifest.csv> keeps its test split; or leave the images out (if this is "
        "an error, audit.fix=exclude lists them for data.exclude_file).",
        {"images": len(paths), "runs": len(met)},
        pd.DataFrame([{"run": each.run, "date": each.date, "images": len(each.paths)} for each in met]),
        images=tuple(paths[:MOST_SHOWN]),
        exclude=tuple(paths) if level == "error" else (),
    )
