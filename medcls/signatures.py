"""Check settings against the signature of the function or class that receives them."""

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
    partial: bool = False,
) -> list[str]:
    """Find settings that do not fit the signature of a target.

    Parameters
    ----------
    target : callable
        The function or class that receives them.
    settings : mapping
        Values by argument; only plain values are checked.
    name : str
        Prefix of the settings in messages: `optimizer`, for `optimizer.lr`.
    given : collection of str
        Arguments that the program passes.
    partial : bool
        Whether arguments without a default may be missing.

    Returns
    -------
    list of str
        One sentence for each problem; empty if the target has no readable signature.
    """
    signature = _signature(target)
    if signature is None:
        return []
    target_name = f"{target.__module__}.{target.__qualname__}" if hasattr(target, "__qualname__") else repr(target)
    by_name = {n: p for n, p in signature.parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    any_name = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    problems = []
    for setting, value in settings.items():
        full = f"{name}.{setting}" if name else setting
        if setting in given:
            problems.append(f"{full} comes from the run itself, and cannot be set.")
        elif setting not in by_name and not any_name:
            problems.append(f"{full}: {target_name} takes no {setting!r}.{nearest(setting, set(by_name) - set(given))}")
        elif setting in by_name and not is_a(value, by_name[setting].annotation):
            problems.append(f"{full} is {value!r}: {target_name} takes {_type_name(by_name[setting].annotation)}.")
    if not partial:
        missing = [n for n, p in by_name.items() if p.default is p.empty and n not in settings and n not in given]
        problems += [f"{name}.{n} is missing: {target_name} needs it." for n in missing]
    return problems


def check_fits(target: Callable[..., Any], settings: Mapping[str, Any], name: str, given: Collection[str] = ()) -> None:
    """Refuse settings that do not fit a signature; see `misfits`."""
    if problems := misfits(target, settings, name, given):
        raise MedclsError("\n".join(problems), kind="bad_value")


def is_rejected_value(error: BaseException, targets: Sequence[str]) -> bool:
    """Whether a library rejected a value: it raised a `ValueError`, or an exception class of its own, in its own code.

    Anything else is a programming error: what medcls's own functions raise other than `MedclsError`, the exceptions of
    a wrong call (`TypeError`, `KeyError`, `AttributeError`), and exceptions raised in another library.

    Parameters
    ----------
    targets : sequence of str
        Dotted names of the targets that were being built.
    """
    frames = error.__traceback__
    if frames is None:
        return False
    while frames.tb_next is not None:
        frames = frames.tb_next
    packages = {target.partition(".")[0] for target in targets} - {"medcls"}
    raised_in = str(frames.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
    own_class = type(error).__module__.partition(".")[0] in packages
    return raised_in in packages and (isinstance(error, ValueError | ImportError) or own_class)


def is_a(value: object, annotation: object) -> bool:
    """Whether a plain value is of an annotated type; true if that cannot be decided.

    An int is also a float, a list also a tuple, a string also a path; a bool is not a number.
    """
    if annotation in (Any, object, inspect.Parameter.empty) or isinstance(annotation, str):
        return True
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return any(is_a(value, argument) for argument in arguments)
    if origin is Literal:
        return value in arguments
    if annotation is None or annotation is type(None):
        return value is None
    kind = origin or annotation
    if not isinstance(kind, type):
        return True  # a type variable, a NewType
    if not isinstance(value, str | bool | int | float | list | dict | None):
        return True  # an object that was built
    if isinstance(value, bool):
        return issubclass(bool, kind) and kind is not int
    if isinstance(value, int) and kind is float:
        return True
    if isinstance(value, str):
        return (issubclass(str, kind) and kind not in (Sequence, Collection)) or kind in (Path, PathLike)
    if isinstance(value, list):
        item_types = arguments[:1] if kind in (list, Sequence, Collection, set, frozenset) else ()
        return (issubclass(list, kind) or kind in (tuple, set, frozenset)) and all(
            is_a(item, item_type) for item in value for item_type in item_types
        )
    return isinstance(value, kind)


def _signature(target: Callable[..., Any]) -> inspect.Signature | None:
    for evaluated in (True, False):
        try:
            return inspect.signature(target, eval_str=evaluated)
        except (NameError, TypeError, AttributeError):
            continue  # an annotation that only type checkers can resolve
        except ValueError:
            return None  # a C function without a signature
    return None


def _type_name(annotation: object) -> str:
    text = inspect.formatannotation(annotation)
    return text.replace("typing.", "").replace("collections.abc.", "").replace("NoneType", "None")


def named_functions(names: object, setting: str) -> tuple[Callable[..., Any], ...]:
    """Import the functions whose dotted names a setting lists.

    Raises
    ------
    MedclsError
        The setting is not a list of names, or a name is not that of a function.
    """
    found = named_objects(names, setting)
    for name, function in found.items():
        if not callable(function):
            raise MedclsError(f"{setting} names {name}, which is not a function.", kind="unknown_target")
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
