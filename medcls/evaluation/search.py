"""A search for settings: its trials, the best of them, and how optimistic the metric of that one is."""

import dataclasses
import math
from collections.abc import Mapping

import pandas as pd

from medcls.statistics.selection import excess_of_the_best
from medcls.wording import counted

STATES = ("complete", "failed", "interrupted")


@dataclasses.dataclass(frozen=True)
class Trial:
    """A training of a search.

    Parameters
    ----------
    number : int
        From 0; also the name of its run folder.
    state : str
        One of `STATES`.
    value : float or None
        The monitored metric of its best epoch, if complete.
    settings : mapping of str to str
        What was searched, as typed: `{"optimizer.lr": "0.001"}`.
    reason : str
        Why it failed.
    """

    number: int
    state: str
    value: float | None
    settings: Mapping[str, str]
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class Search:
    """The trials of a search.

    Parameters
    ----------
    monitor : str
        The monitored metric of val, such as `val/auroc`.
    maximise : bool
        Whether more is better.
    trials : tuple of Trial
        In the order of their numbers.
    importance : mapping of str to float, or None
        The share of each setting in what the metric varies by; None if there are too few trials.
    standard_error : float or None
        Of the metric of the best trial, if its interval is known.
    """

    monitor: str
    maximise: bool
    trials: tuple[Trial, ...]
    importance: Mapping[str, float] | None = None
    standard_error: float | None = None

    def in_state(self, state: str) -> list[Trial]:
        """The trials in a state."""
        return [trial for trial in self.trials if trial.state == state]

    @property
    def ranked(self) -> list[Trial]:
        """The complete trials, the best first; of equal ones the first."""
        return sorted(self.in_state("complete"), key=self._rank)

    @property
    def best(self) -> Trial | None:
        """The best complete trial."""
        return next(iter(self.ranked), None)

    def _rank(self, trial: Trial) -> tuple[float, int]:
        value = math.nan if trial.value is None else trial.value
        return -value if self.maximise else value, trial.number

    @property
    def names(self) -> list[str]:
        """The settings that were searched."""
        return list(dict.fromkeys(name for trial in self.trials for name in trial.settings))

    @property
    def excess(self) -> float | None:
        """The most that chance adds to the metric of the best trial, if all were equally good."""
        if self.standard_error is None:
            return None
        return excess_of_the_best(len(self.in_state("complete")), self.standard_error)

    def counts(self) -> str:
        """How many trials there are, by their state."""
        others = [f"{len(found)} {state}" for state in STATES[1:] if (found := self.in_state(state))]
        return ", ".join([counted(len(self.in_state("complete")), "complete trial"), *others])

    def warning(self) -> str:
        """Why the metric of the best trial is no estimate of how good it is."""
        complete = len(self.in_state("complete"))
        if complete < 2:
            return (
                f"{self.monitor} of this trial also chose its checkpoint, on the same val images: it is optimistic. "
                "Only test, which no trial has seen, tells how good the classifier is."
            )
        sentence = (
            f"{self.monitor} of the best trial is optimistic: it was chosen as the best of {complete} on the same val "
            "images, as its checkpoint was. Only test, which no trial has seen, tells how good the classifier is."
        )
        if self.excess:
            more = "above" if self.maximise else "below"
            sentence += (
                f" If all trials were equally good, chance alone would put the best up to {self.excess:.2g} {more} "
                "its true value."
            )
        return sentence

    def table(self) -> pd.DataFrame:
        """The trials, one row each: `trial`, `state`, `value`, each setting, and `reason`."""
        return pd.DataFrame(
            [
                {"trial": trial.number, "state": trial.state, "value": trial.value}
                | {name: trial.settings.get(name, "") for name in self.names}
                | {"reason": trial.reason}
                for trial in self.trials
            ]
        )
