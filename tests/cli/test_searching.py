"""The loop of a search, with trials that are not trained."""

import logging
import math

import optuna
import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf
from refusals import refused

from medcls.cli import searching
from medcls.cli.searching import SearchSettings
from medcls.errors import MedclsError
from medcls.workflow.search_report import read_search

RANGE = "optimizer.lr=tag(log, interval(1e-4, 1e-2))"


def settings(n_trials=6, **more):
    sampler = OmegaConf.create({"_target_": "optuna.samplers.TPESampler"})
    given = {"params": {}, "n_trials": n_trials, "n_jobs": 1, "sampler": sampler, "seed": 0, "storage": None}
    return SearchSettings(**given | {"study_name": None} | more)


def returned(value):
    failed = isinstance(value, Exception)
    result = JobReturn(status=JobStatus.FAILED if failed else JobStatus.COMPLETED)
    result.return_value = value
    return result


def run(study, train, *typed, **given):
    """Run a search in this study, whose trials end as `train(number, settings)` says; the batches as they came."""
    space, _ = searching.read_space({}, typed or [RANGE])
    batches = []

    def launch(batch):
        batches.append(batch)
        return [returned(train(number, own)) for number, own in batch]

    searching._train(settings(**given), study, space, launch, "val/auroc")
    return batches


def states(study):
    return [one.state for one in read_search(study, "val/auroc", searching.Path("none")).trials]


@pytest.fixture
def study(tmp_path):
    return searching.open_study(f"sqlite:///{tmp_path}/study.db", "one", "max")


def test_ranges_are_read_from_the_file_and_what_is_typed_replaces_them():
    params = {"optimizer.lr": "interval(0.1, 0.2)", "ema": "0.98,0.99"}
    space, fixed = searching.read_space(params, ["ema=null", RANGE, "data/augmentation=none,xray", "+a=1"])
    assert list(space) == ["optimizer.lr", "data/augmentation"]
    assert (space["optimizer.lr"].low, space["optimizer.lr"].high) == (1e-4, 1e-2)
    assert space["data/augmentation"].choices == ("none", "xray")
    assert fixed == ["ema=null", "+a=1"]


@pytest.mark.parametrize(
    "typed",
    ["seed=0,1", "data.fold=0,1", "data=a,b", "monitor=val/auroc,val/loss", "evaluate_test=true,false",
     "data.val_fraction=interval(0.1, 0.3)", "experiments=a,b", "data.label_map=a,b"],
)  # fmt: skip
def test_what_changes_the_val_images_or_the_metric_cannot_be_searched(typed):
    with refused("not_searchable", typed.split("=")[0]):
        searching.check_space(searching.read_space({}, [typed])[0])


@pytest.mark.parametrize("typed", ["data/augmentation=none,xray", "data.augmentation.aspect=0.1,0.2", "data.views=1,2"])
def test_what_changes_training_images_alone_can_be(typed):
    searching.check_space(searching.read_space({}, [typed])[0])


def test_nothing_to_search_is_refused():
    with refused("nothing_to_search"):
        searching.check_space({})


def test_no_trial_reads_test():
    objective = {"monitor": "val/auroc", "monitor_mode": "max", "evaluate_test": None}
    assert searching.check_objective(OmegaConf.create(objective)) == ("val/auroc", "max")
    with refused("test_in_a_search", "evaluate_test"):
        searching.check_objective(OmegaConf.create(objective | {"evaluate_test": True}))
    with refused("test_in_a_search", "test/auroc"):
        searching.check_objective(OmegaConf.create(objective | {"monitor": "test/auroc"}))
    with refused("bad_value", "train/loss"):
        searching.check_objective(OmegaConf.create(objective | {"monitor": "train/loss"}))
    with refused("bad_value", "monitor_mode"):
        searching.check_objective(OmegaConf.create(objective | {"monitor_mode": "most"}))


@pytest.mark.parametrize(
    ("name", "value"), [("n_trials", 0), ("n_jobs", "2"), ("seed", True), ("storage", 3), ("study_name", "")]
)
def test_settings_are_checked(name, value):
    with refused("bad_value", f"hydra.sweeper.{name}"):
        settings(**{name: value})


