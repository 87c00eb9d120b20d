"""What medcls ships: where its configurations lie, and what they build."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from medcls.runs import stored

# What no file of conf/ names, and `medcls.probe models=[...]` writes into a run's configuration.
WRITTEN_BY_COMMANDS = (
    ("model.network", "medcls.models.joined.JoinedNetworks"),
    ("model.preprocessing", "medcls.preprocessing.Preprocessing"),
)


def configurations() -> Path:
    """The folder that holds `conf/` and `experiments/`: in the wheel beside this file, else the checkout's top."""
    package = Path(__file__).parents[1]
    packaged = package / "configurations"
    return packaged if packaged.is_dir() else package.parent


def register_experiments() -> None:
    """Make `experiments/` a group of its own beside those of `conf/`.

    By Hydra's store, not by its search path: that would make the whole checkout a place to look for groups.
    """
    for path in sorted((configurations() / "experiments").glob("*.yaml")):
        node = OmegaConf.load(path)
        ConfigStore.instance().store(name=path.stem, node=node, group="experiments", package="_global_")


@cache
def shipped_targets() -> Mapping[str, frozenset[str]]:
    """What the shipped configurations build, by place: all that a run folder may ask to be built there.

    By place, because what fetches a file is harmless where files are to be fetched, and nowhere else.
    """
    found: dict[str, set[str]] = {}
    conf = configurations() / "conf"
    for path in sorted(conf.rglob("*.yaml")):
        group = ".".join(path.relative_to(conf).parent.parts)
        for place, target in stored.targets(OmegaConf.to_container(OmegaConf.load(path)), group):
            found.setdefault(stored.kind(place), set()).add(target)
    for place, target in WRITTEN_BY_COMMANDS:
        found[place].add(target)
    return {place: frozenset(names) for place, names in found.items()}


def shipped_settings() -> frozenset[str]:
    """Every setting that a shipped file holds, and every group: `data`, `data.root`."""
    conf = configurations() / "conf"
    found = set()
    for path in conf.rglob("*.yaml"):
        group = ".".join(path.relative_to(conf).parent.parts)
        found |= {group, *_keys(OmegaConf.to_container(OmegaConf.load(path)), f"{group}." if group else "")}
    return frozenset(found)


def _keys(node: object, above: str) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield f"{above}{key}"
            yield from _keys(value, f"{above}{key}.")
