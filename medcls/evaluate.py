"""Judge a run, another site's images, or any tool's predictions: `python -m medcls.evaluate run=RUN split=test`."""

from __future__ import annotations

import dataclasses
import functools
import logging
import shlex
import sys
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from medcls.cli.configuration import (
    build,
    build_network,
    check_trust,
    jobs_at_once,
    open_door,
    plain,
    read_own,
    read_source,
    settle_paths,
    source_settings,
    split_settings,
)
from medcls.cli.importing import import_large
from medcls.errors import MedclsError
from medcls.runs.run_folder import RunFolder, read_json
from medcls.runs.stored import refuse_links_out
from medcls.workflow.finished_runs import differences, root_of, runs_in

if TYPE_CHECKING:
    # Everything heavy is imported where it is used, so that a typo is answered before torch is loaded.
    from medcls.data.manifest import Manifest
    from medcls.evaluation.predictions import Predictions
    from medcls.hardware import Hardware
    from medcls.inference.arithmetic import Arithmetic
    from medcls.inference.load import Loaded
    from medcls.inference.predict import Predictor
    from medcls.workflow.reporting import Fitted, Telling

# Run as a module, this file is called __main__; its log belongs to medcls all the same.
log = logging.getLogger("medcls.evaluate")

# What a run's checkpoint already has: given here, it is fitted anew.
STORED = ("calibrate", "operating_point", "coverage", "aggregate")

# Images that are predicted exactly too, where the rest is not: enough to see what it changes.
HELD_AGAINST_EXACT = 500

# What means nothing beside what is judged, and why.
_KNOWN = "a run knows the class that it looks for"
_OWN_ROWS = "a run is fitted on its own val or calibration images"
_TABLE = "a table comes with its scores, and no image is read"
_FOLDS = "folds are judged as each was stored, which is exactly"
IDLE = {
    "run": {"positive_class": _KNOWN, "val": _OWN_ROWS},
    "images of another site": {
        "positive_class": _KNOWN,
        "val": _OWN_ROWS,
        "split": "all images of another site are judged",
        "images": "data.root says where they lie",
    },
    "runs": {
        "positive_class": _KNOWN,
        "val": _OWN_ROWS,
        "split": "folds are judged on what each held out",
        "precision": _FOLDS,
        "compile": _FOLDS,
    },
    "predictions": {
        "split": "all rows of a table are judged, and its column split names them",
        "images": _TABLE,
        "views": _TABLE,
        "precision": _TABLE,
        "compile": _TABLE,
        "data": _TABLE,
    },
}


def main() -> None:
    """Open the door."""
    open_door(run, "evaluate")


def run(cfg: DictConfig) -> None:
    """Evaluate what is named, into the run's own folder or the one that Hydra chose; leave nothing of what failed."""
    from medcls.workflow import terminal

    folder = RunFolder(Path(HydraConfig.get().runtime.output_dir))
    try:
        folder.claim()
        doors = {"run": evaluate_run, "runs": evaluate_folds, "predictions": evaluate_table}
        named = [name for name in doors if cfg[name] is not None]
        if len(named) != 1:
            raise MedclsError(
                f"{' and '.join(named) or 'Nothing'} given to evaluate: name one of run=RUN, runs=[A,B,...] (the folds "
                "of a cross-validation) and predictions=FILE.csv."
            )
        refuse_idle_settings(named[0])
        if not folder.holds_unfinished_evaluation():
            folder.refuse_if_taken()
        if folder.report.exists():
            raise MedclsError(f"{folder.path} already holds an evaluation. Give another hydra.run.dir.")
        if named[0] == "run":
            find_run(str(cfg.run))  # before anything large is loaded
        terminal.start_log(cfg.verbose)
        import_large("lightning")
        doors[named[0]](cfg, folder)
    except BaseException as error:
        if folder.written:  # what is there is whole, and may have taken long
            error.add_note(folder.what_is_there(command(), error))
        else:
            folder.discard()
        raise
    finally:
        folder.close()


