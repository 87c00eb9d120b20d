"""Settings as a command composes them, without running it."""

import copy
import functools
from collections.abc import Iterator
from contextlib import contextmanager

from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from medcls.cli.experiments import register_experiments
from medcls.cli.overrides import quote_for_hydra
from medcls.cli.shipped import configurations

CONF = configurations() / "conf"


@functools.cache
def of_groups(command: str, *choices: str) -> DictConfig:
    """Compose a command's configuration with these choices of groups: it takes a tenth of a second."""
    register_experiments()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(command, list(choices), return_hydra_config=True)


def composed(command: str, *arguments: str) -> DictConfig:
    """What Hydra composes: the choices of groups, changed by the other arguments in Hydra's own way."""
    typed = quote_for_hydra(arguments)
    overrides = OverridesParser.create().parse_overrides(typed)
    choices = {one.input_line for one in overrides if (CONF / one.key_or_group).is_dir()}
    cfg = copy.deepcopy(of_groups(command, *(text for text in typed if text in choices)))
    with read_write(cfg.hydra):
        ConfigLoaderImpl._apply_overrides_to_config([one for one in overrides if one.input_line not in choices], cfg)
        cfg.hydra.overrides.task = [text for text in typed if not text.startswith("hydra.")]
    return cfg


@contextmanager
def typed_settings(command: str, *arguments: str, folder: object = None) -> Iterator[DictConfig]:
    """Give a command's configuration, and let `HydraConfig` and Hydra's state know of it until the end of the block.

    Parameters
    ----------
    folder : path, optional
        The run folder; it is not made.
    """
    known = HydraConfig.instance()
    before = known.cfg
    cfg = composed(command, *arguments)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        with read_write(cfg.hydra.runtime), open_dict(cfg.hydra.runtime):
            cfg.hydra.runtime.output_dir = str(folder)
        known.set_config(cfg)
        own = cfg.copy()
        with read_write(own), open_dict(own):
            del own["hydra"]
        OmegaConf.set_struct(own, True)
        try:
            yield own
        finally:
            known.cfg = before
