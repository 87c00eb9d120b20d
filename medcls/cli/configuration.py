"""The one place, beside the doors, that knows Hydra: where configurations lie, and what may be built from them."""

from __future__ import annotations

import contextlib
import inspect
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
import yaml
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from medcls import cores
from medcls.cli import ending, streams
from medcls.errors import MedclsError, hydra_override, nearest, typed
from medcls.fitting import is_value_check, misfits
from medcls.runs import stored
from medcls.wording import counted

if TYPE_CHECKING:
    from medcls.data.manifest import Manifest
    from medcls.data.sources.assembly import MatchClasses

log = logging.getLogger(__name__)

MAY_CHANGE_ON_RESUME = (
    "trainer.max_epochs",
    "data.root",
    "data.csv",
    "data.workers",
    "keep_memory",
    "compile",
    "evaluate_test",
    "trust",
    "verbose",
)

# What a run from before there was a setting went by, where today's default is another.
BEFORE = {"exact_batch_norm": False, "positive_class": None}

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


def configurations() -> Path:
    """The folder that holds `conf/` and `experiments/`: in the wheel beside this file, else the checkout's top."""
    package = Path(__file__).parents[1]
    packaged = package / "configurations"
    return packaged if packaged.is_dir() else package.parent


def offer_experiments() -> None:
    """Make `experiments/` a group of its own beside those of `conf/`.

    By Hydra's store, not by its search path: that would make the whole checkout a place to look for groups.
    """
    for path in sorted((configurations() / "experiments").glob("*.yaml")):
        node = OmegaConf.load(path)
        ConfigStore.instance().store(name=path.stem, node=node, group="experiments", package="_global_")


def open_door(task: Callable[[DictConfig], Any], config_name: str) -> None:
    """Run a door's task under Hydra, and end the process as it deserves.

    What the user, the disk or a signal caused is told in a sentence (`ending.verdict`), with exit code 2, 130, 141 or
    143. A programming error keeps its stack trace, and exit code 1.

    Of a sweep every job has its turn: one that fails is said at once, and those that did stand in a list at the end.

    Parameters
    ----------
    task : callable
        Receives the composed configuration.
    config_name : str
        The file in `conf/` to start from.
    """
    cores.yield_to_others()
    streams.prepare()
    jobs = 0
    failed: dict[str, tuple[int, str]] = {}

    def guarded(cfg: DictConfig) -> Any:  # noqa: ANN401 - what Hydra returns to a sweeper is the task's business
        nonlocal jobs
        jobs += 1
        try:
            return task(cfg)
        except BaseException as error:
            code, sentence = _judged(error)
            if HydraConfig.get().mode != RunMode.MULTIRUN or code not in (ending.PROGRAM, ending.USER):
                ending.leave(code, sentence)
            name = f"job {HydraConfig.get().job.num} ({_what_differs()})"
            failed[name] = (code, sentence or f"{type(error).__name__}: {error}")
            ending.say(f"{name} failed. {sentence}")
            raise  # Hydra goes on with the next job, and raises this after the last

    with ending.interruptible():
        try:
            offer_experiments()
            sys.argv[1:] = _with_groups(_readable(_multirun_first(sys.argv[1:])), config_name)
            _resume_into_the_same_folder(sys.argv)
            with _hydra_raises():
                hydra.main(version_base="1.3", config_path=str(configurations() / "conf"), config_name=config_name)(
                    guarded
                )()
        except SystemExit as error:
            if ending.verdict(error) is None:  # said already
                raise
            ending.leave(*_judged(error))
        except BaseException as error:
            if isinstance(error, OSError) and error.filename is not None and not jobs:  # Hydra makes the folder
                reason = f"The folder {error.filename} cannot be made: {error.strerror}"
                ending.leave(ending.USER, f"{reason}. Give hydra.run.dir a place where a folder can be made.")
            if failed and isinstance(error, Exception):
                lines = [f"  {name}: {sentence.splitlines()[0]}" for name, (_, sentence) in failed.items()]
                code = min(code for code, _ in failed.values())  # a fault of the program is the graver one
                ending.leave(code, "\n".join([f"{len(failed)} of {counted(jobs, 'job')} failed:", *lines]))
            ending.leave(*_judged(error))
            raise


