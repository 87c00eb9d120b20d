"""Settings as a command composes them, without running it."""

from collections.abc import Iterator
from contextlib import contextmanager

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from medcls.cli.experiments import register_experiments
from medcls.cli.overrides import quote_for_hydra
from medcls.cli.shipped import configurations


@contextmanager
def typed_settings(command: str, *arguments: str, folder: object = None) -> Iterator[DictConfig]:
    """Compose a command's configuration, and let `HydraConfig` know what was typed until the end of the block.

    Parameters
    ----------
    folder : path, optional
        The run folder; it is not made.
    """
    register_experiments()
    known = HydraConfig.instance()
    before = known.cfg
    with initialize_config_dir(str(configurations() / "conf"), version_base="1.3"):
        composed = compose(command, quote_for_hydra(arguments), return_hydra_config=True)
        with read_write(composed.hydra.runtime), open_dict(composed.hydra.runtime):
            composed.hydra.runtime.output_dir = str(folder)
        known.set_config(composed)
        cfg = composed.copy()
        with read_write(cfg), open_dict(cfg):
            del cfg["hydra"]
        OmegaConf.set_struct(cfg, True)
        try:
            yield cfg
        finally:
            known.cfg = before
