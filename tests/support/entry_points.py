"""Going through a door as the command line does."""

from collections.abc import Callable

import pytest

# timm's network for tests: few tensors, which is what the time of a tiny run goes by.
TINY = ("model=timm", "model.name=test_efficientnet")
# Settings with which a run of a command takes seconds; the subject of tests that use them is not the network.
FAST = (*TINY, "data.image_size=32", "data.batch_size=8", "data.workers=0")


def run_main(main: Callable[[], None], *arguments: str, exit_code: int = 0) -> None:
    """Go through a door as the command line does, to this exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", [main.__module__, *arguments])
        ended = 0
        try:
            main()
        except SystemExit as end:
            ended = end.code or 0
        assert ended == exit_code, f"exit code {ended}"