def _judged(error: BaseException) -> tuple[int, str]:
    """Exit code and sentence; of a programming error the stack trace is printed instead."""
    if isinstance(error, HydraException):
        # Of what Hydra did not understand; OmegaConf's reason stands behind it.
        reason = f"\n{error.__cause__}" if isinstance(error.__cause__, OmegaConfBaseException) else ""
        return ending.USER, f"{error}{reason}"
    if isinstance(error, OmegaConfBaseException) and _is_of_the_settings(error):
        return ending.USER, str(error)
    found = ending.verdict(error)
    if found is not None:
        return found
    if isinstance(error, SystemExit):
        raise error  # an end that has been said already
    # From the door on: the frames above it are Hydra's.
    frames = error.__traceback__
    traceback.print_exception(error.with_traceback(frames.tb_next if frames is not None else None))
    return ending.PROGRAM, ""


def _what_differs() -> str:
    """The settings of a job that the sweep varies, as typed; all that were typed where its sweeper chose them."""
    typed_here = OverridesParser.create().parse_overrides([a for a in sys.argv[1:] if "=" in a and a[:1] != "-"])
    swept = {override.key_or_group for override in typed_here if override.is_sweep_override()}
    own = list(HydraConfig.get().overrides.task)
    return ", ".join([one for one in own if one.partition("=")[0].lstrip("+~") in swept] or own)


def _is_of_the_settings(error: OmegaConfBaseException) -> bool:
    """Whether the settings are to blame, and not a program that asks for one that there never was."""
    if not isinstance(error, ConfigKeyError | ConfigAttributeError):
        return True
    # One that is shipped was taken away: on the command line (`~data.cache`), or in a run folder's file.
    return str(error.full_key or error.key) in _shipped_settings()


def _shipped_settings() -> frozenset[str]:
    """Every setting that a shipped file holds, and every group: `data`, `data.root`."""
    conf = configurations() / "conf"
    found = set()
    for path in conf.rglob("*.yaml"):
        group = ".".join(path.relative_to(conf).parent.parts)
        found |= {group, *_keys(OmegaConf.to_container(OmegaConf.load(path)), f"{group}." if group else "")}
    return frozenset(found)


def _keys(node: object, above: str) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield f"{above}{key}"
            yield from _keys(value, f"{above}{key}.")


@contextlib.contextmanager
def _hydra_raises() -> Iterator[None]:
    """Let Hydra raise what it meets instead of printing it: how a command ends is said in one place."""
    before = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = before


def jobs_at_once() -> int:
    """How many runs of this sweep go on at a time on this machine: what its launcher says (`n_jobs`), else 1."""
    config = HydraConfig.get()
    if config.mode != RunMode.MULTIRUN:
        return 1
    jobs = config.launcher.get("n_jobs") or 1
    return int(jobs) if jobs > 0 else max(1, cores.available() + 1 + int(jobs))  # -1: as many as there are cores


def _multirun_first(arguments: Sequence[str]) -> list[str]:
    """Put `-m` before the settings: between two of them, Hydra calls those behind it unrecognized."""
    return sorted(arguments, key=lambda argument: argument not in ("-m", "--multirun"))


def _readable(arguments: Sequence[str]) -> list[str]:
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
            f"Type it in quotes within quotes:\n  {typed(key, value)}"
        ) from error
    if parsed.is_sweep_override():
        if multirun:
            return argument
        if is_text:
            return hydra_override(key, value)
        raise MedclsError(
            f"{argument} reads as several values. For one run each, add -m. If the comma belongs to the value, "
            f"type:\n  {typed(key, value)}"
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


def _with_groups(arguments: Sequence[str], config_name: str) -> list[str]:
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
                f"for the usual one, or choose among {', '.join(f'{group}={name}' for name in options)}."
            )
        kept.append(argument)
    return kept


