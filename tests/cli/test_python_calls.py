"""A command's task is run from Python with checked settings, and the process is as before."""

import logging
import os
import random
import signal
import warnings

import numpy as np
import pytest
import torch
from hydra import initialize
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError
from process_state import of_the_process
from refusals import refused

from medcls.cli.invocation import command_line
from medcls.cli.python_calls import run_from_python


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_task_gets_the_settings_and_its_folder_is_made(here):
    def task(cfg):
        assert HydraConfig.get().runtime.output_dir == str(here / "out")
        assert command_line("monitor").endswith("run=RUN seed=3 hydra.run.dir=out")
        assert "hydra" not in cfg and OmegaConf.is_struct(cfg)
        return cfg.seed, cfg.run

    typed = ("run=RUN", "seed=3", "hydra.run.dir=out")
    result, folder = run_from_python(task, "monitor", typed)
    assert result == (3, "RUN") and folder == here / "out" and folder.is_dir()


def change_everything(_cfg):
    """Change all that a command changes in its process."""
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    torch.set_num_threads(torch.get_num_threads() + 1)
    torch.use_deterministic_algorithms(True)
    for name in ("medcls", "py.warnings"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.CRITICAL)
        logger.propagate = False
        logger.addHandler(logging.NullHandler())
    logging.captureWarnings(True)
    warnings.simplefilter("error")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["PL_GLOBAL_SEED"] = "1"
    os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


def test_the_process_is_as_before_whatever_the_task_changes(here, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    before = of_the_process()
    run_from_python(change_everything, "monitor", ["hydra.run.dir=out"])
    assert of_the_process() == before

    def fail(cfg):
        change_everything(cfg)
        raise KeyError("mean")

    with pytest.raises(KeyError, match="mean"):
        run_from_python(fail, "monitor", ["hydra.run.dir=out"])
    assert of_the_process() == before


@pytest.mark.parametrize(
    ("typed", "kind", "names"),
    [
        ("seeed=3", "bad_setting", ("seeed",)),
        ("seed=1,2", "several_values", ("seed=1,2",)),
        ("hydra.mode=MULTIRUN", "sweep_in_python", ("hydra.mode",)),
        ("hydra.run.dir=file/out", "folder_not_made", ("file",)),
    ],
)
def test_wrong_settings_are_errors_and_the_task_is_not_run(here, typed, kind, names):
    (here / "file").touch()
    before = of_the_process()
    with refused(kind, *names):
        run_from_python(lambda _: pytest.fail("run"), "monitor", [typed])
    assert [path.name for path in here.iterdir()] == ["file"]
    assert of_the_process() == before


def test_a_shipped_setting_that_was_removed_is_a_wrong_one_and_another_a_programming_error(here):
    with refused("bad_setting", "seed"):
        run_from_python(lambda cfg: cfg.seed, "monitor", ["~seed", "hydra.run.dir=out"])
    with pytest.raises(ConfigAttributeError):
        run_from_python(lambda cfg: cfg.no_such_setting, "monitor", ["hydra.run.dir=out"])


def test_a_program_that_uses_hydra_itself_gets_its_own_back(here):
    with initialize(config_path=None, version_base="1.2"):
        before = of_the_process()
        run_from_python(lambda _: None, "monitor", ["hydra.run.dir=out"])
        assert of_the_process() == before


def test_a_task_may_call_another_command_and_goes_on_with_its_own_settings(here):
    def task(cfg):
        inner, folder = run_from_python(lambda inner: inner.seed, "monitor", ["seed=9", "hydra.run.dir=inner"])
        assert HydraConfig.get().runtime.output_dir == str(here / "outer") and folder == here / "inner"
        assert command_line("monitor").endswith("seed=1 hydra.run.dir=outer")
        return cfg.seed, inner

    assert run_from_python(task, "monitor", ["seed=1", "hydra.run.dir=outer"])[0] == (1, 9)


def test_sigterm_interrupts_unless_the_program_handles_it(here):
    own = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_from_python(lambda _: signal.raise_signal(signal.SIGTERM), "monitor", ["hydra.run.dir=out"])
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        received = []
        signal.signal(signal.SIGTERM, lambda *_: received.append(True))
        run_from_python(lambda _: signal.raise_signal(signal.SIGTERM), "monitor", ["hydra.run.dir=out"])
        assert received == [True]
    finally:
        signal.signal(signal.SIGTERM, own)
