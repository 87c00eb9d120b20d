"""The sweeper of `hydra/sweeper=search`: Hydra takes plugins from this package only. The search is `medcls.cli.searching`.

Every command of Hydra imports this module, so the rest is imported when a search starts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class Search(Sweeper):
    """A search for settings with Optuna; see `conf/hydra/sweeper/search.yaml` and `medcls.cli.searching.Settings`."""

    def __init__(
        self,
        params: Mapping[str, object],
        n_trials: int,
        n_jobs: int,
        sampler: DictConfig,
        seed: int,
        storage: str | None,
        study_name: str | None,
    ) -> None:
        self._settings = (params, n_trials, n_jobs, sampler, seed, storage, study_name)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Check the settings, and make the launcher."""
        from medcls.cli.searching import SearchSettings, check_installed

        check_installed()
        self.search = SearchSettings(*self._settings)
        self.config, self.hydra_context = config, hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: Sequence[str]) -> None:
        """Train the trials, and write the page."""
        from medcls.cli.searching import search

        assert self.config is not None and self.hydra_context is not None and self.launcher is not None  # noqa: S101
        search(self.search, self.config, self.hydra_context.config_loader, self.launcher, arguments)
