import json
import logging

import pandas as pd
import pytest
import torch
from refusals import refused, rules

from medcls.errors import typed
from medcls.runs.run_folder import RunFolder
from medcls.workflow import resuming


class Images:
    """What is asked of a manifest: its rows and its fingerprint."""

    def __init__(self, fingerprint="f"):
        self.rows = pd.DataFrame({"path": ["a.png"], "label": ["ill"], "group": [""], "split": ["train"]})
        self._fingerprint = fingerprint

    def fingerprint(self):
        return self._fingerprint


def checkpoint(epoch: int, *, steps: int = 0, waited: int = 1) -> dict:
    """A checkpoint after an epoch, counted from 0, or after some steps of it; early stopping waits for 3 epochs."""
    loops = {
        "epoch_progress": {"current": {"processed": epoch + (steps == 0)}},
        "epoch_loop.automatic_optimization.optim_progress": {
            "optimizer": {"step": {"current": {"completed": steps or 9}}}
        },
    }
    state = {"wait_count": waited, "patience": 3}
    return {
        "epoch": epoch,
        "loops": {"fit_loop": loops},
        "callbacks": {"EarlyStopping{'monitor': 'val/auroc'}": state},
    }


@pytest.fixture
def run(tmp_path):
    """A run after its fourth epoch, whose early stopping waits for the second of three epochs."""
    folder = RunFolder(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    torch.save(checkpoint(3), folder.last)
    return folder


def test_the_identity_is_that_of_settings_and_images():
    assert resuming.identity({"seed": 0}, Images()) == resuming.identity({"seed": 0}, Images())
    others = {resuming.identity({"seed": 1}, Images()), resuming.identity({"seed": 0}, Images("other"))}
    assert len(others - {resuming.identity({"seed": 0}, Images())}) == 2


def test_a_training_has_ended_after_its_last_epoch_alone(run):
    assert resuming.progress_of(run) == resuming.Progress(4, 0, stopped=False)
    assert resuming.has_ended(run, 4, 4) and not resuming.has_ended(run, 5, 4)
    with refused("fewer_epochs", "4", "trainer.max_epochs=3"):
        resuming.has_ended(run, 3, 4)


def test_a_stopped_training_has_ended_unless_more_epochs_are_requested(run):
    torch.save(checkpoint(3, waited=3), run.last)
    assert resuming.has_ended(run, 10, 10) and not resuming.has_ended(run, 20, 10)


def test_within_an_epoch_no_training_has_ended(run):
    torch.save(checkpoint(3, steps=2, waited=3), run.last)
    assert resuming.progress_of(run) == resuming.Progress(3, 2, stopped=False)
    assert not resuming.has_ended(run, 4, 4)
    with refused("fewer_epochs", "3", "2", "trainer.max_epochs=3"):
        resuming.has_ended(run, 3, 4)
    assert "3 epochs and 2 steps" in resuming.what_was_trained(run)


def test_a_damaged_last_checkpoint_is_refused_and_an_intact_best_one_offered(run):
    content = run.last.read_bytes()
    torch.save(checkpoint(1), run.best)
    run.last.write_bytes(content[: len(content) // 2])
    with refused("damaged_checkpoint", str(run.last), f"cp {run.best} {run.last}", "2"):
        resuming.progress_of(run)
    run.best.write_bytes(content[: len(content) // 2])
    with refused("damaged_checkpoint", str(run.last)) as raised:
        resuming.progress_of(run)
    assert "cp " not in str(raised.value)


def test_what_was_trained_is_described_with_the_command_that_resumes(run):
    text = resuming.what_was_trained(run)
    assert "4 epochs" in text and typed("resume", str(run.path)) in text
    run.last.unlink()
    assert "resume=" not in resuming.what_was_trained(run)


def test_a_run_of_an_earlier_version_has_no_identity(run, caplog):
    plain = {"packages": {}, "python": "3.11", "platform": "Linux", "device": "cpu"}
    path = run.path / "environment.json"
    path.write_text(json.dumps(plain | {"run": "c0ffee"}), encoding="utf-8")
    assert resuming.own_identity(run) == "c0ffee"
    path.write_text(json.dumps(plain), encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        assert resuming.own_identity(run) == "" and caplog.messages


def test_a_folder_without_a_finished_epoch_starts_over_unless_its_checkpoint_is_of_other_settings(run, caplog):
    run.last.unlink()
    run.config.write_text("seed: 0\n", encoding="utf-8")
    run.best.touch()
    with caplog.at_level(logging.WARNING):
        resuming.start_over(run, "seed: 0\n")
    assert rules(caplog) == ["started_over"]
    with refused("folder_taken", str(run.path)):
        resuming.start_over(run, "seed: 1\n")
