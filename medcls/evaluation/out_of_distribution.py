"""The limit above which an image counts as unlike those that the network was trained for."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from medcls.evaluation.predictions import Predictions, check_may_fit
from medcls.evaluation.referral import one_row_a_group

FLAGGED = 0.05
"""The share of images like those of val that is flagged: Liu et al. 2020 accept 95% of them."""


@dataclasses.dataclass(frozen=True)
class OodLimit:
    """A limit on the energy of an image's logits (`predictions.energy`), and its origin.

    Parameters
    ----------
    limit : float or None
        An image with a higher energy is flagged. None with too few rows.
    flagged : float
        The largest share of new images from the distribution of the fitted rows that is flagged, on average.
    split, checkpoint : str
        What it was fitted on.
    n : int
        Rows used: one of each group.
    """

    limit: float | None
    flagged: float
    split: str
    checkpoint: str
    n: int

    def to_plain(self) -> dict[str, Any]:
        """For the checkpoint: numbers and strings."""
        return dataclasses.asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "OodLimit":
        """Reverse `to_plain`."""
        return cls(**plain)


def fit_ood_limit(val: Predictions, flagged: float = FLAGGED, *, seed: int = 0) -> OodLimit | None:
    """Fit the limit of the energy that at most a stated share of new images like these exceeds.

    It is the `ceil((n + 1) * (1 - flagged))`-th smallest energy of n rows, one of each group: the split-conformal
    quantile, as for label sets (`referral.fit_conformal_sets`), so the share holds on average for any distribution.
    How many images of another kind are found is not known from val.

    Parameters
    ----------
    val : Predictions
        Rows whose metrics are not the result.
    flagged : float
        Above 0 and below 1.
    seed : int
        For drawing one row a group.

    Returns
    -------
    OodLimit or None
        None if the table has no energy.

    Raises
    ------
    MedclsError
        The test split, or no rows.
    """
    check_may_fit(val, "a limit for out-of-distribution images")
    if "ood" not in val.rows:
        return None
    energy = val.rows["ood"].to_numpy(np.float64)
    if not np.isfinite(energy).all():
        return None
    energy = np.sort(energy[one_row_a_group(val, seed)])
    n = len(energy)
    rank = math.ceil((n + 1) * (1 - flagged) - 1e-9)
    return OodLimit(float(energy[rank - 1]) if rank <= n else None, flagged, val.split, val.checkpoint, n)
