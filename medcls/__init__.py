"""medcls: a small set of labelled medical images in, a classifier whose numbers can be believed out.

    import medcls

    run = medcls.train("/my/images", positive_class="malignant", **{"trainer.max_epochs": 20})

Research use; not a medical device.
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from medcls.errors import MedclsError

if TYPE_CHECKING:
    from medcls.api import audit, evaluate, probe, train
    from medcls.cli.python_results import Audit, Evaluation, Run
    from medcls.cli.trained_models import load

__version__ = "0.1.0"
__all__ = ["Audit", "Evaluation", "MedclsError", "Run", "audit", "evaluate", "load", "probe", "train"]

# Imported when first used, so that `import medcls` is light.
_MODULES = {
    "Audit": "medcls.cli.python_results",
    "Evaluation": "medcls.cli.python_results",
    "Run": "medcls.cli.python_results",
    "load": "medcls.cli.trained_models",
}
_COMMANDS = ("audit", "evaluate", "probe", "train")


class _Package(ModuleType):
    """The package: `medcls.train` is the module of the command, and can be called, `medcls.train("/my/images")`."""

    def __setattr__(self, name: str, value: object) -> None:
        # The import system does this once it has loaded a module of the package, whoever asked for it.
        if name in _COMMANDS and isinstance(value, ModuleType):
            from medcls import api

            value.__class__ = api.callable_module(getattr(api, name))
        super().__setattr__(name, value)


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any public name
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    if name in _COMMANDS:
        return importlib.import_module(f"medcls.{name}")
    raise AttributeError(f"module 'medcls' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


sys.modules[__name__].__class__ = _Package
