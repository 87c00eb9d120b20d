"""Evaluate a run, another site's images or any tool's predictions: `python -m medcls.evaluate run=RUN split=test`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from medcls.cli import evaluation_settings as settings
from medcls.cli.entry_point import run_command
from medcls.cli.importing import import_large
from medcls.cli.invocation import command_line
from medcls.cli.tables_and_folds import evaluate_folds, evaluate_table
from medcls.cli.trained_runs import find_run, open_run
from medcls.errors import MedclsError
from medcls.runs.run_folder import RunFolder
from medcls.runs.stored import refuse_links_out


def main() -> None:
    """Run the command."""
    run_command(run, "evaluate")


def run(cfg: DictConfig) -> Path:
    """Evaluate into the run's own folder or the one that Hydra chose; leave no folder behind if nothing was written.

    Returns the folder with the results.
    """
    from medcls.workflow import terminal

    folder = RunFolder(Path(HydraConfig.get().runtime.output_dir))
    try:
        folder.claim()
        commands = {"run": evaluate_run, "runs": evaluate_folds, "predictions": evaluate_table}
        named = [name for name in commands if cfg[name] is not None]
        if len(named) != 1:
            raise MedclsError(
                f"{' and '.join(named) or 'Nothing'} given to evaluate: give one of run=RUN, runs=[A,B,...] (the folds "
                "of a cross-validation) and predictions=FILE.csv.",
                kind="nothing_to_evaluate",
            )
        settings.refuse_ignored_settings(named[0])
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
        return folder.path
    except BaseException as error:
        if folder.written:  # complete files, which may have taken long to compute
            error.add_note(folder.what_is_there(command_line("evaluate"), error))
        else:
            folder.discard()
        raise
    finally:
        folder.close()


def evaluate_run(cfg: DictConfig, folder: RunFolder) -> None:
    """Evaluate one run on one of its splits, or on another site's images.

    The results of its own split with the stored decision rules go into the run folder, as after a training. With other
    settings, or if they would replace another split's report, they go into a new folder.
    """
    from medcls.cli.decision_rules import rehearse, rules_for, show_effect_of_arithmetic
    from medcls.cli.external_images import read_external_images
    from medcls.inference.arithmetic import Arithmetic
    from medcls.inference.load import add_decision_rules
    from medcls.runs.registry import read_test
    from medcls.workflow import evaluating, result_files, run_sources, tracking
    from medcls.workflow.heat_maps import heat_maps_of

    settings.read_report_settings(cfg)  # wrong settings are reported before anything is loaded
    arithmetic = Arithmetic(cfg.precision, cfg.compile)
    trained = open_run(str(cfg.run), cfg)
    options, refit = settings.read_report_settings(cfg, trained.config)
    settings.check_has_threshold(trained.loaded.classes, trained.loaded.positive, refit)
    external = settings.names_external_images()
    if external:
        manifest, duplicates = read_external_images(cfg, trained)
        split = "external"
        reference = [
            table for split in (trained.reference_split, "test") if (table := trained.stored(split)) is not None
        ]
        watermarks, images = manifest.watermarks, manifest.root
        site = f"{cfg.data.name}: {manifest.root.name}" if options.page.paths else "another site"
        name = f"{trained.name}, on {site}"
    else:
        settings.check_split(cfg.split, trained)
        manifest, split = trained.reopen(cfg.split), cfg.split
        reference = []
        duplicates, watermarks, images, name = None, trained.loaded.watermarks, trained.images, trained.name
    rehearse(trained, manifest, split, reference, options, refit=refit, views=cfg.views)
    if not external and split != "val":
        reference = [trained.predictions_of(trained.reference_split)]
    named = (name, command_line("evaluate"))
    sources = run_sources.sources_of_run(trained.folder, trained.loaded, options.page, named, images)
    heat_map = heat_maps_of(trained.loaded, images, options.page)
    sources = dataclasses.replace(sources, watermarks=watermarks, training_duplicates=duplicates, heat_map=heat_map)
    if cfg.views > 1:
        reference = []  # stored probabilities are of one view
    elif arithmetic.is_exact and not external and not refit and not trained.has_result_of_another_split(cfg.split):
        refuse_links_out(trained.folder.path, trust=cfg.trust)
        folder.write_into(trained.folder.path)
    result = trained.predict_images(manifest, split, cfg.views, arithmetic)
    folder.begin("evaluate.log")
    if folder.path != trained.folder.path or trained.stored(split) is None:
        # Kept if anything below fails. Calibrated predictions of a run stay until its metrics are replaced too.
        folder.write_predictions(result.name, result)
    else:
        folder.written.setdefault(f"predictions/{split}.csv")  # by the training: complete, whatever fails below
    fitted = rules_for(trained, options, refit=refit, views=cfg.views, result=result)
    if not arithmetic.is_exact:
        show_effect_of_arithmetic(trained, manifest, result, fitted, arithmetic, cfg.views)
        sources = dataclasses.replace(sources, watermarks=(*watermarks, f"predicted with {arithmetic} arithmetic"))
    results = evaluating.evaluate([*reference, result], fitted, options)
    root, split_by = (None, None) if external else (images, trained.split_by)
    readings = read_test(result, str(trained.folder.path), "evaluate", root=root, settings=split_by)
    if folder.path == trained.folder.path and trained.loaded.decision_rules is None:  # stopped before it fitted any
        add_decision_rules(trained.folder.best, fitted.to_plain())
    result_files.deliver(
        folder, results, fitted, dataclasses.replace(sources, readings=readings), options, "Best checkpoint"
    )
    if folder.path == trained.folder.path:
        tracking.log_evaluation(folder.path, trust=cfg.trust)


if __name__ == "__main__":
    main()
