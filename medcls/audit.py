"""Find errors in a data set before training on it: `python -m medcls.audit data.root=/my/images`."""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from medcls.cli.audit_settings import check_settings, read_images, requested_decoding, try_to_split
from medcls.cli.building import plain
from medcls.cli.data_source import make_paths_absolute, source_settings, split_settings
from medcls.cli.entry_point import run_command
from medcls.cli.invocation import command_line
from medcls.cli.output_folder import claimed_folder
from medcls.errors import typed
from medcls.runs.run_folder import RunFolder
from medcls.signatures import named_functions

if TYPE_CHECKING:
    # Heavy imports are made where they are used, so that a typo is reported before anything is loaded.
    from medcls.auditing.findings import Finding

# Not __name__, which is __main__ when the file runs as a module.
log = logging.getLogger("medcls.audit")


def main() -> None:
    """Run the command; exit with 1 if a data set has an error, else with 0."""
    errors: list[int] = []
    run_command(lambda cfg: errors.append(run(cfg)), "audit")
    sys.exit(int(any(errors)))


def run(cfg: DictConfig) -> int:
    """Audit into the folder that Hydra chose; leave no folder behind if the audit fails."""
    with claimed_folder() as folder:
        make_paths_absolute(cfg)
        folder.refuse_within(cfg.data.root)
        return audit(cfg, folder)


def audit(cfg: DictConfig, folder: RunFolder) -> int:
    """Audit the images that `cfg` (see `conf/audit.yaml`) names, and write the page; return the number of errors."""
    from medcls.auditing.checks import check
    from medcls.auditing.exclusions import emptied_classes
    from medcls.auditing.page import PageSettings, page
    from medcls.auditing.record import record
    from medcls.data.manifest import read_exclusions
    from medcls.evaluation.sample_size import check_half_width
    from medcls.runs.registry import met_in_training
    from medcls.workflow import terminal

    check_settings(cfg)
    half_width = check_half_width(cfg.precision_of_sensitivity)
    own_checks = named_functions(plain(cfg.audit.checks), "audit.checks")
    # The page shows images in 8 bits.
    decoding = dataclasses.replace(requested_decoding(cfg), bits=8)
    terminal.start_log()
    settings = split_settings(cfg)
    manifest = read_images(cfg)
    split_manifest, findings = try_to_split(manifest, settings)
    met = None if split_manifest is None else met_in_training(split_manifest, settings | source_settings(cfg))
    with terminal.progress("checking the images") as progress:
        findings += check(
            manifest,
            split_manifest,
            resize=cfg.data.resize or "squash",
            met=met,
            half_width=half_width,
            others=own_checks,
            progress=progress,
        )
    findings += emptied_classes(manifest, findings)
    known = manifest if split_manifest is None else split_manifest
    layout = page(
        known,
        findings,
        PageSettings(
            name=str(cfg.data.name),
            command=command_line("audit"),
            made=datetime.now().astimezone(),
            decoding=decoding,
            pictures=cfg.audit.pictures,
            paths=cfg.audit.paths,
            elsewhere=[meeting.run for meeting in met or ()] + [str(cfg.data.locked_test)],
        ),
    )

    folder.begin("audit.log")
    folder.write_text("manifest.csv", known.to_csv())
    folder.write_json("audit.json", record(known, findings))
    folder.write_text(folder.audit_page.name, layout)
    show_findings(findings)
    if cfg.audit.fix == "exclude":
        write_exclusions(folder, findings, read_exclusions(cfg.data.exclude_file))
    log.info("the page: %s", folder.audit_page)
    return sum(finding.level == "error" for finding in findings)


def show_findings(findings: Sequence[Finding]) -> None:
    """Print one line for each finding, the most severe first."""
    import pandas as pd

    from medcls.auditing.findings import LEVELS
    from medcls.workflow import terminal

    ordered = sorted(findings, key=lambda finding: LEVELS.index(finding.level))
    table = pd.DataFrame([(finding.level, finding.title) for finding in ordered], columns=["level", "finding"])
    terminal.show_table(table, "Findings")


def write_exclusions(folder: RunFolder, findings: Sequence[Finding], before: Sequence[str]) -> None:
    """Write the list for `data.exclude_file`, with the reasons; no image is deleted or moved.

    Parameters
    ----------
    before : sequence of str
        The images of the current list, which the new one includes.
    """
    from medcls.auditing.exclusions import exclusions
    from medcls.workflow import terminal

    text, listed, unlisted = exclusions(findings, before)
    for path in unlisted:
        log.warning("%r cannot be listed, because it has a line break: rename it, or name it in data.exclude", path)
    if not listed:
        log.info("audit.fix=exclude: no image to leave out was found, so no list was written")
        return
    written = folder.write_text("exclude.txt", text)
    log.info("%s lists %d image(s). To leave them out, add:", written, listed)
    terminal.show_line(typed("data.exclude_file", os.path.relpath(written)))


if __name__ == "__main__":
    main()
