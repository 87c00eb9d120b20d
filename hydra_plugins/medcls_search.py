"""The sweeper of `hydra/sweeper=search`. Hydra takes plugins from this package; the search is `medcls.cli.searching`.

Every command imports this module, so the rest is imported when a search starts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

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
        from medcls.cli import searching

        searching.check_installed()
        settings = searching.SearchSettings(*self._settings)
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self._search: Callable[[Sequence[str]], None] = partial(
            searching.search, settings, config, hydra_context.config_loader, launcher
        )

    def sweep(self, arguments: Sequence[str]) -> None:
        """Train the trials, and write the page."""
        self._search(arguments)
