"""The images that a configuration names, and what they are split by."""

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
    """Make the data's paths absolute, so that the saved configuration holds wherever the next command is started.

    Raises
    ------
    MedclsError
        No images are named, or their folder is not there: what the source would say too, after seconds of loading.
    """
    for key in ("root", "exclude_file", "locked_test", "groups"):
        if cfg.data[key] is not None:
            cfg.data[key] = str(Path(str(cfg.data[key])).expanduser().absolute())
    _check_root(cfg)
    # A table that is not here is looked for below data.root, and a list of tables names that itself.
    csv = cfg.data.get("csv")
    if isinstance(csv, str) and Path(csv).expanduser().is_file():
        cfg.data.csv = str(Path(csv).expanduser().absolute())


def _check_root(cfg: DictConfig) -> None:
    if cfg.data.root is None:
        raise MedclsError(
            "Nothing says where the images are: add data.root=/path/to/images to the command.", kind="no_images_named"
        )
    root = Path(cfg.data.root)
    phantoms_at = cfg.data.source.get("phantoms_at")
    made = cfg.data.download or (phantoms_at is not None and root == Path(phantoms_at).absolute())
    if not root.exists() and not made:
        there = [entry.name for entry in root.parent.iterdir()] if root.parent.is_dir() else []
        raise MedclsError(
            f"There is no folder {root} (data.root).{nearest(root.name, there)} Give the folder that holds one "
            "sub-folder a class, or the images of a table.",
            kind="no_such_folder",
        )


def read_source(cfg: DictConfig, *, strict: bool, judged_by: MatchClasses | None = None) -> Manifest:
    """The images that the configuration names, fetched first where that was asked for; not split.

    Parameters
    ----------
    cfg : DictConfig
    strict, judged_by
        See `medcls.data.sources.options.SourceOptions`.

    Raises
    ------
    MedclsError
        What the source, or the download, objects to.
    """
    from medcls.workflow import terminal

    if cfg.get("resume") is not None:
        # Neither fetched nor made (phantoms): where from and where to would be the folder's word.
        if not Path(str(cfg.data.root)).is_dir():
            raise MedclsError(
                f"The images of the run are not in {cfg.data.root}. Where they lie elsewhere now, say where by adding "
                "data.root=/new/place.",
                kind="no_such_folder",
            )
    elif cfg.data.download:
        with terminal.progress("fetching images") as progress:
            build(cfg.data.published, target=cfg.data.root, progress=progress)
    positive = None if cfg.positive_class is None else str(cfg.positive_class)
    with terminal.progress("reading images") as progress:
        judged = {} if judged_by is None else {"judged_by": judged_by}
        manifest: Manifest = build(cfg.data.source, positive=positive, strict=strict, progress=progress, **judged)
    return manifest


def split_settings(cfg: DictConfig) -> dict[str, Any]:
    """What the images are split by: each field of `SplitSettings` that the configuration names, and the seed."""
    from medcls.data.splits.split import SplitSettings

    names = [name for name in inspect.signature(SplitSettings).parameters if name in cfg.data]
    return {"seed": cfg.seed} | {name: plain(cfg.data[name]) for name in names}


def source_settings(cfg: DictConfig) -> dict[str, Any]:
    """What decides which images there are, under which labels and in which groups; not where they lie, nor the cache.

    Two splits by the same `split_settings` are only cut by the same settings where these are the same too.
    """
    source: dict[str, Any] = plain(cfg.data.source)
    return {"source": {name: value for name, value in source.items() if name not in ("root", "csv", "remember")}}
