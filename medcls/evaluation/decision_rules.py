"""The decision rules fitted on val for the best checkpoint, in order: calibration, threshold, label sets."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from medcls.evaluation.calibration import HOTTEST, Calibration
from medcls.evaluation.out_of_distribution import OodLimit, fit_ood_limit
from medcls.evaluation.predictions import Predictions
from medcls.evaluation.recalibration import fit_calibration, fit_logistic
from medcls.evaluation.referral import ConformalSets, fit_conformal_sets
from medcls.evaluation.spread import too_alike
from medcls.evaluation.thresholds import OperatingPoint, chosen_beforehand, fit_operating_point
from medcls.evaluation.thresholds import not_fitted as threshold_not_fitted
from medcls.statistics.arrays import Floats, Integers
from medcls.statistics.metrics import predicted_classes


@dataclasses.dataclass(frozen=True)
class DecisionRules:
    """How scores become probabilities, decisions and label sets.

    Parameters
    ----------
    calibration : Calibration or None
        None where the probabilities stay as they are.
    operating_point : OperatingPoint or None
        None with more than two classes, where the most probable one is predicted.
    conformal : ConformalSets or None
        None where nothing was fitted.
    stands_for : dict of str to float
        Each class's share of the fitted rows, the prevalence of the probabilities of `prior`. Empty if nothing was
        fitted.
    prior : Calibration or None
        The logistic recalibration from which probabilities are shifted to another prevalence, whatever `calibration`
        is: a temperature alone does not calibrate them in the large. None if nothing was fitted, and in files of
        earlier versions.
    ood : OodLimit or None
        Which images are flagged as unlike those of the fitted rows. None without their energy, and in files of earlier
        versions.
    """

    calibration: Calibration | None
    operating_point: OperatingPoint | None
    conformal: ConformalSets | None
    stands_for: dict[str, float]
    prior: Calibration | None = None
    ood: OodLimit | None = None

    @property
    def threshold(self) -> float | None:
        """The fitted threshold; None for 0.5, or with more than two classes."""
        point = self.operating_point
        return None if point is None or not point.is_fitted else point.threshold

    @property
    def ood_limit(self) -> float | None:
        """The energy above which an image is flagged as out of distribution; None without a reference."""
        return None if self.ood is None else self.ood.limit

    @property
    def checkpoint(self) -> str:
        """The hash of the weights; empty where unknown, or nothing was fitted."""
        fitted = (self.calibration, self.operating_point, self.conformal)
        return next((part.checkpoint for part in fitted if part is not None and part.checkpoint), "")

    @property
    def warnings(self) -> tuple[str, ...]:
        """Caveats of all parts, each sentence once."""
        fitted = (self.calibration, self.operating_point, self.conformal)
        return tuple(dict.fromkeys(line for part in fitted if part is not None for line in part.warnings))

    def calibrate(self, table: Predictions) -> Predictions:
        """Calibrate a table of the same checkpoint, for threshold and label sets.

        Raises
        ------
        MedclsError
            The table is of another checkpoint.
        """
        return table if self.calibration is None else self.calibration.apply(table)

    def to_plain(self) -> dict[str, Any]:
        """For the checkpoint and `policies.json`: dicts, lists, numbers and strings."""
        fitted = {name: getattr(self, name) for name in _PARTS}
        plain = {name: None if part is None else part.to_plain() for name, part in fitted.items()}
        return plain | {"stands_for": dict(self.stands_for)}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "DecisionRules":
        """Reverse `to_plain`."""
        stored = {name: plain.get(name) if name in _ADDED_LATER else plain[name] for name in _PARTS}
        parts = {name: None if stored[name] is None else kind.from_plain(stored[name]) for name, kind in _PARTS.items()}
        return cls(**parts, stands_for=plain["stands_for"])


_PARTS: dict[str, Any] = {
    "calibration": Calibration,
    "operating_point": OperatingPoint,
    "conformal": ConformalSets,
    "prior": Calibration,
    "ood": OodLimit,
}

_ADDED_LATER = ("prior", "ood")


def fit_decision_rules(
    val: Predictions,
    operating_point: str = "youden",
    *,
    calibrate: str = "temperature",
    coverage: float = 0.9,
    seed: int = 0,
) -> DecisionRules:
    """Fit a calibration on val, then a threshold and a rule for label sets on the calibrated probabilities.

    Parameters
    ----------
    val : Predictions
        Rows whose metrics are not the result.
    operating_point : str
        See `thresholds.parse_criterion`; ignored with more than two classes.
    calibrate : str
        Method of `recalibration.fit_calibration`.
    coverage : float
        Of the label sets, above 0 and below 1.
    seed : int
        Of the bootstrap, and of drawing one row a group.

    Returns
    -------
    DecisionRules
        Neither temperature nor threshold is fitted if the scores, before or after the temperature, are nearly the same
        for every image; a warning says so.
    """
    calibration = fit_calibration(val, calibrate)
    if (uninformative := _uninformative(val, calibration)) is not None:
        calibration = None
    calibrated = val if calibration is None else calibration.apply(val)
    sets = fit_conformal_sets(calibrated, coverage, seed=seed)
    if val.positive is None:
        point = None
        sets = dataclasses.replace(sets, warnings=(*uninformative, *sets.warnings)) if uninformative else sets
    elif uninformative:
        chosen = chosen_beforehand(calibrated, operating_point) or threshold_not_fitted(calibrated)
        point = dataclasses.replace(chosen, warnings=uninformative)
    else:
        point = fit_operating_point(calibrated, operating_point, seed=seed)
    shares = {name: float((val.rows["label"] == name).mean()) for name in val.classes}
    prior = calibration if calibration is not None and calibration.intercepts else fit_logistic(val)
    return DecisionRules(calibration, point, sets, shares, prior, fit_ood_limit(val, seed=seed))


def _uninformative(val: Predictions, calibration: Calibration | None) -> tuple[str, ...] | None:
    """Return a warning why neither temperature nor threshold is fitted on these scores; None if they are.

    Label sets are always fitted: their coverage holds whatever the scores.
    """
    reason = too_alike(val)
    if reason is None and calibration is not None:
        hottest = calibration.temperature > HOTTEST / 1.001
        if not hottest and too_alike(calibration.apply(val)) is None:
            return None
        reason = (
            f"The temperature {calibration.temperature:.3g} would leave nearly the same probability for every image: "
            f"the scores are unrelated to the labels of {val.split or 'this table'}, or reversed."
        )
    return None if reason is None else (f"{reason} No temperature and no operating point are fitted on such scores.",)


def decided_classes(
    rules: DecisionRules | None, probabilities: Floats, classes: Sequence[str], positive: str | None
) -> Integers | None:
    """Return the class decided on for each row of calibrated probabilities `(n, K)`, as an index.

    In a binary task by the operating point, None without one; with more classes the most probable one.
    """
    point = None if rules is None else rules.operating_point
    if positive is not None and point is None:
        return None
    return predicted_classes(probabilities, classes, positive, None if point is None else point.threshold)


def not_fitted(table: Predictions) -> DecisionRules:
    """Return rules without any fit: the probabilities as they are, and a threshold of 0.5 marked as not fitted."""
    return DecisionRules(None, None if table.positive is None else threshold_not_fitted(table), None, {})