def test_failed_trials_count_and_do_not_end_the_search(study, caplog):
    ends = [0.6, MedclsError("missing.png\nlook there"), math.nan, None, TypeError("odd"), 0.8]
    with caplog.at_level(logging.DEBUG, "medcls"):
        run(study, lambda number, own: ends[number])
    found = read_search(study, "val/auroc", searching.Path("none"))
    assert [one.state for one in found.trials] == ["complete", *["failed"] * 4, "complete"]
    reasons = [one.reason for one in found.trials]
    assert reasons[1] == "missing.png" and "nan" in reasons[2] and reasons[3] and "TypeError" in reasons[4]
    assert (found.best.number, found.best.value) == (5, 0.8)


def test_a_search_whose_first_trials_all_fail_ends(study):
    with refused("every_trial_failed", "no images"):
        run(study, lambda number, own: MedclsError("no images"), n_trials=50)
    assert states(study) == ["failed"] * searching.FIRST_FAILURES


def test_a_minimum_is_sought_where_the_mode_is_min(tmp_path):
    study = searching.open_study(f"sqlite:///{tmp_path}/study.db", "one", "min")
    run(study, lambda number, own: [0.5, 0.2, 0.4][number], n_trials=3)
    assert study.best_trial.number == 1


def interrupt(number, own):
    raise KeyboardInterrupt


def test_a_search_goes_on_with_the_interrupted_trial_until_all_are_done(tmp_path, study):
    run(study, lambda number, own: 0.5, n_trials=2)
    with pytest.raises(KeyboardInterrupt):
        run(study, interrupt, n_trials=4)
    lost = study.trials[-1].params
    again = searching.open_study(f"sqlite:///{tmp_path}/study.db", "one", "max")
    batches = run(again, lambda number, own: 0.6, n_trials=4)
    assert batches[0] == [(2, lost)]
    assert [number for batch in batches for number, _ in batch] == [2, 3]
    assert states(again) == ["complete"] * 4
    assert run(again, interrupt, n_trials=4) == []


def test_a_trial_that_was_interrupted_while_it_was_drawn_is_left_out(study):
    study.ask()
    assert [number for batch in run(study, lambda number, own: 0.5, n_trials=2) for number, _ in batch] == [1, 2]
    assert states(study) == ["interrupted", "complete", "complete"]


def drawn(study):
    return [one.params["optimizer.lr"] for one in study.trials]


def test_a_search_draws_the_same_with_the_same_seed_also_if_it_is_interrupted(tmp_path):
    def made(name, parts, seed=0):
        study = searching.open_study(f"sqlite:///{tmp_path}/{name}.db", name, "max")
        for n_trials in parts:
            run(study, lambda number, own: -abs(math.log10(own["optimizer.lr"]) + 3), n_trials=n_trials, seed=seed)
        return drawn(study)

    at_once = made("a", [12])  # the first ten are random
    assert made("b", [5, 11, 12]) == at_once
    assert len(set(at_once)) == 12
    assert made("c", [1], seed=1) != at_once[:1]


def test_trials_of_a_batch_are_chosen_together_and_no_more_than_are_left(study):
    batches = run(study, lambda number, own: 0.5, n_trials=5, n_jobs=2)
    assert [[number for number, _ in batch] for batch in batches] == [[0, 1], [2, 3], [4]]
    assert len(set(drawn(study))) == 5


def test_a_study_of_other_settings_is_refused(study):
    space, fixed = searching.read_space({}, [RANGE, "model=timm"])
    known = {"monitor": "val/auroc"} | searching._recorded(space, fixed)
    searching.check_same_search(study, known)
    study.set_user_attr("failure of trial 0", "x")
    searching.check_same_search(study, known)
    with refused("of_another_search", "monitor"):
        searching.check_same_search(study, known | {"monitor": "val/loss"})
    with refused("of_another_search", "model"):
        searching.check_same_search(study, {name: text for name, text in known.items() if "model" not in name})


def test_a_storage_that_cannot_be_opened_is_named_without_its_password(tmp_path):
    with refused("no_storage", "none/study.db"):
        searching.open_study(f"sqlite:///{tmp_path}/none/study.db", "one", "max")
    with refused("no_storage") as raised:
        searching.open_study("nosuch://me:secret@host/x", "one", "max")
    assert "secret" not in str(raised.value)


def test_without_optuna_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(searching.importlib.util, "find_spec", lambda name: None)
    with refused("missing_extra", "medcls[hpo]"):
        searching.check_installed()


def test_optuna_is_as_quiet_as_medcls(study):
    assert optuna.logging.get_verbosity() == logging.WARNING
