"""`resume=RUN`: continue a run in its own folder, with its own configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from medcls.cli import sweeps
from medcls.cli.building import plain
from medcls.cli.data_source import make_paths_absolute
from medcls.cli.stored_configuration import check_trust, read_run_configuration
from medcls.errors import MedclsError, typed
from medcls.runs.records import Configuration
from medcls.runs.run_folder import RunFolder
from medcls.runs.stored import refuse_trackers

MAY_CHANGE_ON_RESUME = (
    "trainer.max_epochs",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.sync_batchnorm",
    "data.root",
    "data.csv",
    "teacher",
    "data.workers",
    "keep_memory",
    "compile",
    "evaluate_test",
    "logger",
    "checkpoint_minutes",
    "trust",
    "verbose",
)

# Settings that are null until a run chooses their values, which its configuration records.
CHOSEN_BY_THE_RUN = ("exact_batch_norm", "model.network.img_size")


def resume_in_same_folder(arguments: list[str]) -> None:
    """Make Hydra use the folder of the run that `resume=RUN` names; refuse settings that may not change."""
    overrides = OverridesParser.create().parse_overrides([a for a in arguments if "=" in a and not a.startswith("-")])
    typed_values = {override.key_or_group: override.value() for override in overrides}
    if typed_values.get("resume") is None:
        return
    folder = Path(str(typed_values["resume"])).expanduser()
    begun, last = (folder / "config.yaml").is_file(), (folder / "checkpoints" / "last.ckpt").is_file()
    if begun and not last and not (folder / "predictions").exists():
        raise MedclsError(
            f"resume={folder}: this run was stopped before its first epoch was finished, so there is nothing to resume "
            f"from. Repeat the command that started it; with {typed('hydra.run.dir', str(folder))} it starts over in "
            "the same folder.",
            kind="nothing_to_resume",
        )
    if not begun or not last:
        raise MedclsError(
            f"resume={folder}: this folder holds no run that can be resumed (it needs config.yaml and "
            "checkpoints/last.ckpt).",
            kind="nothing_to_resume",
        )
    if any(argument in ("-m", "--multirun") for argument in arguments):
        raise MedclsError("resume continues one run: leave out -m.", kind="resume_of_a_sweep")
    refused = [key for key in typed_values if key != "resume" and _setting(key) not in MAY_CHANGE_ON_RESUME]
    if refused:
        raise MedclsError(
            f"resume={folder} keeps that run's settings, so {', '.join(refused)} cannot change. These can: "
            f"{', '.join(MAY_CHANGE_ON_RESUME)}. For other settings, start a new run from its weights: "
            f"model.weights={folder}",
            kind="not_changed_on_resume",
        )
    escaped = str(folder).replace("'", "\\'")
    arguments.append(f"hydra.run.dir='{escaped}'")


def is_begun_job(cfg: DictConfig, folder: RunFolder) -> bool:
    """Whether this is a job of a sweep whose run was begun in its folder, by the same command or before a requeue.

    Raises
    ------
    MedclsError
        The folder has a run with other settings.
    """
    if not sweeps.is_sweep() or cfg.resume or not folder.last.is_file():
        return False
    requested = cfg.copy()
    make_paths_absolute(requested)
    settings = Configuration(plain(requested)).flat()
    own = Configuration(plain(read_run_configuration(folder.path, trust=check_trust(cfg)))).flat()
    for key in [key for key in CHOSEN_BY_THE_RUN if settings.get(key) is None]:
        settings.pop(key, None)
    may_change = (*MAY_CHANGE_ON_RESUME, "resume", "data.source.root", "data.source.csv")
    if differing := [key for key in settings if settings[key] != own.get(key) and key not in may_change]:
        key = differing[0]
        raise MedclsError(
            f"{folder.path} has a run with other settings, such as {key}={own.get(key)} instead of {settings[key]}: "
            "give the sweep another folder (hydra.sweep.dir).",
            kind="folder_taken",
        )
    return True


def resumed_configuration(cfg: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """The configuration of a resumed run: its own, with the few overrides that are allowed; of a new one, `cfg`."""
    if not cfg.resume:
        return cfg
    trust = check_trust(cfg)
    own = read_run_configuration(Path(str(cfg.resume)).expanduser(), trust=trust)
    if missing := [name for name in ("data", "model", "schedule", "trainer", "seed") if name not in own]:
        raise MedclsError(
            f"{cfg.resume}/config.yaml is not the configuration of a run: it has no {', '.join(missing)}. Restore the "
            "file that the training wrote.",
            kind="damaged_configuration",
        )
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    changed = {_setting(override.key_or_group) for override in parsed}
    if "logger" not in changed and not trust:
        refuse_trackers(plain(own.get("logger")), f"{cfg.resume}/config.yaml")
    former_root = str(own.data.root)
    for key in changed & set(MAY_CHANGE_ON_RESUME):
        OmegaConf.update(own, key, OmegaConf.select(cfg, key), merge=False)
    for key in changed & {"data.root", "data.csv", "teacher"}:
        OmegaConf.update(own, key, str(Path(str(OmegaConf.select(own, key))).expanduser().absolute()))
    # The saved configuration is resolved: data.source.root is a copy of data.root.
    OmegaConf.update(own, "data.source.root", own.data.root)
    if (tables := plain(own.data.get("csv"))) is not None:
        own.data.csv = _moved(tables, former_root, str(own.data.root))
        OmegaConf.update(own, "data.source.csv", own.data.csv)
    own.resume, own.trust = str(cfg.resume), trust  # a run folder cannot set its own trust
    return own


def _setting(key: str) -> str:
    """The name under which `MAY_CHANGE_ON_RESUME` has a setting: loggers change as one."""
    return "logger" if key.partition(".")[0] == "logger" else key


def _moved(tables: str | list[str], former_root: str, root: str) -> str | list[str]:
    """Replace the former root at the start of the tables' paths."""
    if isinstance(tables, list):
        return [str(_moved(table, former_root, root)) for table in tables]
    return root + tables.removeprefix(former_root) if tables.startswith(former_root + "/") else tables
