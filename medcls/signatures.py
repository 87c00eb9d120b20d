"""Whether settings fit what they are given to: the names and types that a signature takes, and who is to blame."""

import inspect
import pkgutil
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from medcls.errors import MedclsError, nearest


def misfits(
    target: Callable[..., Any],
    settings: Mapping[str, Any],
    name: str,
    given: Collection[str] = (),
    *,
    whole: bool = True,
) -> list[str]:
    """Say which settings the signature of a target does not take.

    Parameters
    ----------
    target : callable
        What is to be called with them.
    settings : mapping
        Plain values by argument; what is no plain value fits.
    name : str
        How settings of this target begin: `optimizer`, for `optimizer.lr`.
    given : collection of str
        Arguments that come from the program.
    whole : bool
        Whether all arguments that have no default must be there.

    Returns
    -------
    list of str
        A sentence each; empty where all fit, or where the target does not show its signature.
    """
    signature = _signature(target)
    if signature is None:
        return []
    called = f"{target.__module__}.{target.__qualname__}" if hasattr(target, "__qualname__") else repr(target)
    kinds = inspect.Parameter
    by_name = {n: p for n, p in signature.parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    any_name = any(p.kind is kinds.VAR_KEYWORD for p in signature.parameters.values())
    found = []
    for setting, value in settings.items():
        full = f"{name}.{setting}" if name else setting
        if setting in given:
            found.append(f"{full} comes from the run itself, and cannot be set.")
        elif setting not in by_name and not any_name:
            found.append(f"{full}: {called} takes no {setting!r}.{nearest(setting, set(by_name) - set(given))}")
        elif setting in by_name and not is_a(value, by_name[setting].annotation):
            found.append(f"{full} is {value!r}: {called} takes {_words(by_name[setting].annotation)}.")
    if whole:
        needed = [n for n, p in by_name.items() if p.default is kinds.empty and n not in settings and n not in given]
        found += [f"{name}.{n} is missing: {called} needs it." for n in needed]
    return found


def check_fits(target: Callable[..., Any], settings: Mapping[str, Any], name: str, given: Collection[str] = ()) -> None:
    """Refuse settings that a signature does not take.

    Raises
    ------
    MedclsError
        Names each.
    """
    if found := misfits(target, settings, name, given):
        raise MedclsError("\n".join(found), kind="bad_value")


def is_rejected_value(error: BaseException, targets: Sequence[str]) -> bool:
    """Whether a library refuses a value: it raised a `ValueError`, or an exception of its own, in its own code.

    medcls's own functions say so by a `MedclsError`; whatever else they raise is a fault of medcls. So is what a
    library raises because it was called wrongly (`TypeError`, `KeyError`, `AttributeError`), and what breaks in another
    library underneath.

    Parameters
    ----------
    targets : sequence of str
        Dotted names of what was being built.
    """
    frames = error.__traceback__
    if frames is None:
        return False
    while frames.tb_next is not None:
        frames = frames.tb_next
    packages = {target.partition(".")[0] for target in targets} - {"medcls"}
    raised_in = str(frames.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
    own_kind = type(error).__module__.partition(".")[0] in packages
    return raised_in in packages and (isinstance(error, ValueError | ImportError) or own_kind)


def is_a(value: object, annotation: object) -> bool:
    """Whether a plain value is of an annotated type; true where that cannot be told.

    Whole numbers are floats too, lists are tuples, text is a path; true and false are no numbers.
    """
    if annotation in (Any, object, inspect.Parameter.empty) or isinstance(annotation, str):
        return True
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return any(is_a(value, one) for one in arguments)
    if origin is Literal:
        return value in arguments
    if annotation is None or annotation is type(None):
        return value is None
    kind = origin or annotation
    if not isinstance(kind, type):
        return True  # a protocol's variable, a new type
    if not isinstance(value, str | bool | int | float | list | dict | None):
        return True  # built, not typed
    if isinstance(value, bool):
        return issubclass(bool, kind) and kind is not int
    if isinstance(value, int) and kind is float:
        return True
    if isinstance(value, str):
        return (issubclass(str, kind) and kind not in (Sequence, Collection)) or kind in (Path, PathLike)
    if isinstance(value, list):
        of = arguments[:1] if kind in (list, Sequence, Collection, set, frozenset) else ()
        return (issubclass(list, kind) or kind in (tuple, set, frozenset)) and all(
            is_a(v, a) for v in value for a in of
        )
    return isinstance(value, kind)


def _signature(target: Callable[..., Any]) -> inspect.Signature | None:
    for evaluated in (True, False):
        try:
            return inspect.signature(target, eval_str=evaluated)
        except (NameError, TypeError, AttributeError):
            continue  # a name known to type checkers alone
        except ValueError:
            return None  # written in C, without one
    return None


def _words(annotation: object) -> str:
    text = inspect.formatannotation(annotation)
    return text.replace("typing.", "").replace("collections.abc.", "").replace("NoneType", "None")


def named_functions(names: object, setting: str) -> tuple[Callable[..., Any], ...]:
    """Functions by their dotted names, as a setting lists them.

    Raises
    ------
    MedclsError
        No list of names, or one that names no function.
    """
    found = named_objects(names, setting)
    for name, function in found.items():
        if not callable(function):
            raise MedclsError(f"{setting} names {name}, which is no function.", kind="unknown_target")
    return tuple(found.values())


def named_objects(names: object, setting: str) -> dict[str, Any]:
    """Objects by their dotted names, as a setting lists them.

    Raises
    ------
    MedclsError
        No list of names, or one that cannot be imported.
    """
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise MedclsError(
            f"{setting} is {names!r}: list dotted names, as {setting}=[mine.module.name].", kind="bad_value"
        )
    found = {}
    for name in names:
        try:
            found[name] = pkgutil.resolve_name(name)
        except (ImportError, AttributeError, ValueError) as error:
            raise MedclsError(
                f"{setting} names {name}, which cannot be imported: {error}.", kind="unknown_target"
            ) from error
    return found