@dataclasses.dataclass(frozen=True)
class OpenedRun:
    """A run folder with its checkpoint ready to predict.

    Parameters
    ----------
    folder : RunFolder
    config : DictConfig
        The run's own, resolved.
    loaded : Loaded
    splits : frozenset of str
        Those that have images.
    images : Path
        Where they lie now.
    machine : Hardware
    """

    folder: RunFolder
    config: DictConfig
    loaded: Loaded
    splits: frozenset[str]
    images: Path
    machine: Hardware

    @property
    def name(self) -> str:
        """As reports call it."""
        return f"{self.config.data.name}, {self.config.model.name}"

    @property
    def cut_by(self) -> dict[str, Any]:
        """All that its splits were cut by, as its training remembered it."""
        return split_settings(self.config) | source_settings(self.config)

    @property
    def fitted_on(self) -> str:
        """The split that temperature and threshold belong on."""
        return "calibration" if "calibration" in self.splits else "val"

    def stored(self, split: str) -> Predictions | None:
        """Read the predictions of a split that the run folder holds, where they are of this very checkpoint."""
        from medcls.evaluation.predictions import read_csv
        from medcls.workflow.finished_runs import check_against_manifest

        path = self.folder.predictions / f"{split}.csv"
        if not path.is_file():
            return None
        table = read_csv(path, self.loaded.positive)
        if table.checkpoint != self.loaded.checkpoint:
            return None
        if split in self.splits:
            check_against_manifest(table, path, self.folder.path)
        return table

    def holds_result_of_another_split(self, split: str) -> bool:
        """Whether the run folder's report is of another split, and not to be lost to this one."""
        results = {"test", "held_out"} - {split}
        return any((self.folder.predictions / f"{name}.csv").is_file() for name in results)

    def predict(self, split: str, views: int = 1) -> Predictions:
        """Predict one of the run's own splits anew, exactly."""
        return self.predict_images(self.reopen(split), split, views)

    def reopen(self, split: str) -> Manifest:
        """One of the run's own splits, its images where they lie now."""
        from medcls.data.sources.saved import reopen
        from medcls.workflow import terminal

        with terminal.progress(f"reading {split} images") as progress:
            return reopen(
                self.folder.manifest,
                self.images,
                self.loaded.classes,
                self.loaded.positive,
                splits=[split],
                stamps=self.loaded.stamps,
                frame=self.loaded.preprocessing.frame,
                remember=bool(self.config.data.cache),
                progress=progress,
            )

    def predict_images(
        self, manifest: Manifest, split: str, views: int = 1, arithmetic: Arithmetic | None = None
    ) -> Predictions:
        """Predict any images, prepared as this run's network wants them; exactly, unless told otherwise."""
        from medcls.data.module import ImageDataModule
        from medcls.inference.predict import predict_split
        from medcls.workflow import terminal

        data = ImageDataModule(
            manifest,
            self.loaded.preprocessing,
            augmentation=build(self.config.data.augmentation) if views > 1 else None,
            batch_size=self.config.data.batch_size,
            seed=self.config.seed,
            workers=self.machine.workers,
            memory_for_images=self.machine.memory_for_images,
            cache=self.config.data.cache,
        )
        predictor = self.exact_predictor
        if arithmetic is not None and not arithmetic.is_exact:
            predictor = self.predictor(arithmetic)
        with terminal.progress(f"predicting {split}") as progress:
            return predict_split(self.loaded, data, split, predictor, progress, views=views)

    @functools.cached_property
    def exact_predictor(self) -> Predictor:
        """The network, made ready once for all splits."""
        from medcls.inference.arithmetic import EXACT

        return self.predictor(EXACT)

    def predictor(self, arithmetic: Arithmetic) -> Predictor:
        """The network, made ready to compute in a way of its own."""
        import torch

        from medcls.inference.predict import Predictor

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return Predictor(self.loaded.network, device, arithmetic)

    def beside(self, split: str) -> Predictions:
        """The predictions of a split that only stands beside the result: those there are, else new ones."""
        stored = self.stored(split)
        return self.predict(split) if stored is None else stored


