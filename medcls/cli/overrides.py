"""Prepare the command line for Hydra: quote paths and names, check groups."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep
from hydra.errors import HydraException
from omegaconf import OmegaConf

from medcls.cli.shipped import configurations
from medcls.errors import MedclsError, hydra_override, is_key, typed
from medcls.runs.stored import refuse_passwords

# Settings whose value is always text (a path, a pattern, a name) or null.
TEXT = frozenset(
    {
        "data.root",
        "data.csv",
        "data.path_template",
        "data.label_column",
        "data.group_column",
        "data.split_column",
        "data.group_pattern",
        "data.groups",
        "data.exclude_file",
        "data.locked_test",
        "model.weights",
        "teacher",
        "positive_class",
        "operating_point",
        "report.purpose",
        "run",
        "predictions",
        "val",
        "images",
        "output",
        "class_name",
        "layer",
        "logger.mlflow.tracking_uri",
        "resume",
        "hydra.run.dir",
        "hydra.sweeper.storage",
        "hydra.sweeper.study_name",
    }
)

# Settings that are lists of text. The brackets, which some shells expand, may be left out.
LISTS_OF_TEXT = frozenset({"runs"})


def multirun_first(arguments: Sequence[str]) -> list[str]:
    """Put `-m` before the settings: Hydra does not recognize settings after it if others stand before it."""
    return sorted(arguments, key=lambda argument: argument not in ("-m", "--multirun"))


def check_no_password(arguments: Sequence[str]) -> None:
    """Refuse a password in a setting of a logger, before a sweep writes its arguments into its folder.

    Raises
    ------
    MedclsError
        There is one.
    """
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key.lstrip("+~").partition(".")[0] == "logger":
            refuse_passwords({key.lstrip("+~").removeprefix("logger.") or "logger": value})


def quote_for_hydra(arguments: Sequence[str]) -> list[str]:
    """Quote values for Hydra's grammar, or raise an error with the exact form to type.

    The value of a setting that is always text (`TEXT`) is taken as typed, and quoted where Hydra would reject it
    (`data.path_template={image_id}.jpg`) or read something else. Values that are quoted already, null, lists,
    references `${...}` and, with -m, several values keep their meaning.

    Raises
    ------
    MedclsError
        A value of another setting needs quotes, or stands for several values without -m.
    """
    multirun = any(argument in ("-m", "--multirun") for argument in arguments)
    return [
        argument if argument.startswith("-") or "=" not in argument else _readable_override(argument, multirun)
        for argument in arguments
    ]


def override_of(key: str, value: object) -> str:
    """`key=value` in Hydra's grammar, of a value given in Python: text stays text, whatever is in it.

    Raises
    ------
    MedclsError
        A value, or a key of a mapping, that cannot be typed on a command line.
    """
    return f"{key}={_in_grammar(key, value)}"


def _in_grammar(key: str, value: object) -> str:
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:  # a scalar of NumPy or torch
        value = value.item()
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str | os.PathLike):
        return hydra_override(key, os.fspath(value)).removeprefix(f"{key}=")
    if isinstance(value, list | tuple):
        return f"[{', '.join(_in_grammar(key, one) for one in value)}]"
    if isinstance(value, Mapping):
        if unwritable := [name for name in value if not is_key(str(name))]:
            raise MedclsError(
                f"{key}: Hydra only accepts plain words and whole numbers as keys, and one is {unwritable[0]!r}.",
                kind="bad_value",
            )
        return f"{{{', '.join(f'{name}: {_in_grammar(key, one)}' for name, one in value.items())}}}"
    raise MedclsError(
        f"{key} is {value!r}, of {type(value).__name__}: give text, a number, a boolean, None, a path, or a list "
        "or dict of these.",
        kind="bad_value",
    )


def _readable_override(argument: str, multirun: bool) -> str:
    key, value = argument.split("=", 1)
    is_text = key.lstrip("+") in TEXT
    if key.lstrip("+") in LISTS_OF_TEXT and not re.search(r"['\"]|\$\{|^(null|\[\s*\])?$", value):
        return argument if multirun and "," in value and value[:1] != "[" else _list_of_text(key, value)
    try:
        parsed = OverridesParser.create().parse_override(argument)
    except HydraException as error:
        if is_text and not (multirun and "," in value):
            return hydra_override(key, value)
        raise MedclsError(
            f"The value of {key} has characters with a meaning in Hydra's grammar: {value}\n"
            f"Type it in quotes within quotes:\n  {typed(key, value)}",
            kind="needs_quotes",
        ) from error
    if parsed.is_sweep_override():
        if multirun:
            return argument
        if is_text:
            return hydra_override(key, value)
        raise MedclsError(
            f"{argument} is read as several values. For one run each, add -m. If the comma belongs to the value, "
            f"type:\n  {typed(key, value)}",
            kind="several_values",
        )
    read = parsed.value()
    meant = read is None or read == value or isinstance(read, list) or "${" in value or value[:1] in ("'", '"')
    return argument if meant or not is_text else hydra_override(key, value)


def _list_of_text(key: str, value: str) -> str:
    """Quote each part of `runs=[a b,乳腺]`, with or without brackets, that Hydra would not read as typed."""
    inner = value[1:-1] if value[:1] == "[" and value[-1:] == "]" else value
    return f"{key}=[{','.join(_as_text(part.strip()) for part in inner.split(','))}]"


def _as_text(part: str) -> str:
    """One part of a list, quoted if Hydra would not read it as typed."""
    try:
        if OverridesParser.create().parse_override(f"part={part}").value() == part:
            return part
    except HydraException:
        pass
    return hydra_override("part", part).removeprefix("part=")


def check_groups(arguments: Sequence[str], config_name: str) -> list[str]:
    """Refuse `model=null` and `~model` with a clearer message than Hydra's; drop `data=null` where null is the default.

    Raises
    ------
    MedclsError
        A group that the command needs is removed; lists the choices.
    """
    conf = configurations() / "conf"
    defaults = OmegaConf.load(conf / f"{config_name}.yaml").defaults
    default_choices = {str(group): item[group] for item in defaults if OmegaConf.is_dict(item) for group in item}
    kept = []
    for argument in arguments:
        if argument.startswith("-") or ("=" not in argument and argument[:1] != "~"):
            kept.append(argument)
            continue
        override = OverridesParser.create().parse_override(argument)
        group = override.key_or_group
        value = override.value()
        values = value.list if isinstance(value, ChoiceSweep) else [value]
        if group == "hydra/sweeper" and values == ["optuna"]:
            raise MedclsError(
                f"{argument}: this sweeper minimises, and does not keep its trials. Type "
                "hydra/sweeper=search, which uses Optuna too.",
                kind="no_such_choice",
            )
        if values == [None] and default_choices.get(group, "") is None:
            continue
        is_needed = group.split("/")[0] in default_choices and (conf / group).is_dir()
        if is_needed and (None in values or override.is_delete()):
            options = sorted(path.stem for path in (conf / group).glob("*.yaml"))
            raise MedclsError(
                f"{argument}: this would remove {group}, which the command needs. Leave it out for the default, or "
                f"choose among {', '.join(f'{group}={name}' for name in options)}.",
                kind="no_such_choice",
            )
        kept.append(argument)
    return kept
