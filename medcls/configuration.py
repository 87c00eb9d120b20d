"""The one place, beside the doors, that knows Hydra: where configurations lie, and what may be built from them."""

import errno
import logging
import re
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from medcls.errors import MedclsError, typed

log = logging.getLogger(__name__)

MAY_CHANGE_ON_RESUME = ("trainer.max_epochs", "data.root", "data.workers", "keep_memory", "evaluate_test", "trust")


def configurations() -> Path:
    """The folder that holds `conf/` and `experiments/`: in the wheel beside this file, else the checkout's top."""
    packaged = Path(__file__).parent / "configurations"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent


def offer_experiments() -> None:
    """Make `experiments/` a group of its own beside those of `conf/`.

    By Hydra's store, not by its search path: that would make the whole checkout a place to look for groups.
    """
    for path in sorted((configurations() / "experiments").glob("*.yaml")):
        node = OmegaConf.load(path)
        ConfigStore.instance().store(name=path.stem, node=node, group="experiments", package="_global_")


def open_door(task: Callable[[DictConfig], Any], config_name: str) -> None:
    """Run a door's task under Hydra: the user's mistakes in one sentence and exit code 2, no stack trace.

    Parameters
    ----------
    task : callable
        Receives the composed configuration.
    config_name : str
        The file in `conf/` to start from.
    """
    started = False

    def guarded(cfg: DictConfig) -> Any:  # noqa: ANN401 - what Hydra returns to a sweeper is the task's business
        nonlocal started
        started = True
        try:
            return task(cfg)
        except (MedclsError, OmegaConfBaseException) as error:
            _complain(error)
            sys.exit(2)
        except OSError as error:
            if error.filename is None and error.errno != errno.ENOSPC:
                raise
            _complain(f"{error.filename or 'A file'} could not be written or read: {error.strerror}.")
            sys.exit(2)

    offer_experiments()
    try:
        _check_overrides(sys.argv[1:])
        _resume_into_the_same_folder(sys.argv)
    except MedclsError as error:
        _complain(error)
        sys.exit(2)
    try:
        hydra.main(version_base="1.3", config_path=str(configurations() / "conf"), config_name=config_name)(guarded)()
    except SystemExit as end:
        # Hydra has said what it did not understand of the command line; a crash of ours keeps its code 1.
        sys.exit(2 if end.code == 1 and not started else end.code)


def _complain(error: Exception | str) -> None:
    print(f"\nmedcls: {error}", file=sys.stderr)  # noqa: T201 - a door speaks to a person


def _check_overrides(arguments: Sequence[str]) -> None:
    """Say the exact form to type where Hydra's grammar trips over a value's characters alone."""
    parser = OverridesParser.create()
    multirun = any(argument in ("-m", "--multirun") for argument in arguments)
    for argument in arguments:
        if argument.startswith("-") or "=" not in argument:
            continue
        key, value = argument.split("=", 1)
        try:
            override = parser.parse_override(argument)
        except HydraException as error:
            raise MedclsError(
                f"The value of {key} has characters that mean something to Hydra: {value}\n"
                f"Type it in quotes within quotes:\n  {typed(key, value)}"
            ) from error
        if override.is_sweep_override() and not multirun:
            raise MedclsError(
                f"{argument} reads as several values. For one run each, add -m. If the comma belongs to the value, "
                f"type:\n  {typed(key, value)}"
            )


def _resume_into_the_same_folder(argv: list[str]) -> None:
    """`resume=RUN` continues in RUN: its own configuration rules, and nothing but paths and epochs may change."""
    overrides = OverridesParser.create().parse_overrides([a for a in argv[1:] if "=" in a and not a.startswith("-")])
    given = {override.key_or_group: override.value() for override in overrides}
    if given.get("resume") is None:
        return
    folder = Path(str(given["resume"])).expanduser()
    if not (folder / "config.yaml").is_file() or not (folder / "checkpoints" / "last.ckpt").is_file():
        raise MedclsError(
            f"resume={folder}: this folder holds no run that can go on (it needs config.yaml and "
            "checkpoints/last.ckpt)."
        )
    if any(argument in ("-m", "--multirun") for argument in argv):
        raise MedclsError("resume goes on with one run: leave out -m.")
    refused = [key for key in given if key != "resume" and key not in MAY_CHANGE_ON_RESUME]
    if refused:
        raise MedclsError(
            f"resume={folder} goes on with that run's own settings, so {', '.join(refused)} cannot change. What can: "
            f"{', '.join(MAY_CHANGE_ON_RESUME)}. For other settings, start a new run from its weights: "
            f"model.weights={folder}"
        )
    inner = str(folder).replace("'", "\\'")
    argv.append(f"hydra.run.dir='{inner}'")


def resumed(cfg: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """The configuration to go on with: the run's own, and the few overrides that apply."""
    own = OmegaConf.load(Path(str(cfg.resume)).expanduser() / "config.yaml")
    if not isinstance(own, DictConfig):
        raise MedclsError(f"{cfg.resume}/config.yaml is not a configuration.")
    changed = {override.key_or_group for override in OverridesParser.create().parse_overrides(list(overrides))}
    for key in changed & set(MAY_CHANGE_ON_RESUME):
        OmegaConf.update(own, key, OmegaConf.select(cfg, key))
    if "data.root" in changed:
        own.data.root = str(Path(str(own.data.root)).expanduser().absolute())
    # The saved configuration is resolved: what once referred to data.root now holds a copy of it.
    OmegaConf.update(own, "data.source.root", own.data.root)
    own.resume = str(cfg.resume)
    return own


@cache
def shipped_targets() -> frozenset[str]:
    """Every `_target_` that a shipped configuration names: all that a run folder may ask to be built."""
    texts = [
        path.read_text(encoding="utf-8")
        for group in ("conf", "experiments")
        for path in sorted((configurations() / group).rglob("*.yaml"))
    ]
    return frozenset(re.findall(r"_target_:\s*([\w.]+)", "\n".join(texts)))


def check_targets(cfg: DictConfig) -> None:
    """Refuse a run folder's configuration that asks for something that medcls does not ship.

    Raises
    ------
    MedclsError
        Names the targets, and the setting that trusts them.
    """

    def targets(node: object) -> list[str]:
        if isinstance(node, dict):
            own = [str(node["_target_"])] if "_target_" in node else []
            return own + [target for value in node.values() for target in targets(value)]
        return [target for value in node for target in targets(value)] if isinstance(node, list) else []

    foreign = sorted(set(targets(OmegaConf.to_container(cfg, resolve=False))) - shipped_targets())
    if foreign:
        raise MedclsError(
            f"The run's configuration builds {', '.join(foreign)}, which medcls does not ship. If you trust where the "
            "run folder comes from, add trust=true."
        )


def build(node: DictConfig, **values: Any) -> Any:  # noqa: ANN401 - builds whatever the configuration names
    """Build what a configuration names, with the values that only the run knows.

    Raises
    ------
    MedclsError
        What the built function objected to; or that its arguments do not fit.
    """
    try:
        return instantiate(node, **values, _convert_="all")
    except InstantiationException as error:
        if isinstance(error.__cause__, MedclsError):
            raise error.__cause__ from None
        # Whatever a function says of values that came from the command line is the user's to mend.
        raise MedclsError(f"{node.get('_target_')} does not take its settings: {error.__cause__ or error}") from error


def plain(node: Any) -> Any:  # noqa: ANN401 - any value a configuration can hold
    """A configuration node as lists, dicts, numbers and strings."""
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