def find_run(path: str) -> RunFolder:
    """Find a run folder that has what an evaluation needs.

    Raises
    ------
    MedclsError
        There is none.
    """
    place = Path(path).expanduser()
    # Looked at from outside first: closing a run folder that has not begun takes an empty one away.
    if not (place / "config.yaml").is_file() or not (place / "checkpoints" / "best.ckpt").is_file():
        raise MedclsError(
            f"{path or 'An empty name'} is no run folder that can be evaluated: it needs config.yaml and "
            "checkpoints/best.ckpt."
        )
    folder = RunFolder(place)
    folder.close()  # it is read here, and has nothing to log
    return folder


def open_run(path: str, cfg: DictConfig) -> OpenedRun:
    """Find a run folder, and load its best checkpoint.

    Raises
    ------
    MedclsError
        No run folder, or one that asks for what medcls does not ship.
    """
    from medcls import hardware
    from medcls.data.manifest import fingerprint, read_rows
    from medcls.inference.load import check_is_of, load

    folder = find_run(path)
    config = read_own(folder.path, trust=check_trust(cfg))
    if missing := [name for name in ("data", "model", "schedule", "seed") if name not in config]:
        raise MedclsError(f"{folder.config} is no configuration of a run: it has no {', '.join(missing)}.")
    rows = read_rows(folder.manifest)
    loaded = load(folder.best, partial(build_network, trust=cfg.trust))
    environment = read_json(folder.path / "environment.json")
    of_run = str(environment.get("run", "")) if isinstance(environment, dict) else ""
    check_is_of(folder.best, (loaded.manifest, loaded.run), fingerprint(rows), of_run)
    images = config.data.root if cfg.images is None else cfg.images
    return OpenedRun(
        folder=folder,
        config=config,
        loaded=loaded,
        splits=frozenset(rows["split"]),
        images=Path(str(images)).expanduser().absolute(),
        machine=hardware.choose(config.data.workers, cfg.keep_memory, jobs=jobs_at_once()),
    )


def evaluate_run(cfg: DictConfig, folder: RunFolder) -> None:
    """One run: a split of its own, or another site's images.

    Its own split, as the run stored its policies, goes into the run folder, as a training would have left it there;
    what is told otherwise, and what would take the place of another split's report, gets a folder of its own.
    """
    from medcls.inference.arithmetic import Arithmetic
    from medcls.inference.load import add_policies
    from medcls.runs.test_readings import read_test
    from medcls.workflow import reporting

    read_telling(cfg)  # a setting that makes no sense is answered before anything is loaded
    arithmetic = Arithmetic(cfg.precision, cfg.compile)
    opened = open_run(str(cfg.run), cfg)
    telling, anew = read_telling(cfg, opened.config)
    check_has_threshold(opened.loaded.classes, opened.loaded.positive, anew)
    external = names_other_images()
    if external:
        manifest, copies = other_images(cfg, opened)
        split = "external"
        beside = [table for split in ("val", "test") if (table := opened.stored(split)) is not None]
        stamps, images = manifest.stamps, manifest.root
        site = f"{cfg.data.name}: {manifest.root.name}" if telling.paths else "another site"
        name = f"{opened.name}, on {site}"
    else:
        check_split(cfg.split, opened)
        manifest, split = opened.reopen(cfg.split), cfg.split
        beside = []
        copies, stamps, images, name = None, opened.loaded.stamps, opened.images, opened.name
    rehearse(opened, manifest, split, beside, telling, anew=anew, views=cfg.views)
    if not external and split != "val":
        beside = [opened.beside("val")]
    sources = reporting.sources_of_run(
        opened.folder,
        name=name,
        command=command(),
        telling=telling,
        stamps=stamps,
        readings=None,
        images=images,
        preprocessing=opened.loaded.preprocessing,
        best_epoch=opened.loaded.epoch,
    )
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
    fitted = fitted_for(opened, telling, anew=anew, views=cfg.views, result=result)
    if not arithmetic.is_exact:
        say_what_it_changes(opened, manifest, result, fitted, arithmetic, cfg.views)
        sources = dataclasses.replace(sources, stamps=(*stamps, f"predicted with {arithmetic} arithmetic"))
    results = reporting.judge([*beside, result], fitted, telling)
    root, cut_by = (None, None) if external else (images, opened.cut_by)
    readings = read_test(result, str(opened.folder.path), "evaluate", root=root, settings=cut_by)
    reporting.write_results(folder, results, fitted, sources.stamps)
    if folder.path == opened.folder.path and opened.loaded.policies is None:  # it was stopped before it fitted any
        add_policies(opened.folder.best, fitted.to_plain())
    reporting.show(results, readings)
    reporting.write_report(
        folder, results, dataclasses.replace(sources, readings=readings, training_copies=copies), telling
    )
    log.info("the report: %s", folder.report)


