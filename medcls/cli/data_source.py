"""The images that a configuration names, and the settings of their split."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from medcls.cli.building import build, plain
from medcls.errors import MedclsError, nearest

if TYPE_CHECKING:
    from medcls.data.manifest import Manifest
    from medcls.data.sources.options import MatchClasses


def make_paths_absolute(cfg: DictConfig) -> None:
    """Make the data's paths absolute, so that the saved configuration is valid from any folder.

    Raises
    ------
    MedclsError
        No images are named, or their folder does not exist. The source checks this too, but only after torch is loaded.
    """
    for key in ("root", "exclude_file", "locked_test", "groups"):
        if cfg.data[key] is not None:
            cfg.data[key] = str(Path(str(cfg.data[key])).expanduser().absolute())
    if cfg.get("teacher") is not None:
        cfg.teacher = str(Path(str(cfg.teacher)).expanduser().absolute())
    _check_root(cfg)
    # A table that is not here is searched for below data.root by the source, and so is a list of tables.
    csv = cfg.data.get("csv")
    if isinstance(csv, str) and Path(csv).expanduser().is_file():
        cfg.data.csv = str(Path(csv).expanduser().absolute())


def _check_root(cfg: DictConfig) -> None:
    if cfg.data.root is None:
        raise MedclsError("No images are named: add data.root=/path/to/images to the command.", kind="no_images_named")
    root = Path(cfg.data.root)
    phantoms_at = cfg.data.source.get("phantoms_at")
    will_be_made = cfg.data.download or (phantoms_at is not None and root == Path(phantoms_at).absolute())
    if not root.exists() and not will_be_made:
        siblings = [entry.name for entry in root.parent.iterdir()] if root.parent.is_dir() else []
        raise MedclsError(
            f"There is no folder {root} (data.root).{nearest(root.name, siblings)} Give the folder that holds one "
            "sub-folder for each class, or the images of a table.",
            kind="no_such_folder",
        )


def read_source(cfg: DictConfig, *, strict: bool, judged_by: MatchClasses | None = None) -> Manifest:
    """Read the images that the configuration names, after downloading them if `data.download` is true; not split.

    Parameters
    ----------
    cfg : DictConfig
    strict, judged_by
        See `medcls.data.sources.options.SourceOptions`.

    Raises
    ------
    MedclsError
        Raised by the source or the download.
    """
    from medcls.workflow import terminal

    if cfg.get("resume") is not None:
        # A resume neither downloads nor makes images: the run folder would decide from where and to where.
        if not Path(str(cfg.data.root)).is_dir():
            raise MedclsError(
                f"The images of the run are not in {cfg.data.root}. If they were moved, add data.root=/new/place.",
                kind="no_such_folder",
            )
    elif cfg.data.download:
        with terminal.progress("downloading images") as progress:
            build(cfg.data.published, target=cfg.data.root, progress=progress)
    positive = None if cfg.positive_class is None else str(cfg.positive_class)
    with terminal.progress("reading images") as progress:
        judged = {} if judged_by is None else {"judged_by": judged_by}
        manifest: Manifest = build(cfg.data.source, positive=positive, strict=strict, progress=progress, **judged)
    return manifest


def split_settings(cfg: DictConfig) -> dict[str, Any]:
    """The settings of the split: each field of `SplitSettings` that the configuration names, and the seed."""
    from medcls.data.splits.split import SplitSettings

    names = [name for name in inspect.signature(SplitSettings).parameters if name in cfg.data]
    return {"seed": cfg.seed} | {name: plain(cfg.data[name]) for name in names}


def source_settings(cfg: DictConfig) -> dict[str, Any]:
    """The settings that decide images, labels and groups; not their location, nor the cache.

    Two splits are the same only if both `split_settings` and these are equal.
    """
    source: dict[str, Any] = plain(cfg.data.source)
    return {"source": {name: value for name, value in source.items() if name not in ("root", "csv", "remember")}}
