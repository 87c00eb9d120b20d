"""Import large libraries faster."""

import atexit
import gc
import sys
from importlib import import_module


def import_large(name: str) -> None:
    """Import a large library with the garbage collector off, which saves a fifth of the time of importing torch.

    Imported objects live until the process ends, so they are also frozen: the collector need not look at them again.

    Parameters
    ----------
    name : str
        The module. Nothing happens if it is imported already (in a sweep, in tests): there may be garbage to collect.
    """
    if name in sys.modules:
        return
    collecting = gc.isenabled()
    gc.disable()
    try:
        import_module(name)
        gc.freeze()
        # Without this some libraries report leaked objects at exit.
        atexit.register(gc.unfreeze)
    finally:
        if collecting:
            gc.enable()