def rehearse(
    opened: OpenedRun,
    manifest: Manifest,
    split: str,
    beside: Sequence[Predictions],
    telling: Telling,
    *,
    anew: Sequence[str],
    views: int,
) -> None:
    """Tell made-up scores of these images as the result will be told: what cannot be is said before any is predicted.

    Raises
    ------
    MedclsError
        A column, class or prevalence that these images do not have; patients whose images disagree.
    """
    from medcls.data.manifest import read_rows
    from medcls.workflow import reporting

    loaded = opened.loaded
    described = (loaded.classes, loaded.positive, loaded.checkpoint)
    result = reporting.made_up(manifest.rows, split, *described)
    if views > 1 and "calibration" not in opened.splits:
        fitted = reporting.not_fitted(result, telling)
    elif loaded.policies is not None and views == 1 and not anew:
        fitted = reporting.Fitted.from_plain(loaded.policies)
    else:
        own = reporting.made_up(read_rows(opened.folder.manifest), opened.fitted_on, *described)
        fitted = reporting.fit_quietly(own, telling)
    reporting.judge_quickly([*([] if views > 1 else beside), result], fitted, telling)


def say_what_it_changes(
    opened: OpenedRun, manifest: Manifest, result: Predictions, fitted: Fitted, arithmetic: Arithmetic, views: int
) -> None:
    """Predict some of the images exactly too, and print what is otherwise."""
    from medcls.workflow import reporting

    rows = manifest.rows
    these = rows[rows["split"] == result.split]
    chosen = these.sample(min(len(these), HELD_AGAINST_EXACT), random_state=0).index
    # Rows keep their numbers, by which views are drawn.
    sample = rows.assign(split=rows["split"].where(rows.index.isin(chosen), ""))
    exact = opened.predict_images(manifest.with_rows(sample), result.split, views)
    same = result.rows[result.rows["path"].isin(exact.rows["path"])]
    reporting.show_effect(exact, dataclasses.replace(result, rows=same), fitted.images, str(arithmetic))


def check_split(split: str, opened: OpenedRun) -> None:
    """Refuse a split that the run does not have, or that its network was fitted to.

    Raises
    ------
    MedclsError
        Lists those that can be evaluated.
    """
    there = [name for name in ("test", "held_out", "val", "calibration") if name in opened.splits]
    if split not in there:
        raise MedclsError(f"split={split}: this run has {', '.join(there)} to evaluate.")


def fitted_for(opened: OpenedRun, telling: Telling, *, anew: Sequence[str], views: int, result: Predictions) -> Fitted:
    """What the result is judged with: as the checkpoint stored it, or fitted now, and never on the result.

    The mean over several views has probabilities of its own, and gets a fit of its own on images that selected
    nothing; where none were cut off, none.
    """
    from medcls.workflow import reporting

    stored = opened.loaded.policies
    if views > 1:
        if "calibration" in opened.splits:
            return reporting.fit(opened.predict("calibration", views), telling)
        log.warning(
            "views=%d: the mean over views needs a fit of its own on images that selected nothing, and this run has "
            "cut none off (data.calibration_fraction=0.2): probabilities stay as they are, and the threshold is 0.5",
            views,
        )
        return reporting.not_fitted(result, telling)
    if stored is not None and not anew:
        return reporting.Fitted.from_plain(stored)
    return reporting.fit(opened.beside(opened.fitted_on), telling)


