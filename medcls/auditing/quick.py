"""The audit at the start of every training: what costs nothing to look at once the images have been read."""

import dataclasses
import logging
from collections.abc import Mapping

from medcls.auditing.checks import check
from medcls.auditing.findings import Finding
from medcls.auditing.leaks import settled
from medcls.auditing.locked import earlier_tests
from medcls.data.manifest import Manifest

log = logging.getLogger(__name__)

LOUDNESS = {"error": logging.ERROR, "warning": logging.WARNING}


def audit_quickly(
    manifest: Manifest, divided: Manifest, settings: Mapping[str, object], *, resize: str, half_width: float = 0.05
) -> list[Finding]:
    """Run the quick checks, and log each error and each warning in one line.

    Copies that the split has left out of training, or kept on one side, are no fault of the run: they are information.

    Parameters
    ----------
    manifest, divided : Manifest
        As it was read, and split.
    settings : mapping
        What it was split by, as `medcls.runs.registry.remember_test` takes it.
    resize : str
        The policy by which the network will see the images.
    half_width : float
        As of `check`.

    Returns
    -------
    list of Finding
        All of them, for the run folder's `audit.json`.
    """
    found = check(manifest, divided, resize=resize, met=earlier_tests(divided, settings), half_width=half_width)
    in_run = [finding for finding in found if finding.check.startswith("leak")]
    findings = [_as_settled(finding) if settled(finding, in_run) else finding for finding in found]
    for finding in findings:
        if finding.level in LOUDNESS:
            told, extra = " ".join(finding.title.split()), {"rule": finding.check}
            log.log(LOUDNESS[finding.level], "audit: %s (%s)", told, finding.check, extra=extra)
        elif finding.check == "small_test":  # what the test can tell is worth a line before anything is trained
            log.info("audit: %s", " ".join(finding.title.split()))
    return findings


def _as_settled(finding: Finding) -> Finding:
    """The same as a note."""
    if finding.level not in LOUDNESS:
        return finding
    told, extra = " ".join(finding.title.split()), {"rule": finding.check}
    log.info("audit: %s: settled in this run's splits (%s)", told, finding.check, extra=extra)
    text = f"Of the images as they came; in this run's splits nothing is left of it. {finding.text}"
    return dataclasses.replace(finding, level="information", text=text)
