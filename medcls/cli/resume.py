"""`resume=RUN`: a run goes on in its own folder, by its own configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from medcls.cli.building import plain
from medcls.cli.stored_configuration import check_trust, read_run_configuration
from medcls.errors import MedclsError, typed

MAY_CHANGE_ON_RESUME = (
    "trainer.max_epochs",
    "data.root",
    "data.csv",
    "data.workers",
    "keep_memory",
    "compile",
    "evaluate_test",
    "trust",
    "verbose",
)


def resume_in_same_folder(argv: list[str]) -> None:
    """`resume=RUN` continues in RUN: its own configuration rules, and nothing but paths and epochs may change."""
    overrides = OverridesParser.create().parse_overrides([a for a in argv[1:] if "=" in a and not a.startswith("-")])
    given = {override.key_or_group: override.value() for override in overrides}
    if given.get("resume") is None:
        return
    folder = Path(str(given["resume"])).expanduser()
    begun, last = (folder / "config.yaml").is_file(), (folder / "checkpoints" / "last.ckpt").is_file()
    if begun and not last and not (folder / "predictions").exists():
        raise MedclsError(
            f"resume={folder}: this run was stopped before its first epoch was finished, and there is nothing to go on "
            f"with. Give the command that began it once more; with {typed('hydra.run.dir', str(folder))} it starts "
            "over in the same folder.",
            kind="nothing_to_resume",
        )
    if not begun or not last:
        raise MedclsError(
            f"resume={folder}: this folder holds no run that can go on (it needs config.yaml and "
            "checkpoints/last.ckpt).",
            kind="nothing_to_resume",
        )
    if any(argument in ("-m", "--multirun") for argument in argv):
        raise MedclsError("resume goes on with one run: leave out -m.", kind="resume_of_a_sweep")
    refused = [key for key in given if key != "resume" and key not in MAY_CHANGE_ON_RESUME]
    if refused:
        raise MedclsError(
            f"resume={folder} goes on with that run's own settings, so {', '.join(refused)} cannot change. What can: "
            f"{', '.join(MAY_CHANGE_ON_RESUME)}. For other settings, start a new run from its weights: "
            f"model.weights={folder}",
            kind="not_changed_on_resume",
        )
    inner = str(folder).replace("'", "\\'")
    argv.append(f"hydra.run.dir='{inner}'")


def resumed_configuration(cfg: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """The configuration to go on with: the run's own, and the few overrides that apply."""
    trust = check_trust(cfg)
    own = read_run_configuration(Path(str(cfg.resume)).expanduser(), trust=trust)
    if missing := [name for name in ("data", "model", "schedule", "trainer", "seed") if name not in own]:
        raise MedclsError(
            f"{cfg.resume}/config.yaml is no configuration of a run: it has no {', '.join(missing)}. Bring it back as "
            "the training wrote it.",
            kind="damaged_configuration",
        )
    changed = {override.key_or_group for override in OverridesParser.create().parse_overrides(list(overrides))}
    former = str(own.data.root)
    for key in changed & set(MAY_CHANGE_ON_RESUME):
        OmegaConf.update(own, key, OmegaConf.select(cfg, key))
    for key in changed & {"data.root", "data.csv"}:
        OmegaConf.update(own, key, str(Path(str(OmegaConf.select(own, key))).expanduser().absolute()))
    # The saved configuration is resolved: what once referred to data.root now holds a copy of it.
    OmegaConf.update(own, "data.source.root", own.data.root)
    if (tables := plain(own.data.get("csv"))) is not None:
        own.data.csv = _moved(tables, former, str(own.data.root))
        OmegaConf.update(own, "data.source.csv", own.data.csv)
    own.resume, own.trust = str(cfg.resume), trust  # a folder does not say itself that it is trusted
    return own


def _moved(tables: str | list[str], former: str, root: str) -> str | list[str]:
    """Where tables that lay in the former folder of images lie now."""
    if isinstance(tables, list):
        return [str(_moved(table, former, root)) for table in tables]
    return root + tables.removeprefix(former) if tables.startswith(former + "/") else tables
