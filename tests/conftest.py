"""What the tests share: where the real images are, if they are here at all."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of the five real image sets; a test that asks for it is skipped where there is none."""
    folder = os.environ.get("MEDCLS_REAL_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("MEDCLS_REAL_DATA does not name the folder of real image sets")
    return Path(folder)
