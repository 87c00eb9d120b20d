"""Going through a door as the command line does."""

from collections.abc import Callable

import pytest

# Settings with which a whole run through the door takes seconds.
FAST = ("model=mobilenetv3_small", "data.image_size=32", "data.batch_size=8", "data.workers=0")


def run_door(main: Callable[[], None], *arguments: str) -> None:
    """Go through a door as the command line does; the exit code must be 0."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", [main.__module__, *arguments])
        try:
            main()
        except SystemExit as end:
            assert not end.code, f"exit code {end.code}"
