"""The folder that a command writes into."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.core.hydra_config import HydraConfig

from medcls.runs.run_folder import RunFolder


@contextmanager
def claimed_folder() -> Iterator[RunFolder]:
    """Yield the folder that Hydra chose, locked for this command; removed at the end if the command did not begin it.

    Raises
    ------
    MedclsError
        Another command uses it, or it has results already.
    """
    folder = RunFolder(Path(HydraConfig.get().runtime.output_dir))
    try:
        folder.claim()
        folder.refuse_if_taken()
        yield folder
    finally:
        folder.close()
