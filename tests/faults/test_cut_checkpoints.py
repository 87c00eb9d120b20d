"""Checkpoints of which only a part is left."""

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from command_process import differing, result, run_command

from medcls import evaluate, train

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("tenths", range(10))
def test_a_cut_checkpoint_is_refused_by_its_name_and_the_one_before_it_offered(undisturbed, tmp_path, tenths):
    whole, expected = undisturbed
    run = Path(shutil.copytree(whole / "run", tmp_path / "run"))
    best, last = run / "checkpoints" / "best.ckpt", run / "checkpoints" / "last.ckpt"
    content = last.read_bytes()
    last.write_bytes(content[: len(content) * tenths // 10])
    code, printed = run_command(train.main, (f"resume={run}",), tmp_path)
    assert code == 2 and str(last) in printed and "Traceback" not in printed, printed
    offered = [line.strip() for line in printed.splitlines() if line.startswith("  ")]
    assert [shlex.split(line)[0] for line in offered] == ["cp", "python"]
    if tenths == 5:  # what is offered works
        subprocess.run(shlex.split(offered[0]), check=True)
        code, printed = run_command(train.main, tuple(shlex.split(offered[1])[3:]), tmp_path)
        assert code == 0, printed
        assert not differing(expected, result(run), (str(whole), str(tmp_path)))
    content = best.read_bytes()
    best.write_bytes(content[: len(content) * tenths // 10])
    code, printed = run_command(evaluate.main, (f"run={run}",), tmp_path)
    assert code == 2 and str(best) in printed and "Traceback" not in printed, printed
