"""A baseline on frozen features: `python -m medcls.probe data.root=/my/images positive_class=ill`."""

from __future__ import annotations

import logging
from functools import partial

from omegaconf import DictConfig, OmegaConf

from medcls.cli import building, data_source, entry_point, sweeps
from medcls.cli.importing import import_large
from medcls.cli.invocation import command_line
from medcls.cli.output_folder import claimed_folder
from medcls.runs.run_folder import RunFolder

# Not __name__, which is __main__ when the file runs as a module.
log = logging.getLogger("medcls.probe")


def main() -> None:
    """Run the command."""
    entry_point.run_command(run, "probe")


def run(cfg: DictConfig) -> None:
    """Probe into the folder that Hydra chose; leave no folder behind if the probe did not start."""
    with claimed_folder() as folder:
        data_source.make_paths_absolute(cfg)
        probe(cfg, folder)


def probe(cfg: DictConfig, run: RunFolder) -> None:
    """Fit and evaluate a linear probe with the configuration `cfg` (see `conf/probe.yaml`)."""
    # Heavy imports are made here, so that a typo is reported before torch is loaded.
    import_large("lightning")

    import torch

    from medcls import hardware
    from medcls.auditing.quick import audit_quickly
    from medcls.cli import probing as settings
    from medcls.cli import training
    from medcls.data.module import ImageDataModule, Loading
    from medcls.inference.frozen_features import frozen_features
    from medcls.inference.load import load
    from medcls.models.summary import summarise
    from medcls.workflow import probing, resuming, scoring, terminal
    from medcls.workflow.report_settings import ReportSettings

    run.refuse_within(cfg.data.root)
    terminal.start_log(cfg.verbose)
    machine = hardware.choose(cfg.data.workers, cfg.keep_memory, jobs=sweeps.concurrent_jobs())
    training.seed(cfg.seed)

    # Errors of settings, then of images, are raised before the network runs.
    options = ReportSettings.read(building.plain(cfg))
    settings.check_settings(cfg)
    chosen = settings.choose_networks(cfg)
    all_images, manifest = settings.read_images(cfg)
    folds = settings.cut_folds(cfg, manifest)
    probing.check_evaluation(manifest, options)
    probed = settings.build_networks(chosen, manifest)
    manifest = settings.with_watermark_of_random(manifest, probed)
    cfg.model, preprocessing = probed.settings, probed.preprocessing
    split_by = data_source.split_settings(cfg) | data_source.source_settings(cfg)
    findings = audit_quickly(
        all_images, manifest, split_by, resize=preprocessing.resize, half_width=options.precision_of_sensitivity
    )

    loaders = partial(
        ImageDataModule,
        preprocessing=preprocessing,
        augmentation=None,
        loading=Loading(
            batch_size=cfg.data.batch_size,
            seed=cfg.seed,
            workers=machine.workers,
            memory_for_images=machine.memory_for_images,
            cache=cfg.data.cache,
        ),
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    described = {"name": cfg.model.name, "network": building.plain(cfg.model.network)}
    with terminal.progress("running the frozen network") as progress:
        features, computed = frozen_features(
            probed.network, described, loaders, manifest, device, cache=cfg.data.cache, progress=progress
        )
    kept = len(manifest) - computed
    log.info(
        "%d features of each of %d images, %d of them cached", features.shape[1], len(manifest), kept,
        extra={"rule": "features_ready"},
    )  # fmt: skip
    found = probing.fit_probe(features, manifest, folds, preprocessing.resize)

    # From here on the run folder is written.
    name = resuming.identity(building.plain(cfg), manifest)
    run.begin("probe.log")
    scoring.write_origin(
        run,
        manifest,
        findings,
        probed.account,
        summarise(probed.network, (preprocessing.channels, *preprocessing.size)),
    )
    run.write_text("config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
    run.write_json("environment.json", hardware.environment() | {"choices": list(machine.reasons), "run": name})
    description = training.describe(probed.settings, len(manifest.classes), probed.preprocessing, manifest, name)
    probing.write_checkpoint(run, probed.network, found.layer, description.to_plain())
    best = load(run.best, partial(building.build_own_network, own=cfg.model.network))
    named = f"{cfg.data.name}, linear probe of {cfg.model.name}", command_line("probe")
    probing.score(run, best, manifest, features, found, options, split_by, named)


if __name__ == "__main__":
    main()