def _resume_into_the_same_folder(argv: list[str]) -> None:
    """`resume=RUN` continues in RUN: its own configuration rules, and nothing but paths and epochs may change."""
    overrides = OverridesParser.create().parse_overrides([a for a in argv[1:] if "=" in a and not a.startswith("-")])
    given = {override.key_or_group: override.value() for override in overrides}
    if given.get("resume") is None:
        return
    folder = Path(str(given["resume"])).expanduser()
    begun, last = (folder / "config.yaml").is_file(), (folder / "checkpoints" / "last.ckpt").is_file()
    if begun and not last and not (folder / "predictions").exists():
        raise MedclsError(
            f"resume={folder}: this run was stopped before its first epoch was finished, and there is nothing to go on "
            f"with. Give the command that began it once more; with {typed('hydra.run.dir', str(folder))} it starts "
            "over in the same folder."
        )
    if not begun or not last:
        raise MedclsError(
            f"resume={folder}: this folder holds no run that can go on (it needs config.yaml and "
            "checkpoints/last.ckpt)."
        )
    if any(argument in ("-m", "--multirun") for argument in argv):
        raise MedclsError("resume goes on with one run: leave out -m.")
    refused = [key for key in given if key != "resume" and key not in MAY_CHANGE_ON_RESUME]
    if refused:
        raise MedclsError(
            f"resume={folder} goes on with that run's own settings, so {', '.join(refused)} cannot change. What can: "
            f"{', '.join(MAY_CHANGE_ON_RESUME)}. For other settings, start a new run from its weights: "
            f"model.weights={folder}"
        )
    inner = str(folder).replace("'", "\\'")
    argv.append(f"hydra.run.dir='{inner}'")


def resumed(cfg: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """The configuration to go on with: the run's own, and the few overrides that apply."""
    trust = check_trust(cfg)
    own = read_own(Path(str(cfg.resume)).expanduser(), trust=trust)
    if missing := [name for name in ("data", "model", "schedule", "trainer", "seed") if name not in own]:
        raise MedclsError(
            f"{cfg.resume}/config.yaml is no configuration of a run: it has no {', '.join(missing)}. Bring it back as "
            "the training wrote it."
        )
    changed = {override.key_or_group for override in OverridesParser.create().parse_overrides(list(overrides))}
    former = str(own.data.root)
    for key in changed & set(MAY_CHANGE_ON_RESUME):
        OmegaConf.update(own, key, OmegaConf.select(cfg, key))
    for key in changed & {"data.root", "data.csv"}:
        OmegaConf.update(own, key, str(Path(str(OmegaConf.select(own, key))).expanduser().absolute()))
    # The saved configuration is resolved: what once referred to data.root now holds a copy of it.
    OmegaConf.update(own, "data.source.root", own.data.root)
    if (tables := plain(own.data.get("csv"))) is not None:
        own.data.csv = _moved(tables, former, str(own.data.root))
        OmegaConf.update(own, "data.source.csv", own.data.csv)
    own.resume, own.trust = str(cfg.resume), trust  # a folder does not say itself that it is trusted
    return own


def _moved(tables: str | list[str], former: str, root: str) -> str | list[str]:
    """Where tables that lay in the former folder of images lie now."""
    if isinstance(tables, list):
        return [str(_moved(table, former, root)) for table in tables]
    return root + tables.removeprefix(former) if tables.startswith(former + "/") else tables


@cache
def shipped_targets() -> Mapping[str, frozenset[str]]:
    """What the shipped configurations build, by place: all that a run folder may ask to be built there.

    By place, because what fetches a file is harmless where files are to be fetched, and nowhere else.
    """
    found: dict[str, set[str]] = {}
    conf = configurations() / "conf"
    for path in sorted(conf.rglob("*.yaml")):
        group = ".".join(path.relative_to(conf).parent.parts)
        for place, target in stored.targets(OmegaConf.to_container(OmegaConf.load(path)), group):
            found.setdefault(stored.kind(place), set()).add(target)
    return {place: frozenset(names) for place, names in found.items()}


def check_trust(cfg: DictConfig) -> bool:
    """Whether a run folder may name what medcls does not ship, as it was typed.

    Raises
    ------
    MedclsError
        Neither true nor false.
    """
    trust = cfg.get("trust", False)
    if not isinstance(trust, bool):
        raise MedclsError(f"trust is {trust!r}: give true or false.")
    return trust


def read_own(folder: Path, *, trust: bool) -> DictConfig:
    """A run folder's configuration, of which nothing is built that medcls does not ship.

    Parameters
    ----------
    folder : Path
        The run folder.
    trust : bool
        Let it name what medcls does not ship.

    Raises
    ------
    MedclsError
        The file is no configuration, has references, or asks for what medcls does not ship.
    """
    path = folder / "config.yaml"
    try:
        own = OmegaConf.load(path)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise MedclsError(f"{path} cannot be read as a configuration ({error}).") from error
    if not isinstance(own, DictConfig):
        raise MedclsError(f"{path} is not a configuration.")
    described = stored.renamed(OmegaConf.to_container(own, resolve=False))
    stored.refuse_references(described, str(path))
    if not trust:
        stored.check_targets(described, shipped_targets(), str(path))
    own = OmegaConf.create(described)
    _fill(own)
    return own


def _fill(own: DictConfig) -> None:
    """Give the configuration of a run from an earlier version the settings that there were not, as they do nothing."""
    if not all(OmegaConf.is_dict(own.get(group)) for group in ("data", "model", "schedule")) or "seed" not in own:
        return  # no run's: whoever reads it says what it lacks
    conf = configurations() / "conf"
    files = {"": ("train", "evaluation/default"), "data": ("data/folder",), "schedule": ("schedule/none",)}
    for group, names in files.items():
        node = own[group] if group else own
        for name in names:
            shipped: Any = OmegaConf.to_container(OmegaConf.load(conf / f"{name}.yaml"))
            for key, value in shipped.items():
                if key not in node and key not in ("defaults", "hydra", "source", "published", "augmentation"):
                    node[key] = BEFORE.get(key, value)
    if "head" not in own.model:
        own.model.head = None


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
        raise MedclsError(f"{_key(node) or 'A setting'} is {plain(node)!r}, which names nothing to build (_target_).")
    if both := [key for key in values if key in node]:
        raise MedclsError(f"{_key(node)}.{both[0]} comes from the run itself, and cannot be set.")
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
            raise MedclsError(f"{_key(node)}._target_={node['_target_']} cannot be built: {lines}") from error
        if found := _misfits(plain(node), _key(node), values):
            raise MedclsError("\n".join(found)) from error
        if is_value_check(cause, [target for _, target in stored.targets(plain(node))]):
            raise MedclsError(f"{node['_target_']} does not take its settings: {cause}") from error
        raise cause from None
    if node.get("_partial_") and (found := _misfits(plain(node), _key(node), values)):
        raise MedclsError("\n".join(found))
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
            "run. Bring the run's own checkpoints/best.ckpt back."
        )
    return build(own, num_classes=described.get("num_classes"))


