"""The audit at the start of every training, on the scan of the images."""

import dataclasses
import logging
from collections.abc import Mapping

from medcls.auditing.checks import check
from medcls.auditing.findings import Finding
from medcls.auditing.leaks import settled
from medcls.data.manifest import Manifest
from medcls.runs.registry import met_in_training

log = logging.getLogger(__name__)

LOG_LEVELS = {"error": logging.ERROR, "warning": logging.WARNING}


def audit_quickly(
    manifest: Manifest, divided: Manifest, settings: Mapping[str, object], *, resize: str, half_width: float = 0.05
) -> list[Finding]:
    """Run the checks, and log each error and each warning in one line.

    Duplicates that the split has left out of training, or kept in one split, are information. `settings` are those of
    the split, as `medcls.runs.registry.remember_test` takes them; for the others see `check`.
    """
    found = check(manifest, divided, resize=resize, met=met_in_training(divided, settings), half_width=half_width)
    in_run = [finding for finding in found if finding.check.startswith("leak")]
    findings = [_as_settled(finding) if settled(finding, in_run) else finding for finding in found]
    for finding in findings:
        if finding.level in LOG_LEVELS:
            title, extra = " ".join(finding.title.split()), {"rule": finding.check}
            log.log(LOG_LEVELS[finding.level], "audit: %s (%s)", title, finding.check, extra=extra)
        elif finding.check == "small_test":  # the precision of the test is worth a line before training
            log.info("audit: %s", " ".join(finding.title.split()))
    return findings


def _as_settled(finding: Finding) -> Finding:
    """The same as information."""
    if finding.level not in LOG_LEVELS:
        return finding
    title, extra = " ".join(finding.title.split()), {"rule": finding.check}
    log.info("audit: %s: no effect in this run's splits (%s)", title, finding.check, extra=extra)
    text = f"Of the data as they came; without effect in this run's splits. {finding.text}"
    return dataclasses.replace(finding, level="information", text=text)
