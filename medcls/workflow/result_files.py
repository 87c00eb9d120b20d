"""The results of a run or an evaluation, written into its folder: decision rules, predictions, metrics, report."""

import logging
from collections.abc import Sequence

import pandas as pd

from medcls.csv_escaping import escaped
from medcls.evaluation.label_errors import label_errors
from medcls.evaluation.predictions import Predictions
from medcls.report.anonymous import anonymous_names, without_names
from medcls.report.checklists import claim_2024, tripod_ai
from medcls.report.label_page import label_list, label_page
from medcls.report.limitations import limitations
from medcls.report.report import Content, report
from medcls.report.run_plots import draw
from medcls.report.sources import Sources
from medcls.runs.run_folder import RunFolder
from medcls.workflow import terminal
from medcls.workflow.evaluating import Fitted, Results
from medcls.workflow.printed_results import show, show_folds
from medcls.workflow.report_settings import PageSettings, ReportSettings

log = logging.getLogger(__name__)


def write_results(folder: RunFolder, results: Results, fitted: Fitted, watermarks: Sequence[str]) -> None:
    """Write decision rules, calibrated predictions and metrics."""
    folder.write_json("policies.json", fitted.to_plain())
    for one in results.splits:
        folder.write_predictions(one.table.name, one.table)
    for one in results.patients:
        folder.write_predictions(f"{one.table.name}_units", one.table)
    shifted = f"{results.headline.table.name}_at_stated_prevalence"
    if (deployment := results.headline.deployment) is not None:
        folder.write_predictions(shifted, deployment.table)
    else:  # that of an earlier evaluation would not fit these metrics
        (folder.predictions / f"{shifted}.csv").unlink(missing_ok=True)
    folder.write_json("metrics.json", {"stamps": tuple(watermarks), **results.to_plain()})


def write_report(
    folder: RunFolder, results: Results, sources: Sources, options: ReportSettings, folds: pd.DataFrame | None = None
) -> None:
    """Draw the plots and write the report."""
    page, splits = options.page, results.splits
    if not page.paths:
        names = anonymous_names([one.table for one in (splits[-1], *splits[:-1])], sources)
        splits = tuple(without_names(one, names) for one in splits)
    headline, others = splits[-1], splits[:-1]
    watermark = " · ".join(sources.watermarks) or None
    with terminal.progress("drawing and writing the report"):
        for one in others:
            draw(one, folder.figures, watermark, seed=options.seed, only=("confusion", "roc"))
        plots = draw(headline, folder.figures, watermark, seed=options.seed, plots=page.plots)
        found = limitations(headline, others, sources, page.rules)
        content = Content(
            headline,
            others,
            sources,
            plots=[*plots, *sources.drawn],
            limitations=found,
            checklists=[*claim_2024(headline, others, sources, found), *tripod_ai(headline, others, sources, found)],
            patients=results.headline_patients,
            folds=folds,
        )
        html, card = report(content, images=page.images, paths=page.paths)
    folder.write_text("report.md", card)
    folder.write_text("report.html", html)


def deliver(
    folder: RunFolder,
    results: Results,
    fitted: Fitted,
    sources: Sources,
    options: ReportSettings,
    name: str,
    folds: pd.DataFrame | None = None,
) -> None:
    """Write and print the results of an evaluation, and write its report.

    Parameters
    ----------
    name : str
        Title of the printed table.
    folds : DataFrame, optional
        The metrics of each fold of a cross-validation.
    """
    if folds is not None:
        folder.write_text("folds.csv", escaped(folds).to_csv(index=False, lineterminator="\n"))
    write_results(folder, results, fitted, sources.watermarks)
    if folds is not None:
        show_folds(folds)
    show(results, sources.readings, name)
    write_report(folder, results, sources, options, folds)
    log.info("report: %s", folder.report)


def write_label_errors(folder: RunFolder, out_of_fold: Predictions, sources: Sources, page: PageSettings) -> None:
    """Write a page, a table and a list of the images whose label is probably wrong.

    Parameters
    ----------
    out_of_fold : Predictions
        Each row by models that were not fitted on it.
    """
    found = label_errors(out_of_fold)
    folder.write_text("label_errors.csv", escaped(found.rows).to_csv(index=False, lineterminator="\n"))
    folder.write_text("label_errors.txt", label_list(found))
    with terminal.progress("drawing suspected label errors"):
        html = label_page(found, sources, paths=page.paths)
    path = folder.write_text("label_errors.html", html)
    log.info("%s See %s", found.sentence(), path, extra={"rule": "label_errors"})
