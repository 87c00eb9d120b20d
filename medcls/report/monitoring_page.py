"""A monitoring as one self-contained page."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from medcls import __version__
from medcls.evaluation.estimates import split_name
from medcls.evaluation.monitoring import SLIGHT_DISTANCE, Monitoring, ShareDrift
from medcls.report.pages.layout import day_and_time, environment
from medcls.report.pages.parts import Cell, Row, Sheet, numeric_sheet
from medcls.report.pages.plots import EmbeddedPlot
from medcls.wording import at_start, counted


@dataclasses.dataclass(frozen=True, kw_only=True)
class PageContent:
    """What the page shows beside the monitoring itself.

    Parameters
    ----------
    name : str
        Of the run.
    command : str
        As it was typed.
    made : datetime
        With its time zone.
    watermarks : tuple of str
    notes : tuple of str
        What the reader has to know about the tables: rows that were left out.
    plots : mapping of str to EmbeddedPlot
        By the name of the distribution or share.
    """

    name: str
    command: str
    made: datetime
    watermarks: tuple[str, ...]
    notes: tuple[str, ...]
    plots: Mapping[str, EmbeddedPlot]


def monitoring_page(found: Monitoring, content: PageContent) -> str:
    """Return the page as HTML."""
    rates = [one for one in found.shares if one.is_rate]
    shares = [one for one in found.shares if not one.is_rate]
    periods = found.periods["period"].nunique()
    size = counted(found.images, "new image")
    if found.independent < found.images:
        size += f" of {counted(found.independent, 'group')}"
    size += f" in {counted(periods, 'period')}, {found.labelled:,} with a label"
    return (
        environment(Path(__file__).parent)
        .get_template("monitoring_page.html.jinja")
        .render(
            name=content.name,
            watermarks=content.watermarks,
            verdict=found.verdict(),
            counted=f"{size}; compared with {split_name(found.reference)}.",
            notes=content.notes,
            made=day_and_time(content.made),
            command=content.command,
            version=__version__,
            changes=[at_start(line) for line in found.changes],
            rates=_shares_sheet(rates, found.rates_from) if rates else None,
            rates_reference=f"compared with {split_name(found.rates_from)}." if rates else "",
            shares=_shares_sheet(shares, found.reference),
            distributions=_distributions_sheet(found),
            slight=SLIGHT_DISTANCE,
            rate_plots=_of(content.plots, (one.name for one in rates)),
            share_plots=_of(content.plots, (one.name for one in shares)),
            plots=_of(content.plots, (one.name for one in found.distributions)),
        )
    )


def _of(plots: Mapping[str, EmbeddedPlot], names: Iterable[str]) -> list[EmbeddedPlot]:
    return [plots[name] for name in names if name in plots]


def _shares_sheet(shares: Sequence[ShareDrift], reference: str) -> Sheet:
    rows: list[Row] = [
        [
            at_start(one.name),
            Cell(f"{one.here.value:.1%}", note=f"{one.here.low:.1%} to {one.here.high:.1%}, n = {one.here.n:,}"),
            Cell(f"{one.there.value:.1%}", note=f"{one.there.low:.1%} to {one.there.high:.1%}, n = {one.there.n:,}"),
            _p(one.p_adjusted),
            _changed(one.has_moved),
        ]
        for one in shares
    ]
    return numeric_sheet(["", "New images", at_start(split_name(reference)), "p, corrected", "Changed"], rows)


def _distributions_sheet(found: Monitoring) -> Sheet:
    rows: list[Row] = [
        [
            at_start(one.name),
            Cell(f"{one.drift.distance:.2f}", note=f"{one.drift.distance_low:.2f} to {one.drift.distance_high:.2f}"),
            Cell(f"{one.drift.stability:.2f}", note=f"{one.drift.stability_low:.2f} to {one.drift.stability_high:.2f}"),
            _p(one.p_adjusted),
            _changed(one.has_moved),
        ]
        for one in found.distributions
    ]
    headings = ["", "Kolmogorov-Smirnov distance", "Population stability index", "p, corrected", "Changed"]
    return numeric_sheet(headings, rows)


def _changed(moved: bool) -> str:
    return "yes" if moved else "no"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