def given() -> list[str]:
    """The settings that the command line names; those of a group as the group: `data` for `data.root=...`."""
    names = [override.lstrip("+~").split("=")[0] for override in HydraConfig.get().overrides.task]
    return ["data" if name.startswith("data.") else name for name in names]


def check_has_threshold(classes: Sequence[str], positive: str | None, anew: Sequence[str]) -> None:
    """Refuse an operating point where there is none.

    Raises
    ------
    MedclsError
        More than two classes.
    """
    if positive is None and "operating_point" in anew:
        raise MedclsError(
            f"operating_point means nothing with {len(classes)} classes, of which the most probable is called: "
            "leave it out."
        )


def names_other_images() -> bool:
    """Whether the command line names images of another place."""
    return "data" in given()


def refuse_idle_settings(judged: str) -> None:
    """Refuse what was typed and would change nothing: whoever typed it believes that it does.

    Raises
    ------
    MedclsError
        Names the settings.
    """
    what = "images of another site" if judged == "run" and names_other_images() else judged
    meant = {name: why for name, why in IDLE[what].items() if name in given()}
    if meant:
        reasons = "; ".join(dict.fromkeys(meant.values()))
        raise MedclsError(f"{', '.join(meant)} would change nothing beside {what}: {reasons}. Leave it out.")


def refuse_other_preparation(cfg: DictConfig, opened: OpenedRun) -> None:
    """Refuse settings of pixels that were typed and are not the run's: its network wants what it was trained on.

    Raises
    ------
    MedclsError
        Names them, and what the run has.
    """
    keys = [override.lstrip("+~").split("=")[0] for override in HydraConfig.get().overrides.task]
    typed = [key.removeprefix("data.") for key in keys if key.startswith("data.")]
    own = opened.loaded.preprocessing.to_plain()
    own["image_size"] = own["size"]
    for name in ("image_size", "resize", "bits", "window", "frame"):
        asked = plain(cfg.data[name])
        if name == "image_size" and isinstance(asked, int):
            asked = [asked, asked]
        if name in typed and asked is not None and asked != own[name]:
            raise MedclsError(
                f"data.{name}={plain(cfg.data[name])}: images are prepared as the run's network was trained on them, "
                f"with data.{name}={own[name]}. Leave it out."
            )


