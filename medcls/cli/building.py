"""Objects built from what a configuration names; what does not fit is told as a setting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from medcls.cli.shipped import shipped_targets
from medcls.errors import MedclsError
from medcls.runs import stored
from medcls.signatures import is_rejected_value, misfits


def build(node: DictConfig, **values: Any) -> Any:  # noqa: ANN401 - builds whatever the configuration names
    """Build what a configuration names, with the values that only the run knows.

    Only what the settings caused is told as their fault: a target that is not there; arguments that do not fit its
    signature, by name or type; a value that it refuses itself (`fitting.is_value_check`). Whatever else goes wrong
    inside is a fault of the program, and keeps its stack trace.

    Raises
    ------
    MedclsError
        What the built function objected to; or that its settings do not fit.
    """
    if not OmegaConf.is_dict(node) or "_target_" not in node:
        raise MedclsError(
            f"{_key(node) or 'A setting'} is {plain(node)!r}, which names nothing to build (_target_).",
            kind="bad_value",
        )
    if both := [key for key in values if key in node]:
        raise MedclsError(
            f"{_key(node)}.{both[0]} comes from the run itself, and cannot be set.", kind="setting_of_the_run"
        )
    try:
        built = instantiate(node, **values, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, MedclsError):
            raise cause from None
        if cause is None or str(error).startswith("Error locating target"):
            # What it needs is not there; or it is there and breaks, which is another matter.
            root = getattr(cause, "__cause__", None) or cause
            if root is not None and not isinstance(root, ImportError | AttributeError | ValueError):
                raise root from None
            lines = " ".join(line for line in str(cause or error).splitlines() if line.strip())
            raise MedclsError(
                f"{_key(node)}._target_={node['_target_']} cannot be built: {lines}", kind="unknown_target"
            ) from error
        if found := _misfits(plain(node), _key(node), values):
            raise MedclsError("\n".join(found), kind="bad_value") from error
        if is_rejected_value(cause, [target for _, target in stored.targets(plain(node))]):
            raise MedclsError(f"{node['_target_']} does not take its settings: {cause}", kind="bad_value") from error
        raise cause from None
    if node.get("_partial_") and (found := _misfits(plain(node), _key(node), values)):
        raise MedclsError("\n".join(found), kind="bad_value")
    return built


def _misfits(settings: Mapping[str, Any], name: str, values: Mapping[str, Any]) -> list[str]:
    """What does not fit, in a node and those within it."""
    target = get_object(str(settings["_target_"]))
    own = {key: value for key, value in settings.items() if key not in ("_target_", "_partial_", "_convert_")}
    found = misfits(
        target,
        {key: _Built() if isinstance(value, dict) and "_target_" in value else value for key, value in own.items()},
        name,
        values,
        whole=not settings.get("_partial_"),
    )
    for key, value in own.items():
        if isinstance(value, dict) and "_target_" in value:
            found += _misfits(value, f"{name}.{key}" if name else key, {})
    return found


class _Built:
    """Stands for what a node within a node becomes."""


def _key(node: Any) -> str:  # noqa: ANN401 - any value a configuration can hold
    """Where a node stands: `model.network`."""
    return str(node._get_full_key(None) or "") if OmegaConf.is_config(node) else ""


def build_network(described: Mapping[str, Any], *, trust: bool) -> Any:  # noqa: ANN401 - torch is not imported here
    """Build a network from what a checkpoint says of it.

    Raises
    ------
    MedclsError
        It has references, or asks for something that medcls does not ship and is not trusted.
    """
    where = "The checkpoint's description of its network"
    stored.refuse_references(described, where)
    if not trust:
        stored.check_targets({"model": {"network": described}}, shipped_targets(), where)
    return build(OmegaConf.create(dict(described)))


def build_own_network(described: Mapping[str, Any], own: DictConfig) -> Any:  # noqa: ANN401 - as build_network
    """Build the network of a checkpoint that the run itself wrote: by the run's settings, not by those in the file.

    Parameters
    ----------
    described : mapping
        What the checkpoint says of its network.
    own : DictConfig
        The run's own `model.network`, which was typed, or checked when it was read.

    Raises
    ------
    MedclsError
        The checkpoint is of another network.
    """
    settings = {name: value for name, value in described.items() if name != "num_classes"}
    if settings != plain(own):
        raise MedclsError(
            f"The best checkpoint is of another network ({settings}) than the run ({plain(own)}): it is of another "
            "run. Bring the run's own checkpoints/best.ckpt back.",
            kind="of_another_run",
        )
    return build(own, num_classes=described.get("num_classes"))


def plain(node: Any) -> Any:  # noqa: ANN401 - any value a configuration can hold
    """A configuration node as lists, dicts, numbers and strings."""
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
