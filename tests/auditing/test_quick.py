"""What a training says of its data before it begins."""

import logging
import shutil

from medcls.auditing.quick import audit_quickly
from medcls.data.sources.folders import from_folders
from medcls.data.splits.split import split


def test_errors_and_warnings_are_logged_in_one_line_each(folder, caplog):
    root = folder({"train/a": 12, "train/b": 12, "test/a": 4, "test/b": 4})
    shutil.copy(next((root / "test" / "a").iterdir()), root / "train" / "a" / "leak.png")
    manifest = from_folders(root, positive="a")
    divided = split(manifest)
    log = logging.getLogger("medcls.auditing.quick")
    caplog.set_level(logging.INFO, log.name)
    log.addHandler(caplog.handler)
    try:
        findings = audit_quickly(manifest, divided, {"seed": 0}, resize="squash")
    finally:
        log.removeHandler(caplog.handler)
    loud = [finding for finding in findings if finding.level in ("error", "warning")]
    lines = [record for record in caplog.records if record.name == log.name]
    assert {finding.check for finding in loud} >= {"small_test"}
    told = {line.getMessage() for line in lines if line.levelno >= logging.WARNING}
    assert told == {f"audit: {finding.title} ({finding.check})" for finding in loud}
    # The duplicate that the split has left out is a note.
    assert {line.levelname for line in lines} <= {"INFO", "WARNING"}
    assert {finding.check: finding.level for finding in findings}["copies_test_train"] == "information"
    assert {line.levelno for line in lines if getattr(line, "rule", "") == "copies_test_train"} == {logging.INFO}
    assert {finding.level for finding in findings} & {"good", "information"}