def other_images(cfg: DictConfig, opened: OpenedRun) -> tuple[Manifest, int]:
    """Another site's images, under the run's own classes; and how many of them the run has already seen.

    Raises
    ------
    MedclsError
        Classes that the run does not know; whatever the source objects to.
    """
    from medcls.data.manifest import named_exclusions, read_rows
    from medcls.data.sources.other_sites import leave_out_again, match_classes
    from medcls.data.splits.split import with_kept_together
    from medcls.wording import enumerated

    classes, own = opened.loaded.classes, opened.config.data
    refuse_other_preparation(cfg, opened)
    settle_paths(cfg)
    cfg.positive_class = None
    cfg.data.frame = opened.loaded.preprocessing.frame
    match = partial(
        match_classes,
        classes=classes,
        # What was typed, or what the data's configuration says, rules over what the run was trained with.
        label_map=None if cfg.data.label_map else plain(own.get("label_map")),
        leave_out_unmapped=bool(own.get("leave_out_unmapped")),
    )
    manifest = read_source(cfg, strict=False, judged_by=match)
    if manifest.unreadable:
        raise MedclsError(
            f"{len(manifest.unreadable)} of the images cannot be read:\n"
            + "\n".join(f"  {failure}" for failure in manifest.unreadable[:20])
        )
    known = read_rows(opened.folder.manifest)
    exclude_file = own.get("exclude_file")
    if exclude_file is not None and not Path(str(exclude_file)).is_file():
        log.warning("the run left out what %s lists, which is not there: nothing is left out by it here", exclude_file)
        exclude_file = None
    excluded = named_exclusions(plain(own.get("exclude", [])), exclude_file, Path(str(own.root)))
    rows, notes = leave_out_again(manifest.rows, excluded, known)
    manifest = manifest.with_rows(rows, *notes)
    for line in manifest.notes:
        log.warning(line)
    if missing := [name for name in classes if name not in set(rows["label"])]:
        log.warning("no image of %s here: what needs one is undefined", enumerated(missing))
    seen = known[known["split"].isin(("train", "val", "calibration"))]
    copies = int(rows["content"].isin(set(seen["content"]) - {""}).sum())
    if copies:
        log.warning("%d of these images are also among those that the run learned or selected by", copies)
    manifest = with_kept_together(manifest, near_copies=cfg.data.keep_near_copies_together)
    rows = manifest.rows.assign(split="external")
    return dataclasses.replace(manifest, classes=classes, positive=opened.loaded.positive, rows=rows), copies


def evaluate_table(cfg: DictConfig, folder: RunFolder) -> None:
    """A table of predictions, of whatever tool."""
    from medcls.evaluation.predictions import read_csv
    from medcls.report.sources import Sources
    from medcls.runs.test_readings import read_test
    from medcls.workflow import reporting
    from medcls.workflow.finished_runs import check_against_manifest

    telling, anew = read_telling(cfg)
    positive = None if cfg.positive_class is None else str(cfg.positive_class)
    path = Path(str(cfg.predictions)).expanduser()
    table = read_csv(path, positive)
    val = None if cfg.val is None else read_csv(Path(str(cfg.val)).expanduser(), positive)
    if path.parent.name == "predictions" and path.stem == table.split:  # a run folder's own
        check_against_manifest(table, path, path.parent.parent)
    fitted = fitted_for_table(path, table, val, telling, anew)
    results = reporting.judge([table] if val is None else [val, table], fitted, telling)
    readings = read_test(table, str(path), "evaluate", root=root_of(path.parent.parent))
    stamps = sorted(set(table.rows["stamp"]) - {""}) if "stamp" in table.rows else []
    sources = Sources(
        name=f"Predictions in {path.name}" if telling.paths else "Predictions",
        made=datetime.now().astimezone(),
        command=command(),
        purpose=telling.purpose,
        stamps=tuple(stamps),
        readings=readings,
    )
    folder.begin("evaluate.log")
    reporting.write_results(folder, results, fitted, stamps)
    reporting.show(results, readings, f"Predictions in {path.name}")
    reporting.write_report(folder, results, sources, telling)
    log.info("the report: %s", folder.report)


