"""A training step does not wait for a GPU before its backward pass (see `gpu_steps`)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import medcls


@pytest.mark.slow
def test_no_step_waits(folder, own_cache):
    images = folder({"a": 30, "b": 21})
    program = Path(__file__).with_name("gpu_steps.py")
    same_package = os.environ | {"PYTHONPATH": str(Path(medcls.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, program, images], env=same_package, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen.pop("on purpose") == ["aten::_to_copy"] * 2  # a wait is seen where there is one
    assert len(seen) == 6
    assert seen == {name: [] for name in seen}
