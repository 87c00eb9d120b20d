"""Shared by the tests of the command line: a trained run, opened for evaluation."""

from pathlib import Path

import pytest
from composed_settings import typed_settings

from medcls.cli.trained_runs import TrainedRun, open_run


@pytest.fixture(scope="session")
def opened(finished: Path) -> TrainedRun:
    """The run `finished`; nobody writes into it."""
    with typed_settings("evaluate", f"run='{finished}'") as cfg:
        return open_run(str(finished), cfg)