def fitted_for_table(
    path: Path, table: Predictions, val: Predictions | None, telling: Telling, anew: Sequence[str]
) -> Fitted:
    """Fitted on `val` where it is given; else as a run stored it beside the table; else a threshold of 0.5.

    Raises
    ------
    MedclsError
        Something was asked to be fitted, and there is nothing to fit it on.
    """
    from medcls.workflow import reporting

    check_has_threshold(table.classes, table.positive, anew)
    if val is not None:
        check_are_other_images(val, table)
        return reporting.fit(val, telling)
    # A threshold chosen beforehand needs no rows to be fitted on, nor does the mean over a patient's images.
    beforehand = {"operating_point"} if telling.operating_point.startswith("fixed") else set()
    to_fit = [name for name in anew if name not in beforehand | {"aggregate"}]
    if to_fit:
        raise MedclsError(
            f"{', '.join(to_fit)}: fitted, and never on the result. Add val=FILE.csv, the same tool's predictions of "
            "images that are not the result; or give a threshold chosen beforehand alone: operating_point=fixed=0.3."
        )
    policies = path.parent.parent / "policies.json"
    as_stored = not set(anew) - {"aggregate"}
    if as_stored and (stored := read_json(policies)) is not None:
        try:
            fitted = reporting.Fitted.from_plain(stored)
        except (KeyError, TypeError, AttributeError) as error:
            raise MedclsError(
                f"{policies} is not what a run fitted ({error!r}): bring it back, or move the table elsewhere."
            ) from error
        if fitted.images.checkpoint and fitted.images.checkpoint == table.checkpoint:
            log.info("judged by what its run fitted with the same checkpoint: %s", policies)
            if not anew:
                return fitted
            joined = reporting.not_fitted(fitted.images.calibrate(table), telling)
            return dataclasses.replace(joined, images=fitted.images)
    if as_stored:
        log.warning(
            "nothing was fitted: probabilities are taken as they are, and the threshold is 0.5. With val=FILE.csv, the "
            "same tool's predictions of images that are not the result, both are fitted"
        )
    return reporting.not_fitted(table, telling)


def check_are_other_images(val: Predictions, table: Predictions) -> None:
    """Refuse to fit on images that are then judged.

    Raises
    ------
    MedclsError
        Names some of them.
    """
    from medcls.wording import counted, enumerated

    if shared := sorted(set(val.rows["path"]) & set(table.rows["path"])):
        raise MedclsError(
            f"{counted(len(shared), 'image')} of val are also among those to be judged: {enumerated(shared, 3)}. They "
            "would be judged by their own answers. Leave them out of val; where other images have the same names, "
            "write their folders before these."
        )


def evaluate_folds(cfg: DictConfig, folder: RunFolder) -> None:
    """The runs of one cross-validation: each image by the network that had not seen it, and their ensemble on test."""
    from medcls.cells import escaped
    from medcls.evaluation.ensembles import ENSEMBLE, mean_of
    from medcls.evaluation.folds import over_folds, pooled
    from medcls.runs.test_readings import read_test
    from medcls.workflow import reporting

    telling, anew = read_telling(cfg)
    if anew or cfg.views > 1 or names_other_images():
        raise MedclsError("runs=[...] are judged as each was stored: leave out operating points, views and data.")
    members = open_folds(cfg)
    telling, _ = read_telling(cfg, members[0].config)
    fold_split = "held_out" if "held_out" in members[0].splits else "test"
    fitted = [fitted_for(member, telling, anew=(), views=1, result=member.beside("val")).images for member in members]
    tables = [one.calibrate(member.beside(fold_split)) for one, member in zip(fitted, members, strict=True)]
    folds = over_folds(tables, [one.threshold for one in fitted], telling.resamples, telling.seed)

    def ensemble(split: str) -> Predictions:
        return mean_of([member.predict(split) for member in members], ENSEMBLE)

    result = ensemble("test") if fold_split == "held_out" else pooled(tables)
    # Every network has learned or selected by the others' held-out images: only what was cut off before the folds can
    # fit the ensemble.
    if fold_split == "held_out" and "calibration" in members[0].splits:
        judged_by = reporting.fit(ensemble("calibration"), telling)
    else:
        judged_by = reporting.not_fitted(result, telling)
    results = reporting.judge([result], judged_by, telling)
    first = members[0]
    of = ", ".join(str(member.folder.path) for member in members)
    readings = read_test(result, of, "evaluate", root=first.images, settings=first.cut_by)
    sources = reporting.sources_of_run(
        first.folder,
        name=f"{first.name}: {len(members)} folds",
        command=command(),
        telling=telling,
        stamps=first.loaded.stamps,
        readings=readings,
        images=first.images,
        preprocessing=first.loaded.preprocessing,
        best_epoch=first.loaded.epoch,
    )
    each = {int(member.config.data.fold): member.folder for member in members}
    sources = dataclasses.replace(sources, audit=reporting.audit_of_folds(each))
    folder.begin("evaluate.log")
    folder.write_text("folds.csv", escaped(folds).to_csv(index=False, lineterminator="\n"))
    reporting.write_results(folder, results, judged_by, first.loaded.stamps)
    reporting.show_folds(folds)
    networks = "Mean of the folds' networks" if fold_split == "held_out" else "Held-out images of all folds"
    reporting.show(results, readings, networks)
    reporting.write_report(folder, results, sources, telling, folds)
    log.info("the report: %s", folder.report)


