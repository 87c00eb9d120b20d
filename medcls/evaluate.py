"""Judge a run, another site's images, or any tool's predictions: `python -m medcls.evaluate run=RUN split=test`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from medcls.cli import evaluation_settings as settings
from medcls.cli.entry_point import run_command
from medcls.cli.evaluations import evaluate_folds, evaluate_table
from medcls.cli.importing import import_large
from medcls.cli.opened_runs import find_run, open_run
from medcls.errors import MedclsError
from medcls.runs.run_folder import RunFolder
from medcls.runs.stored import refuse_links_out


def main() -> None:
    """Run the command."""
    run_command(run, "evaluate")


def run(cfg: DictConfig) -> None:
    """Evaluate what is named, into the run's own folder or the one that Hydra chose; leave nothing of what failed."""
    from medcls.workflow import terminal

    folder = RunFolder(Path(HydraConfig.get().runtime.output_dir))
    try:
        folder.claim()
        commands = {"run": evaluate_run, "runs": evaluate_folds, "predictions": evaluate_table}
        named = [name for name in commands if cfg[name] is not None]
        if len(named) != 1:
            raise MedclsError(
                f"{' and '.join(named) or 'Nothing'} given to evaluate: name one of run=RUN, runs=[A,B,...] (the folds "
                "of a cross-validation) and predictions=FILE.csv.",
                kind="nothing_to_evaluate",
            )
        settings.refuse_idle_settings(named[0])
        if not folder.holds_unfinished_evaluation():
            folder.refuse_if_taken()
        if folder.report.exists():
            raise MedclsError(
                f"{folder.path} already holds an evaluation. Give another hydra.run.dir.", kind="folder_taken"
            )
        if named[0] == "run":
            find_run(str(cfg.run))  # before anything large is loaded
        terminal.start_log(cfg.verbose)
        import_large("lightning")
        commands[named[0]](cfg, folder)
    except BaseException as error:
        if folder.written:  # what is there is whole, and may have taken long
            error.add_note(folder.what_is_there(settings.command(), error))
        else:
            folder.discard()
        raise
    finally:
        folder.close()


def evaluate_run(cfg: DictConfig, folder: RunFolder) -> None:
    """One run: a split of its own, or another site's images.

    Its own split, as the run stored its policies, goes into the run folder, as a training would have left it there;
    what is told otherwise, and what would take the place of another split's report, gets a folder of its own.
    """
    from medcls.cli.decision_rules import fitted_for, rehearse, say_what_it_changes
    from medcls.cli.other_images import other_images
    from medcls.inference.arithmetic import Arithmetic
    from medcls.inference.load import add_decision_rules
    from medcls.runs.registry import read_test
    from medcls.workflow import evaluating, result_files, run_sources

    settings.read_report_settings(cfg)  # a setting that makes no sense is answered before anything is loaded
    arithmetic = Arithmetic(cfg.precision, cfg.compile)
    opened = open_run(str(cfg.run), cfg)
    options, anew = settings.read_report_settings(cfg, opened.config)
    settings.check_has_threshold(opened.loaded.classes, opened.loaded.positive, anew)
    external = settings.names_other_images()
    if external:
        manifest, copies = other_images(cfg, opened)
        split = "external"
        beside = [table for split in (opened.beside_test, "test") if (table := opened.stored(split)) is not None]
        watermarks, images = manifest.watermarks, manifest.root
        site = f"{cfg.data.name}: {manifest.root.name}" if options.page.paths else "another site"
        name = f"{opened.name}, on {site}"
    else:
        settings.check_split(cfg.split, opened)
        manifest, split = opened.reopen(cfg.split), cfg.split
        beside = []
        copies, watermarks, images, name = None, opened.loaded.watermarks, opened.images, opened.name
    rehearse(opened, manifest, split, beside, options, anew=anew, views=cfg.views)
    if not external and split != "val":
        beside = [opened.beside(opened.beside_test)]
    sources = run_sources.sources_of_run(opened.folder, opened.loaded, options.page, (name, settings.command()), images)
    sources = dataclasses.replace(sources, watermarks=watermarks, training_duplicates=copies)
    if cfg.views > 1:
        beside = []  # their probabilities are of one view
    elif arithmetic.is_exact and not external and not anew and not opened.holds_result_of_another_split(cfg.split):
        refuse_links_out(opened.folder.path, trust=cfg.trust)
        folder.write_into(opened.folder.path)
    result = opened.predict_images(manifest, split, cfg.views, arithmetic)
    folder.begin("evaluate.log")
    if folder.path != opened.folder.path or opened.stored(split) is None:
        # Kept if anything below fails; what a run already holds, calibrated, stays beside its metrics until all is new.
        folder.write_predictions(result.name, result)
    fitted = fitted_for(opened, options, anew=anew, views=cfg.views, result=result)
    if not arithmetic.is_exact:
        say_what_it_changes(opened, manifest, result, fitted, arithmetic, cfg.views)
        sources = dataclasses.replace(sources, watermarks=(*watermarks, f"predicted with {arithmetic} arithmetic"))
    results = evaluating.evaluate([*beside, result], fitted, options)
    root, cut_by = (None, None) if external else (images, opened.cut_by)
    readings = read_test(result, str(opened.folder.path), "evaluate", root=root, settings=cut_by)
    if (
        folder.path == opened.folder.path and opened.loaded.decision_rules is None
    ):  # it was stopped before it fitted any
        add_decision_rules(opened.folder.best, fitted.to_plain())
    result_files.deliver(
        folder, results, fitted, dataclasses.replace(sources, readings=readings), options, "Best checkpoint"
    )


if __name__ == "__main__":
    main()
