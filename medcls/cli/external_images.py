"""Another site's images, with the classes and the preprocessing of the run that is evaluated on them."""

from __future__ import annotations

import dataclasses
import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from medcls.cli.building import plain
from medcls.cli.data_source import make_paths_absolute, read_source
from medcls.cli.evaluation_settings import typed_keys
from medcls.cli.trained_runs import TrainedRun
from medcls.errors import MedclsError

if TYPE_CHECKING:
    from medcls.data.manifest import Manifest

log = logging.getLogger(__name__)


def read_external_images(cfg: DictConfig, trained: TrainedRun) -> tuple[Manifest, int]:
    """Read another site's images with the run's classes; count those that the run was trained or selected on.

    Raises
    ------
    MedclsError
        A class that the run does not know, or an error of the source.
    """
    from medcls.data.manifest import named_exclusions, read_rows
    from medcls.data.sources.other_sites import leave_out_again, match_classes
    from medcls.data.splits.split import with_kept_together
    from medcls.wording import enumerated
    from medcls.workflow.seen_images import SeenImages

    classes, own = trained.loaded.classes, trained.config.data
    refuse_other_preprocessing(cfg, trained)
    make_paths_absolute(cfg)
    cfg.positive_class = None
    cfg.data.frame = trained.loaded.preprocessing.frame
    match = partial(
        match_classes,
        classes=classes,
        # A label map that was typed, or is in the data's configuration, replaces the run's.
        label_map=None if cfg.data.label_map else plain(own.get("label_map")),
        leave_out_unmapped=bool(own.get("leave_out_unmapped")),
    )
    manifest = read_source(cfg, strict=False, judged_by=match)
    if manifest.unreadable:
        raise MedclsError(
            f"{len(manifest.unreadable)} of the images cannot be read:\n"
            + "\n".join(f"  {failure}" for failure in manifest.unreadable[:20]),
            kind="unreadable_image",
        )
    known = read_rows(trained.folder.manifest)
    exclude_file = own.get("exclude_file")
    if exclude_file is not None and not Path(str(exclude_file)).is_file():
        log.warning("the run's data.exclude_file %s does not exist: no image is left out by it here", exclude_file)
        exclude_file = None
    excluded = named_exclusions(plain(own.get("exclude", [])), exclude_file, Path(str(own.root)))
    rows, notes = leave_out_again(manifest.rows, excluded, known)
    manifest = manifest.with_rows(rows, *notes)
    for line in manifest.notes:
        log.warning(line)
    if missing := [name for name in classes if name not in set(rows["label"])]:
        extra = {"rule": "missing_class"}
        log.warning("no image of %s here: metrics that need one are undefined", enumerated(missing), extra=extra)
    duplicates = int(rows["content"].isin(SeenImages.read(trained.folder.path).contents).sum())
    if duplicates:
        log.warning(
            "%d of these images are also among those that the run was trained or selected on",
            duplicates,
            extra={"rule": "images_of_the_training"},
        )
    manifest = with_kept_together(manifest, near_duplicates=cfg.data.keep_near_copies_together)
    rows = manifest.rows.assign(split="external")
    return dataclasses.replace(manifest, classes=classes, positive=trained.loaded.positive, rows=rows), duplicates


def refuse_other_preprocessing(cfg: DictConfig, trained: TrainedRun) -> None:
    """Refuse typed settings of the preprocessing that differ from the run's.

    Raises
    ------
    MedclsError
        One differs; names it and the run's value.
    """
    typed = [key.removeprefix("data.") for key in typed_keys() if key.startswith("data.")]
    own = trained.loaded.preprocessing.to_plain()
    own["image_size"] = own["size"]
    for name in ("image_size", "resize", "bits", "window", "frame"):
        asked = plain(cfg.data[name])
        if name == "image_size" and isinstance(asked, int):
            asked = [asked, asked]
        if name in typed and asked is not None and asked != own[name]:
            raise MedclsError(
                f"data.{name}={plain(cfg.data[name])}: images get the preprocessing that the run's network was trained "
                f"with, data.{name}={own[name]}. Leave it out.",
                kind="other_preprocessing",
            )
