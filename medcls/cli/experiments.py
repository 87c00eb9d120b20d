"""`experiments/` as a group of Hydra, read when an experiment is chosen."""

from __future__ import annotations

from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from medcls.cli.shipped import configurations

GROUP = "experiments"


class ExperimentSource(ConfigSource):
    """The files of `experiments/`, as a group beside those of `conf/`.

    Their folder's parent is no search path, which would make every folder of the checkout a group; nor are they stored
    in Hydra's ConfigStore, all of which Hydra copies for each group that `--help` lists.
    """

    @staticmethod
    def scheme() -> str:
        """Name the source in a search path."""
        return GROUP

    def available(self) -> bool:
        """Whether the folder is there."""
        return (configurations() / GROUP).is_dir()

    def is_group(self, config_path: str) -> bool:
        """Whether this is the one group."""
        return config_path.strip("/") in ("", GROUP)

    def is_config(self, config_path: str) -> bool:
        """Whether this is an experiment."""
        return self._file(config_path).is_file()

    def load_config(self, config_path: str) -> ConfigResult:
        """Read an experiment; its settings replace those at the top."""
        if not self.is_config(config_path):
            raise ConfigLoadError(f"Config not found: {config_path}")
        config = OmegaConf.load(self._file(config_path))
        return ConfigResult(config=config, path=f"{GROUP}://", provider=self.provider, header={"package": "_global_"})

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """The names of experiments, or at the top of the group."""
        if config_path.strip("/") != GROUP:
            return [] if results_filter is ObjectType.CONFIG else [GROUP]
        if results_filter is ObjectType.GROUP:
            return []
        return sorted(path.stem for path in (configurations() / GROUP).glob("*.yaml"))

    @staticmethod
    def _file(config_path: str) -> Path:
        group, _, name = config_path.strip("/").partition("/")
        return configurations() / GROUP / (f"{name.removesuffix('.yaml')}.yaml" if group == GROUP and name else "")


class ExperimentSearchPath(SearchPathPlugin):
    """Searches the experiments after `conf/`."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Add the experiments at the end."""
        search_path.append("medcls", f"{GROUP}://")


def register_experiments() -> None:
    """Make `experiments=NAME` a choice of every command."""
    for plugin in (ExperimentSource, ExperimentSearchPath):
        Plugins.instance().register(plugin)
