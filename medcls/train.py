"""Train a classifier and evaluate it: `python -m medcls.train data.root=/my/images positive_class=ill`."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from medcls.cli import building, data_source, entry_point, following, resume, sweeps, termination
from medcls.cli.importing import import_large
from medcls.cli.invocation import command_line
from medcls.cli.slurm import requeued
from medcls.runs.run_folder import RunFolder
from medcls.runs.stored import refuse_links_out

# Not __name__, which is __main__ when the file runs as a module.
log = logging.getLogger("medcls.train")


def main() -> None:
    """Run the command."""
    entry_point.run_command(run, "train")


@requeued
def run(cfg: DictConfig) -> float | None:
    """Train in the folder that Hydra chose; leave no folder behind if the run did not start."""
    folder = RunFolder(Path(HydraConfig.get().runtime.output_dir))
    try:
        composed, cfg = cfg, resume.resumed_configuration(cfg, HydraConfig.get().overrides.task)
        if not following.leads(cfg):
            return following.start_or_follow(composed, cfg)
        folder.claim()
        if resume.is_begun_job(cfg, folder):
            cfg.resume = str(folder.path)
            cfg = resume.resumed_configuration(cfg, HydraConfig.get().overrides.task)
        if cfg.resume:
            refuse_links_out(folder.path, trust=cfg.trust)
        else:
            folder.refuse_if_taken(by_training=True)
            # Fixed here, so that the saved configuration does not depend on how and where the command was started.
            cfg.evaluate_test = not sweeps.is_sweep() if cfg.evaluate_test is None else cfg.evaluate_test
            data_source.make_paths_absolute(cfg)
        with following.connected(cfg):
            return train(cfg, folder)
    finally:
        folder.close()


def train(cfg: DictConfig, run: RunFolder) -> float | None:
    """Train and evaluate with the configuration `cfg` (see `conf/train.yaml`).

    Returns the best value of the monitored metric, or None if nothing was trained.
    """
    # Heavy imports are made here, so that a typo is reported before torch is loaded.
    import_large("lightning")

    from medcls import hardware
    from medcls.auditing.quick import audit_quickly
    from medcls.cli import distilling, stored_configuration, training
    from medcls.cli.early_checks import check_settings
    from medcls.inference.load import load
    from medcls.learning.checkpoints import best_score
    from medcls.learning.trainer_settings import check_trainer
    from medcls.models.summary import summarise
    from medcls.statistics.metrics import logged_metrics
    from medcls.workflow import evaluating, resuming, scoring, terminal, tracking, training_plots
    from medcls.workflow.report_settings import ReportSettings

    run.refuse_within(cfg.data.root)
    terminal.start_log(cfg.get("verbose", False))
    machine = training.choose_hardware(cfg, jobs=sweeps.concurrent_jobs())
    training.seed(cfg.seed)
    check_trainer(building.plain(cfg.trainer))

    training_ended = finished = False
    if cfg.resume:
        own = stored_configuration.read_run_configuration(run.path, trust=cfg.trust)
        training_ended = resuming.has_ended(run, cfg.trainer.max_epochs, own.trainer.max_epochs)
        finished = training_ended and resuming.is_scored(run, evaluate_test=cfg.evaluate_test)
        if finished and own.data == cfg.data:
            resuming.log_finished(run)
            return best_score(run.last)

    # Errors of settings, then of images, are raised here, before the first epoch.
    options = ReportSettings.read(building.plain(cfg))
    preprocessing = training.choose_preprocessing(cfg)
    split = data_source.split_settings(cfg)
    check_settings(cfg, split, preprocessing, machine)
    for line in hardware.suggestions(str(cfg.trainer.precision), cfg.data.batch_size):
        log.debug("would suit this machine better: %s", line)
    all_images, manifest = training.read_images(cfg, split)
    evaluating.check_evaluation(manifest.rows, manifest.classes, manifest.positive, options)
    split_by = split | data_source.source_settings(cfg)
    findings = audit_quickly(
        all_images, manifest, split_by, resize=preprocessing.resize, half_width=options.precision_of_sensitivity
    )
    data = training.make_loaders(cfg, manifest, preprocessing, machine)
    if cfg.preview:
        run.begin()
        training_plots.write(training_plots.plot_data(data), run.figures)
        log.info("plots of the data: %s", run.figures)
        return None

    name = resuming.own_identity(run) if cfg.resume else resuming.identity(building.plain(cfg), manifest)
    metrics = partial(logged_metrics, classes=manifest.classes, positive=manifest.positive)
    classifier, freezing, account = training.make_classifier(cfg, manifest, preprocessing, metrics, name)
    training.choose_batch_norm(cfg, classifier, training.log_learning_rates(cfg, data))
    teaching, teacher = ([], None) if training_ended else distilling.open_teacher(cfg, data, machine)
    summary = summarise(classifier.network, (preprocessing.channels, *preprocessing.size))
    plots = training_plots.WritePlots({} if cfg.resume else training_plots.plot_data(data), run.figures)
    trainer = training.make_trainer(cfg, run, data, freezing, machine, [plots, *teaching])

    # From here on the run folder is written.
    config = OmegaConf.to_yaml(cfg, resolve=True)
    if not cfg.resume and run.was_left_in_its_first_epoch():
        resuming.start_over(run, config)
    run.begin()
    if cfg.resume:
        resuming.check_same_run(run, manifest, name)
    else:
        scoring.write_origin(run, manifest, findings, account, summary, teacher)
    run.write_text("config.yaml", config)
    run.write_json("environment.json", hardware.environment() | {"choices": list(machine.reasons), "run": name})
    if finished:  # only its images were moved
        resuming.log_finished(run)
        return best_score(run.last)
    if not training_ended:
        with termination.add_note_on_failure(lambda _: resuming.what_was_trained(run)), termination.reraise_interrupt():
            following.fit(trainer, classifier, data, cfg, run, name)
    epochs = resuming.log_end(run, trainer, cfg.early_stopping, cfg.monitor)

    # Only the best checkpoint is evaluated; predictions and metrics record the hash of its weights.
    run.written = {"checkpoints": None}
    with termination.add_note_on_failure(lambda error: scoring.what_is_there(run, manifest, cfg.evaluate_test, error)):
        best = load(run.best, partial(building.build_own_network, own=cfg.model.network))
        phases = building.plain(cfg.schedule.phases)
        training_plots.plot_training(run, phases, epochs, best.epoch, cfg.monitor, manifest.watermark)
        title = f"{cfg.data.name}, {cfg.model.name}", command_line("train")
        device = trainer.strategy.root_device
        with tracking.tracked(trainer.loggers):
            scoring.score(run, best, data, device, options, split_by if cfg.evaluate_test else None, title)
    return best_score(run.last)


if __name__ == "__main__":
    main()