def plain(node: Any) -> Any:  # noqa: ANN401 - any value a configuration can hold
    """A configuration node as lists, dicts, numbers and strings."""
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def settle_paths(cfg: DictConfig) -> None:
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
        raise MedclsError("Nothing says where the images are: add data.root=/path/to/images to the command.")
    root = Path(cfg.data.root)
    phantoms_at = cfg.data.source.get("phantoms_at")
    made = cfg.data.download or (phantoms_at is not None and root == Path(phantoms_at).absolute())
    if not root.exists() and not made:
        there = [entry.name for entry in root.parent.iterdir()] if root.parent.is_dir() else []
        raise MedclsError(
            f"There is no folder {root} (data.root).{nearest(root.name, there)} Give the folder that holds one "
            "sub-folder a class, or the images of a table."
        )


def read_source(cfg: DictConfig, *, strict: bool, judged_by: MatchClasses | None = None) -> Manifest:
    """The images that the configuration names, fetched first where that was asked for; not split.

    Parameters
    ----------
    cfg : DictConfig
    strict, judged_by
        See `medcls.data.sources.assembly.assemble`.

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
                "data.root=/new/place."
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
    """What the images are split by: each argument of `split` that the configuration names, and the seed."""
    from medcls.data.splits.split import split

    names = [name for name in inspect.signature(split).parameters if name in cfg.data]
    return {"seed": cfg.seed} | {name: plain(cfg.data[name]) for name in names}


def source_settings(cfg: DictConfig) -> dict[str, Any]:
    """What decides which images there are, under which labels and in which groups; not where they lie, nor the cache.

    Two splits by the same `split_settings` are only cut by the same settings where these are the same too.
    """
    source: dict[str, Any] = plain(cfg.data.source)
    return {"source": {name: value for name, value in source.items() if name not in ("root", "csv", "remember")}}
