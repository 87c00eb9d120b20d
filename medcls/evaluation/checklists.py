"""The items of two reporting standards, each filled in from the run as far as a run can know."""

import dataclasses
from collections.abc import Sequence

from medcls.evaluation.assessment import Assessment
from medcls.evaluation.sources import Sources


@dataclasses.dataclass(frozen=True)
class Item:
    """One item of a reporting standard.

    Parameters
    ----------
    standard, number : str
        `CLAIM 2024` or `TRIPOD+AI`, and the item's number there, such as `12a`.
    section, topic : str
        Under which heading it stands, and what it asks for, in our own words.
    answer : str or None
        In sentences, from the run; None where only people can know.
    """

    standard: str
    number: str
    section: str
    topic: str
    answer: str | None


def claim_2024(headline: Assessment, others: Sequence[Assessment], sources: Sources) -> list[Item]:
    """CLAIM 2024: Tejani et al., Radiology: Artificial Intelligence 6(4):e240300, 44 items."""
    return []


def tripod_ai(headline: Assessment, others: Sequence[Assessment], sources: Sources) -> list[Item]:
    """TRIPOD+AI: Collins et al., BMJ 385:e078378, 2024, 27 items, 52 with their parts."""
    return []
