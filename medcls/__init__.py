"""medcls: a small set of labelled medical images in, a classifier whose numbers can be believed out.

Research use; not a medical device.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

# Imported when first used, so that `import medcls` is light.
_MODULES = {
    "load": "medcls.cli.trained_models",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any public name
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'medcls' has no attribute {name!r}")
