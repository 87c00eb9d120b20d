"""Settings of an audit, and the images that it checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from medcls.cli.building import plain
from medcls.cli.data_source import read_source
from medcls.errors import MedclsError

if TYPE_CHECKING:
    # Heavy imports are made where they are used, so that a typo is reported before anything is loaded.
    from medcls.auditing.findings import Finding
    from medcls.data.manifest import Manifest
    from medcls.preprocessing import Decoding


def check_settings(cfg: DictConfig) -> None:
    """Check the settings before any image is read."""
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
    """The decoding that the data's configuration asks for."""
    from medcls.preprocessing import Decoding

    return Decoding(
        bits=8 if cfg.data.bits is None else cfg.data.bits, window=plain(cfg.data.window), frame=cfg.data.frame
    )


def read_images(cfg: DictConfig) -> Manifest:
    """Read the images, also those that would stop a training.

    Raises
    ------
    MedclsError
        No image can be read.
    """
    manifest = read_source(cfg, strict=False)
    if not len(manifest):
        raise MedclsError(
            f"None of the {len(manifest.unreadable)} files can be read:\n"
            + "\n".join(f"  {failure}" for failure in manifest.unreadable),
            kind="unreadable_image",
        )
    return manifest


def try_to_split(manifest: Manifest, settings: Mapping[str, Any]) -> tuple[Manifest | None, list[Finding]]:
    """Split the images as a training would; where that fails, the failure is a finding."""
    from medcls.auditing.findings import Finding
    from medcls.data.splits.split import SplitSettings, split

    try:
        return split(manifest, SplitSettings(**settings)), []
    except MedclsError as error:
        return None, [Finding("split", "error", "A training could not split these images", str(error))]
