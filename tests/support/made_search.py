"""A study of a search, as `medcls.cli.searching` records it, without the trainings."""

import math
import warnings

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, LogUniformDistribution
from optuna.trial import TrialState, create_trial

RANGES = {
    "optimizer.lr": LogUniformDistribution(1e-4, 1e-2),
    "optimizer.weight_decay": LogUniformDistribution(1e-4, 0.3),
    "ema": CategoricalDistribution(["null", 0.98, 0.99]),
}


def made_study(trials: int, failed: dict[int, str] | None = None, interrupted: tuple[int, ...] = ()) -> optuna.Study:
    """A study in memory: the metric has a peak at a learning rate of 0.001, and hardly depends on the rest."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    study = optuna.create_study(direction="maximize")
    draw = np.random.default_rng(0)
    for number in range(trials):
        params = {
            "optimizer.lr": float(10 ** draw.uniform(-4, -2)),
            "optimizer.weight_decay": float(10 ** draw.uniform(-4, -0.53)),
            "ema": ["null", 0.98, 0.99][draw.integers(3)],
        }
        value = 0.9 - 0.1 * abs(math.log10(params["optimizer.lr"]) + 3) + draw.normal(0, 0.004)
        lost = number in (failed or {}) or number in interrupted
        study.add_trial(
            create_trial(
                params=params,
                distributions=RANGES,
                value=None if lost else value,
                state=TrialState.FAIL if lost else TrialState.COMPLETE,
            )
        )
    for number, reason in (failed or {}).items():
        study.set_user_attr(f"failure of trial {number}", reason)
    return study
