"""A covering array: few rows in which each value of each factor meets each value of every other."""

import itertools
import random
from collections.abc import Mapping, Sequence

Row = dict[str, str]
Pair = frozenset[tuple[str, str]]


def pairs_of(factors: Mapping[str, Sequence[str]]) -> set[Pair]:
    """Every pair of values of two factors."""
    return {
        frozenset({(one, a), (other, b)})
        for one, other in itertools.combinations(sorted(factors), 2)
        for a in factors[one]
        for b in factors[other]
    }


def pairs_in(row: Row) -> set[Pair]:
    """The pairs of values that meet in a row."""
    return {frozenset(pair) for pair in itertools.combinations(sorted(row.items()), 2)}


def covering(factors: Mapping[str, Sequence[str]], seed: int = 0) -> list[Row]:
    """Build rows greedily until each pair has met: of some rows tried each time, the one with the most new pairs.

    The same seed gives the same rows.
    """
    draw = random.Random(seed)
    missing = pairs_of(factors)
    rows = []
    while missing:
        first = draw.choice(sorted(map(sorted, missing)))
        best = max((_row(factors, dict(first), missing, draw) for _ in range(20)), key=lambda row: _new(row, missing))
        rows.append(best)
        missing -= pairs_in(best)
    return rows


def seldom(rows: Sequence[Row], costly: str, value: str, instead: str) -> list[Row]:
    """The same rows with a costly value only where a pair of values would not be met without it."""
    changed = [dict(row) for row in rows]
    for number, row in enumerate(changed):
        others = set().union(*(pairs_in(other) for other in changed if other is not row))
        if row[costly] == value and pairs_in(row) - others <= pairs_in({**row, costly: instead}):
            changed[number] = {**row, costly: instead}
    return changed


def each_value(rows: Sequence[Row]) -> list[Row]:
    """Few of these rows, chosen greedily, in which each value of each factor occurs."""
    missing = {value for row in rows for value in row.items()}
    chosen = []
    while missing:
        best = max(rows, key=lambda row: len(missing & row.items()))
        chosen.append(best)
        missing -= best.items()
    return chosen


def _row(factors: Mapping[str, Sequence[str]], start: Row, missing: set[Pair], draw: random.Random) -> Row:
    row = dict(start)
    for factor in draw.sample(sorted(set(factors) - set(row)), len(factors) - len(row)):
        values = draw.sample(list(factors[factor]), len(factors[factor]))
        row[factor] = max(values, key=lambda value: _new({**row, factor: value}, missing))
    return row


def _new(row: Row, missing: set[Pair]) -> int:
    return len(pairs_in(row) & missing)
