"""Which process leads a training, and what the others and it do around the training itself."""

from types import SimpleNamespace

import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from refusals import refused

from medcls.cli import following, launching
from medcls.errors import MedclsError
from medcls.runs.run_folder import RunFolder


def settings(devices=1, batch_size=8, **more):
    return OmegaConf.create(
        {"trainer": {"devices": devices}, "data": {"batch_size": batch_size}, "resume": None} | more
    )


@pytest.fixture
def by_torchrun(monkeypatch):
    """As one of two processes of torchrun."""

    def of(rank):
        for name, value in {"TORCHELASTIC_RUN_ID": "1", "RANK": rank, "WORLD_SIZE": 2}.items():
            monkeypatch.setenv(name, str(value))

    return of


def test_one_process_leads_or_the_first_of_several(by_torchrun):
    assert following.leads(settings())
    assert not following.leads(settings(devices=2))  # it has to start them
    by_torchrun(1)
    assert not following.leads(settings(devices=2))
    by_torchrun(0)
    assert following.leads(settings(devices=2))


def test_processes_that_cannot_share_a_step_are_refused_before_they_meet(by_torchrun):
    by_torchrun(0)
    with refused("bad_value", "data.batch_size=9"), following.connected(settings(devices=2, batch_size=9)):
        pass
    with refused("processes_do_not_fit", "trainer.devices=4"), following.connected(settings(devices=4)):
        pass


@pytest.fixture
def killed(monkeypatch, tmp_path):
    """A command whose first process is killed, and its run folder."""
    config = OmegaConf.create({"hydra": {"runtime": {"output_dir": str(tmp_path / "run")}}})
    monkeypatch.setattr(HydraConfig.instance(), "cfg", config)

    def run_in_processes(composed, number):
        raise MedclsError("killed", kind="process_killed")

    monkeypatch.setattr(launching, "run_in_processes", run_in_processes)
    return tmp_path / "run"


@pytest.mark.parametrize("begun", [True, False])
def test_what_a_killed_first_process_left_is_described(killed, begun):
    if begun:
        killed.mkdir()
        (killed / "config.yaml").touch()
    with refused("process_killed") as raised:
        following.start_or_follow(settings(devices=2), settings(devices=2))
    notes = getattr(raised.value, "__notes__", [])
    assert len(notes) == begun and all(str(killed) in note for note in notes)


@pytest.mark.parametrize("resume", [None, "runs/A"])
def test_one_process_trains_with_its_threads(tmp_path, resume):
    fits = []
    trainer = SimpleNamespace(fit=lambda *given, **named: fits.append((given, named)))
    data = SimpleNamespace(manifest=None, preprocessing=None)
    threads = torch.get_num_threads()
    run = RunFolder(tmp_path / "run")
    following.fit(trainer, "classifier", data, settings(resume=resume), run, "name")
    run.close()
    ((given, named),) = fits
    assert given == ("classifier", data)
    assert named == {"ckpt_path": str(run.last) if resume else None, "weights_only": True}
    assert torch.get_num_threads() == threads
