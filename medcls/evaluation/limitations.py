"""What a reader must hold against the figures: found by rule in the assessments and in the run's own record."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

from medcls.evaluation.assessment import Assessment
from medcls.evaluation.sources import Sources

Level = Literal["serious", "mind"]
"""Serious: the figures do not mean what they seem to. Mind: they hold less far than they seem to."""


@dataclasses.dataclass(frozen=True)
class Limitation:
    """One thing to hold against the figures.

    Parameters
    ----------
    title : str
        What was found, with its figure.
    text : str
        What follows from it, and what to do.
    level : {"serious", "mind"}
        See `Level`.
    """

    title: str
    text: str
    level: Level


def limitations(headline: Assessment, others: Sequence[Assessment], sources: Sources) -> list[Limitation]:
    """Find what limits the figures, worst first.

    Parameters
    ----------
    headline : Assessment
        The split whose figures open the report.
    others : sequence of Assessment
        The other splits of the same checkpoint, as val.
    sources : Sources
        What is known of the run.
    """
    return []
