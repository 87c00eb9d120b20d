"""medcls: a small set of labelled medical images in, a classifier whose numbers can be believed out.

    import medcls

    run = medcls.train("/my/images", positive_class="malignant", **{"trainer.max_epochs": 20})

Research use; not a medical device.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from medcls.errors import MedclsError

if TYPE_CHECKING:
    from medcls.api import audit, evaluate, probe, train
    from medcls.workflow.results import Audit, Evaluation, Run

__version__ = "0.1.0"
__all__ = ["Audit", "Evaluation", "MedclsError", "Run", "audit", "evaluate", "probe", "train"]

_COMMANDS = ("audit", "evaluate", "probe", "train")
# Where each of these is; imported when it is first used.
_LAZY = {
    **{command: (f"medcls.{command}", "") for command in _COMMANDS},
    **{name: ("medcls.workflow.results", name) for name in ("Audit", "Evaluation", "Run")},
}


class _Package(ModuleType):
    """The package: `medcls.train` is the module of the command, and can be called, `medcls.train("/my/images")`."""

    def __setattr__(self, name: str, value: object) -> None:
        # The import system does this once it has loaded a module of the package, whoever asked for it.
        if name in _COMMANDS and isinstance(value, ModuleType):
            from medcls import api

            value.__class__ = api.callable_module(getattr(api, name))
        super().__setattr__(name, value)


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever has this name
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _LAZY[name]
    loaded = import_module(module)
    return getattr(loaded, attribute) if attribute else loaded


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


sys.modules[__name__].__class__ = _Package
