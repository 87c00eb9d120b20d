"""Loading what is large."""

import atexit
import gc
import sys
from importlib import import_module


def import_large(name: str) -> None:
    """Import a large library without looking for garbage meanwhile: a fifth of the time that importing torch takes.

    What an import makes stays to the end. The collector would look through all of it again and again, then and
    during the run; so it is told to leave it alone.

    Parameters
    ----------
    name : str
        The module, with all that it imports. One that is there already is left as it is, and so is the collector: in
        a process that has worked before (a sweep, tests) there may be garbage to find.
    """
    if name in sys.modules:
        return
    collecting = gc.isenabled()
    gc.disable()
    try:
        import_module(name)
        gc.freeze()
        # At the very end it must be found after all, else some libraries report it as lost.
        atexit.register(gc.unfreeze)
    finally:
        if collecting:
            gc.enable()
