"""What is typed, as Hydra reads it: paths and names as this very text, and groups that exist."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep
from hydra.errors import HydraException
from omegaconf import OmegaConf

from medcls.cli.shipped import configurations
from medcls.errors import MedclsError, hydra_override, typed

# Settings that are text (a path, a pattern, a name) whatever stands in them, and never anything else but null.
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
        "positive_class",
        "operating_point",
        "report.purpose",
        "run",
        "predictions",
        "val",
        "images",
        "resume",
        "hydra.run.dir",
    }
)

# Settings that are lists of such text. Brackets around them may be left out, as shells of their own mind want it.
LISTS_OF_TEXT = frozenset({"runs"})


def multirun_first(arguments: Sequence[str]) -> list[str]:
    """Put `-m` before the settings: between two of them, Hydra calls those behind it unrecognized."""
    return sorted(arguments, key=lambda argument: argument not in ("-m", "--multirun"))


def quote_for_hydra(arguments: Sequence[str]) -> list[str]:
    """Put the command line so that Hydra reads it as it was meant, or say the exact form to type.

    Where a setting is always text (`TEXT`), its value is taken as typed, and quoted for Hydra where its grammar would
    stumble over it (`data.path_template={image_id}.jpg`) or read something else. What is quoted already, null, a list,
    a reference `${...}` and, with -m, several values keep their meaning.
    """
    multirun = any(argument in ("-m", "--multirun") for argument in arguments)
    return [
        argument if argument.startswith("-") or "=" not in argument else _readable_override(argument, multirun)
        for argument in arguments
    ]


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
            f"The value of {key} has characters that mean something to Hydra: {value}\n"
            f"Type it in quotes within quotes:\n  {typed(key, value)}",
            kind="needs_quotes",
        ) from error
    if parsed.is_sweep_override():
        if multirun:
            return argument
        if is_text:
            return hydra_override(key, value)
        raise MedclsError(
            f"{argument} reads as several values. For one run each, add -m. If the comma belongs to the value, "
            f"type:\n  {typed(key, value)}",
            kind="several_values",
        )
    read = parsed.value()
    meant = read is None or read == value or isinstance(read, list) or "${" in value or value[:1] in ("'", '"')
    return argument if meant or not is_text else hydra_override(key, value)


def _list_of_text(key: str, value: str) -> str:
    """`runs=[a b,乳腺]`, or the same without brackets, so that Hydra reads each part as this very text."""
    inner = value[1:-1] if value[:1] == "[" and value[-1:] == "]" else value
    return f"{key}=[{','.join(_as_text(part.strip()) for part in inner.split(','))}]"


def _as_text(part: str) -> str:
    """One part of a list, quoted only where Hydra would not read this very text."""
    try:
        if OverridesParser.create().parse_override(f"part={part}").value() == part:
            return part
    except HydraException:
        pass
    return hydra_override("part", part).removeprefix("part=")


def check_groups(arguments: Sequence[str], config_name: str) -> list[str]:
    """Refuse `model=null` and `~model` in a sentence; take `data=null` away where nothing is the default anyway.

    Hydra can only choose among the files of a group, and says so in its own words.

    Raises
    ------
    MedclsError
        Names what there is to choose from.
    """
    conf = configurations() / "conf"
    defaults = OmegaConf.load(conf / f"{config_name}.yaml").defaults
    usual = {str(group): one[group] for one in defaults if OmegaConf.is_dict(one) for group in one}
    kept = []
    for argument in arguments:
        if argument.startswith("-") or ("=" not in argument and argument[:1] != "~"):
            kept.append(argument)
            continue
        override = OverridesParser.create().parse_override(argument)
        group = override.key_or_group
        read = override.value()
        values = read.list if isinstance(read, ChoiceSweep) else [read]
        if values == [None] and usual.get(group, "") is None:
            continue
        if (None in values or override.is_delete()) and group.split("/")[0] in usual and (conf / group).is_dir():
            options = sorted(path.stem for path in (conf / group).glob("*.yaml"))
            raise MedclsError(
                f"{argument}: nothing would be left of {group}, and every command that has it needs one. Leave it out "
                f"for the usual one, or choose among {', '.join(f'{group}={name}' for name in options)}.",
                kind="no_such_choice",
            )
        kept.append(argument)
    return kept
