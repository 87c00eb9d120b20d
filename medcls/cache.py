"""List or remove what medcls caches on disk: `python -m medcls.cache clear=true older_than_days=30`."""

from __future__ import annotations

import datetime
import logging
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from medcls import user_folders
from medcls.cli.entry_point import run_command
from medcls.errors import MedclsError

if TYPE_CHECKING:
    from medcls.data.cache import Kept

# Not __name__, which is __main__ when the file runs as a module.
log = logging.getLogger("medcls.cache")

MIB = 2**20


def main() -> None:
    """Run the command."""
    run_command(run, "cache")


def run(cfg: DictConfig) -> None:
    """List the cache or, with `clear=true`, remove it.

    Parameters
    ----------
    cfg : DictConfig
        See `conf/cache.yaml`.

    Raises
    ------
    MedclsError
        A value is not allowed.
    """
    clear, days = cfg["clear"], cfg["older_than_days"]  # cfg.clear is a method of every mapping
    if not isinstance(clear, bool):
        raise MedclsError(f"clear is {clear!r}: give true or false.", kind="bad_value")
    if isinstance(days, bool) or not isinstance(days, int | float) or days < 0:
        raise MedclsError(f"older_than_days is {days!r}: give a number of days, at least 0.", kind="bad_value")

    from medcls.data import cache
    from medcls.workflow import terminal

    terminal.start_log()
    now = datetime.datetime.now().astimezone()
    chosen = [kept for kept in cache.everything() if now - kept.used >= datetime.timedelta(days=days)]
    if not chosen:
        unused = f" unused for {days} day(s)" if days else ""
        log.info("nothing%s is kept at %s", unused, user_folders.cache_folder(), extra={"rule": "nothing_cached"})
        return
    show(chosen)
    if clear:
        remove(chosen)


def show(chosen: list[Kept]) -> None:
    """Print a table of cache entries."""
    import pandas as pd

    from medcls.workflow import terminal

    rows = [
        {
            "what": kept.what,
            "images": kept.images,
            "MiB": round(kept.bytes / MIB, 1),
            "last used": f"{kept.used:%Y-%m-%d %H:%M}",
        }
        for kept in chosen
    ]
    terminal.show_table(pd.DataFrame(rows), f"Kept at {user_folders.cache_folder()}")


def remove(chosen: list[Kept]) -> None:
    """Remove cache entries; log how much space was freed, and which entries are in use."""
    from medcls.data import cache

    freed = [kept for kept in chosen if cache.clear(kept)]
    size, extra = sum(kept.bytes for kept in freed) / MIB, {"rule": "cache_cleared"}
    log.info("removed %d of %d: %.1f MiB freed", len(freed), len(chosen), size, extra=extra)
    for kept in chosen:
        if kept not in freed:
            log.warning("not removed, because another process is using it: %s (%s)", kept.place, kept.what)


if __name__ == "__main__":
    main()
