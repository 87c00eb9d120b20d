"""The configurations that medcls ships: where they are, and what they build."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from omegaconf import OmegaConf

from medcls.runs import stored

# Targets that no file of conf/ names, and `medcls.probe models=[...]` writes into a run's configuration.
WRITTEN_BY_COMMANDS = (
    ("model.network", "medcls.models.joined.JoinedNetworks"),
    ("model.preprocessing", "medcls.preprocessing.Preprocessing"),
)

# First line of a file of a group whose settings are not within the group.
AT_THE_TOP = "# @package _global_\n"


def configurations() -> Path:
    """The folder that holds `conf/` and `experiments/`: within the package in a wheel, else the top of the checkout."""
    package = Path(__file__).parents[1]
    packaged = package / "configurations"
    return packaged if packaged.is_dir() else package.parent


@cache
def shipped_targets() -> Mapping[str, frozenset[str]]:
    """The targets of the shipped configurations, by setting: what a run folder may have built there.

    By setting, because a function that downloads a file, say, is only harmless where a download is configured.
    """
    targets: dict[str, set[str]] = {}
    conf = configurations() / "conf"
    for path in sorted(conf.rglob("*.yaml")):
        group = ".".join(path.relative_to(conf).parent.parts)
        for setting, target in stored.targets(OmegaConf.to_container(OmegaConf.load(path)), group):
            targets.setdefault(stored.kind(setting), set()).add(target)
    for setting, target in WRITTEN_BY_COMMANDS:
        targets[setting].add(target)
    return {setting: frozenset(names) for setting, names in targets.items()}


def shipped_settings() -> frozenset[str]:
    """Every setting and group of the shipped configurations: `data`, `data.root`."""
    conf = configurations() / "conf"
    settings = set()
    for path in conf.rglob("*.yaml"):
        group = ".".join(path.relative_to(conf).parent.parts)
        at_the_top = not group or path.read_text(encoding="utf-8").startswith(AT_THE_TOP)
        settings |= {group, *_keys(OmegaConf.to_container(OmegaConf.load(path)), "" if at_the_top else f"{group}.")}
    return frozenset(settings - {""})


def _keys(node: object, prefix: str) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield f"{prefix}{key}"
            yield from _keys(value, f"{prefix}{key}.")
