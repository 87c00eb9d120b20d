"""Build the objects that a configuration names; report settings that do not fit."""

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

    An error is reported as a wrong setting only if the settings caused it: the target does not exist; the arguments do
    not match its signature, by name or type; or it rejects a value (`signatures.is_rejected_value`). Any other
    exception is a programming error, and keeps its stack trace.

    Raises
    ------
    MedclsError
        Raised by the target, or because its settings do not fit.
    """
    if not OmegaConf.is_dict(node) or "_target_" not in node:
        raise MedclsError(
            f"{_key(node) or 'A setting'} is {plain(node)!r}, which has no _target_ to build.",
            kind="bad_value",
        )
    if fixed := [key for key in values if key in node]:
        raise MedclsError(
            f"{_key(node)}.{fixed[0]} comes from the run itself, and cannot be set.", kind="setting_of_the_run"
        )
    try:
        built = instantiate(node, **values, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, MedclsError):
            raise cause from None
        if cause is None or str(error).startswith("Error locating target"):
            # A missing target is a wrong setting; a target whose import fails is not.
            root = getattr(cause, "__cause__", None) or cause
            if root is not None and not isinstance(root, ImportError | AttributeError | ValueError):
                raise root from None
            lines = " ".join(line for line in str(cause or error).splitlines() if line.strip())
            raise MedclsError(
                f"{_key(node)}._target_={node['_target_']} cannot be built: {lines}", kind="unknown_target"
            ) from error
        if problems := _misfits(plain(node), _key(node), values):
            raise MedclsError("\n".join(problems), kind="bad_value") from error
        if is_rejected_value(cause, [target for _, target in stored.targets(plain(node))]):
            raise MedclsError(f"{node['_target_']} rejects its settings: {cause}", kind="bad_value") from error
        raise cause from None
    if node.get("_partial_") and (problems := _misfits(plain(node), _key(node), values)):
        raise MedclsError("\n".join(problems), kind="bad_value")
    return built


def _misfits(settings: Mapping[str, Any], name: str, values: Mapping[str, Any]) -> list[str]:
    """One sentence for each setting that does not fit, in a node and the nodes within it."""
    target = get_object(str(settings["_target_"]))
    own = {key: value for key, value in settings.items() if key not in ("_target_", "_partial_", "_convert_")}
    problems = misfits(
        target,
        {key: _Built() if isinstance(value, dict) and "_target_" in value else value for key, value in own.items()},
        name,
        values,
        partial=bool(settings.get("_partial_")),
    )
    for key, value in own.items():
        if isinstance(value, dict) and "_target_" in value:
            problems += _misfits(value, f"{name}.{key}" if name else key, {})
    return problems


class _Built:
    """Placeholder for the object that an inner node is built into."""


def _key(node: Any) -> str:  # noqa: ANN401 - any value a configuration can hold
    """The full key of a node, such as `model.network`."""
    return str(node._get_full_key(None) or "") if OmegaConf.is_config(node) else ""


def build_network(described: Mapping[str, Any], *, trust: bool) -> Any:  # noqa: ANN401 - torch is not imported here
    """Build a network from the description in a checkpoint.

    Raises
    ------
    MedclsError
        The description has references, or names a target that medcls does not ship while `trust` is false.
    """
    where = "The checkpoint's description of its network"
    stored.refuse_references(described, where)
    if not trust:
        stored.check_targets({"model": {"network": described}}, shipped_targets(), where)
    return build(OmegaConf.create(dict(described)))


def build_own_network(described: Mapping[str, Any], own: DictConfig) -> Any:  # noqa: ANN401 - as build_network
    """Build the network of a run's own checkpoint from the run's settings, not from those in the file.

    Parameters
    ----------
    described : mapping
        The checkpoint's description of its network.
    own : DictConfig
        The run's `model.network`, which was typed, or checked when it was read.

    Raises
    ------
    MedclsError
        The checkpoint is of another network.
    """
    settings = {name: value for name, value in described.items() if name != "num_classes"}
    if settings != plain(own):
        raise MedclsError(
            f"The best checkpoint is of another network ({settings}) than the run ({plain(own)}): it belongs to "
            "another run. Restore the run's own checkpoints/best.ckpt.",
            kind="of_another_run",
        )
    return build(own, num_classes=described.get("num_classes"))


def plain(node: Any) -> Any:  # noqa: ANN401 - any value a configuration can hold
    """A configuration node as plain lists, dicts, numbers and strings."""
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
