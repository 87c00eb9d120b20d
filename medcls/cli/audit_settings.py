"""What an audit is asked for, and the images that it looks at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from medcls.cli.building import plain
from medcls.cli.data_source import read_source
from medcls.errors import MedclsError

if TYPE_CHECKING:
    # Everything heavy is imported where it is used, so that a typo is answered before anything is loaded.
    from medcls.auditing.findings import Finding
    from medcls.data.manifest import Manifest
    from medcls.preprocessing import Decoding


def check_settings(cfg: DictConfig) -> None:
    """Refuse settings that mean nothing before a long reading begins.

    Raises
    ------
    MedclsError
        Names the setting and what it can be.
    """
    from medcls.preprocessing import RESIZE_POLICIES

    if cfg.audit.fix not in (None, "exclude"):
        raise MedclsError(f"audit.fix is {cfg.audit.fix!r}: give exclude, or null to change nothing.", kind="bad_value")
    for name in ("pictures", "paths"):
        if not isinstance(cfg.audit[name], bool):
            raise MedclsError(f"audit.{name} is {cfg.audit[name]!r}: give true or false.", kind="bad_value")
    if cfg.data.resize not in (None, *RESIZE_POLICIES):
        raise MedclsError(
            f"data.resize is {cfg.data.resize!r}: choose one of {', '.join(RESIZE_POLICIES)}.", kind="bad_value"
        )


def requested_decoding(cfg: DictConfig) -> Decoding:
    """How the data's configuration wants files to become pixels.

    Raises
    ------
    MedclsError
        A value that makes no sense.
    """
    from medcls.preprocessing import Decoding

    return Decoding(
        bits=8 if cfg.data.bits is None else cfg.data.bits, window=plain(cfg.data.window), frame=cfg.data.frame
    )


def read_images(cfg: DictConfig) -> Manifest:
    """The images as they are, with what would stop a training among them.

    Raises
    ------
    MedclsError
        There are none, or not one of them can be read.
    """
    manifest = read_source(cfg, strict=False)
    if not len(manifest):
        raise MedclsError(
            f"None of {len(manifest.unreadable)} files can be read:\n"
            + "\n".join(f"  {failure}" for failure in manifest.unreadable),
            kind="unreadable_image",
        )
    return manifest


def try_to_split(manifest: Manifest, settings: Mapping[str, Any]) -> tuple[Manifest | None, list[Finding]]:
    """The images as a training would split them; that it could not is a finding."""
    from medcls.auditing.findings import Finding
    from medcls.data.splits.split import SplitSettings, split

    try:
        return split(manifest, SplitSettings(**settings)), []
    except MedclsError as error:
        return None, [Finding("split", "error", "A training could not split these images", str(error))]