def open_folds(cfg: DictConfig) -> list[OpenedRun]:
    """Open the runs of a cross-validation, in the order of their folds.

    Raises
    ------
    MedclsError
        Fewer than two; runs without a fold; a fold twice; runs that differ in more than the fold.
    """
    named = plain(cfg.runs)
    named = [named] if isinstance(named, str) else list(named)
    folders = [Path(str(name)).expanduser() for name in named]
    if not_there := [str(path) for path in folders if not path.is_dir()]:
        raise MedclsError(f"There is no folder {', '.join(not_there)}: name run folders, or the folder of a sweep.")
    paths = [path for folder in folders for path in runs_in(folder)]
    if len(paths) < 2:
        raise MedclsError(f"runs={', '.join(map(str, named))}: a cross-validation has two runs or more.")
    members = [open_run(str(path), cfg) for path in paths]
    for member in members:
        if member.config.data.folds is None:
            raise MedclsError(
                f"{member.folder.path} is no fold of a cross-validation: train with -m data.folds=5 "
                "data.fold=0,1,2,3,4. Single runs are compared by medcls.compare."
            )
    members.sort(key=lambda member: member.config.data.fold)
    counts = {member.config.data.folds for member in members}
    folds = [member.config.data.fold for member in members]
    if len(counts) > 1 or len(set(folds)) < len(folds):
        raise MedclsError(
            f"These runs are folds {', '.join(map(str, folds))} of {', '.join(map(str, sorted(counts)))}: give the "
            "runs of one cross-validation, each fold once."
        )
    check_differ_in_fold_alone(members)
    if missing := sorted(set(range(counts.pop())) - set(folds)):
        log.warning(
            "fold(s) %s are missing: the images that they held out are not judged", ", ".join(map(str, missing))
        )
    return members


def check_differ_in_fold_alone(members: Sequence[OpenedRun]) -> None:
    """Refuse folds that were not trained alike: their mean would be of nothing.

    Raises
    ------
    MedclsError
        Names what each has of its own.
    """
    settings = [plain(member.config) for member in members]
    for one in settings:
        one["data"].pop("fold")
    if any(told := differences(settings)):
        listed = "\n".join(f"  {member.folder.path}: {words}" for member, words in zip(members, told, strict=True))
        raise MedclsError(f"Runs of one cross-validation differ in data.fold alone; these differ in more:\n{listed}")


def read_telling(cfg: DictConfig, own: DictConfig | None = None) -> tuple[Telling, tuple[str, ...]]:
    """How results are to be told, and which of what a checkpoint stores is to be fitted anew.

    What is not given is as the run has it (`own`, its configuration); without a run, as a training would.
    """
    from medcls.cli.configuration import configurations
    from medcls.workflow.reporting import Telling

    if isinstance(cfg.views, bool) or not isinstance(cfg.views, int) or cfg.views < 1:
        raise MedclsError(f"views is {cfg.views!r}: give a whole number, 1 for each image alone.")
    asked = plain(cfg)
    anew = tuple(name for name in STORED if asked[name] is not None)
    default = plain(OmegaConf.load(configurations() / "conf" / "evaluation" / "default.yaml"))
    as_trained = default if own is None else default | {name: plain(own[name]) for name in STORED if name in own}
    return Telling.read(asked | {name: as_trained[name] for name in STORED if name not in anew}), anew


def command() -> str:
    """What was typed."""
    return f"python -m medcls.evaluate {shlex.join(sys.argv[1:])}"


if __name__ == "__main__":
    main()
