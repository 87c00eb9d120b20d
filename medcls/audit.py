"""Find what is wrong with a data set before a network sees it: `python -m medcls.audit data.root=/my/images`."""

from __future__ import annotations

import dataclasses
import logging
import os
import shlex
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from medcls.cli.audit_settings import check_settings, read_images, requested_decoding, try_to_split
from medcls.cli.building import plain
from medcls.cli.data_source import make_paths_absolute, source_settings, split_settings
from medcls.cli.entry_point import run_command
from medcls.errors import typed
from medcls.runs.run_folder import RunFolder
from medcls.signatures import named_functions

if TYPE_CHECKING:
    # Everything heavy is imported where it is used, so that a typo is answered before anything is loaded.
    from medcls.auditing.findings import Finding

# Run as a module, this file is called __main__; its log belongs to medcls all the same.
log = logging.getLogger("medcls.audit")


def main() -> None:
    """Run the command; exit code 1 where a data set has an error, 0 where it has none."""
    errors: list[int] = []
    run_command(lambda cfg: errors.append(run(cfg)), "audit")
    sys.exit(int(any(errors)))


def run(cfg: DictConfig) -> int:
    """Audit into the folder that Hydra chose; leave nothing there if there was nothing to audit."""
    folder = RunFolder(Path(HydraConfig.get().runtime.output_dir))
    try:
        folder.claim()
        folder.refuse_if_taken()
        make_paths_absolute(cfg)
        folder.refuse_within(cfg.data.root)
        return audit(cfg, folder)
    finally:
        folder.close()


def audit(cfg: DictConfig, folder: RunFolder) -> int:
    """One audit, from images to a page: how many findings are errors. `cfg` is as `conf/audit.yaml` describes it."""
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
    others = named_functions(plain(cfg.audit.checks), "audit.checks")
    # Shown in 8 bits, whatever the network will get.
    decoding = dataclasses.replace(requested_decoding(cfg), bits=8)
    terminal.start_log()
    settings = split_settings(cfg)
    manifest = read_images(cfg)
    divided, findings = try_to_split(manifest, settings)
    met = None if divided is None else met_in_training(divided, settings | source_settings(cfg))
    with terminal.progress("looking for faults") as progress:
        findings += check(
            manifest,
            divided,
            resize=cfg.data.resize or "squash",
            met=met,
            half_width=half_width,
            others=others,
            progress=progress,
        )
    findings += emptied_classes(manifest, findings)
    known = manifest if divided is None else divided
    layout = page(
        known,
        findings,
        PageSettings(
            name=str(cfg.data.name),
            command=f"python -m medcls.audit {shlex.join(sys.argv[1:])}",
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
    """Print one line a finding, the worst first."""
    import pandas as pd

    from medcls.auditing.findings import LEVELS
    from medcls.workflow import terminal

    ordered = sorted(findings, key=lambda finding: LEVELS.index(finding.level))
    table = pd.DataFrame([(finding.level, finding.title) for finding in ordered], columns=["level", "finding"])
    terminal.show_table(table, "Findings")


def write_exclusions(folder: RunFolder, findings: Sequence[Finding], before: Sequence[str]) -> None:
    """Write the list that `data.exclude_file` takes, with the reasons; no image is deleted or moved.

    Parameters
    ----------
    before : sequence of str
        What a former list already leaves out, and the new one goes on leaving out.
    """
    from medcls.auditing.exclusions import exclusions
    from medcls.workflow import terminal

    text, listed, unlisted = exclusions(findings, before)
    for path in unlisted:
        log.warning("%r cannot stand in a list of one path a line: rename it, or name it in data.exclude", path)
    if not listed:
        log.info("audit.fix=exclude: no image to leave out was found, and no list was written")
        return
    written = folder.write_text("exclude.txt", text)
    log.info("%d image(s) are listed in %s. To leave them out, add:", listed, written)
    terminal.show_line(typed("data.exclude_file", os.path.relpath(written)))


if __name__ == "__main__":
    main()
