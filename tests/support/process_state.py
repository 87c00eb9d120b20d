"""What a call from Python may not change in the process of its caller."""

import logging
import os
import random
import signal
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from hydra import version
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig


def of_the_process() -> dict[str, object]:
    """What a call may not change in the process of its caller."""
    loggers = {name: logging.getLogger(name) for name in ("medcls", "py.warnings")}
    return {
        "log": {name: (log.level, log.propagate, list(log.handlers)) for name, log in loggers.items()},
        "warnings": (warnings.showwarning, list(warnings.filters)),
        "signals": {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)},
        "random": random.getstate(),
        "numpy": np.random.get_state()[1].tolist(),  # noqa: NPY002
        "torch": torch.get_rng_state().tolist(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "environment": {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"},
        "arguments": list(sys.argv),
        "folder": Path.cwd(),
        "hydra": (GlobalHydra.instance().hydra, HydraConfig.instance().cfg),
        "hydra's version": version.getbase() if GlobalHydra.instance().hydra else None,
    }
