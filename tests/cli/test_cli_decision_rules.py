"""Decision rules of an evaluation: as stored, or fitted on other images; never on those that are evaluated."""

import dataclasses
import json
import logging

import pytest
from evaluation_settings import evaluation_settings
from made_study import predictions
from refusals import refused

from medcls.cli.decision_rules import check_disjoint, rehearse, rules_for, rules_for_table
from medcls.evaluation.folds import OUT_OF_FOLD
from medcls.workflow import evaluating

OPTIONS = evaluation_settings()
TABLE, VAL = predictions("test", 200), predictions("val", 200, seed=1)


@pytest.fixture
def run(tmp_path):
    """A run folder's rules, fitted on val, and the path of its table of test."""
    fitted = evaluating.fit(VAL, OPTIONS)
    (tmp_path / "policies.json").write_text(json.dumps(fitted.to_plain()))
    return fitted, tmp_path / "predictions" / "test.csv"


def test_a_table_of_a_run_is_evaluated_by_the_rules_of_its_checkpoint(run):
    fitted, path = run
    assert rules_for_table(path, TABLE, None, OPTIONS, ()) == fitted
    other = dataclasses.replace(TABLE, rows=TABLE.rows.assign(checkpoint="another"))
    nothing = rules_for_table(path, other, None, OPTIONS, ())
    assert nothing.images.operating_point.threshold == 0.5 and nothing.images.calibration is None


def test_rows_out_of_fold_are_not_evaluated_by_rules_fitted_on_them(run):
    _, path = run
    pooled = dataclasses.replace(TABLE, rows=TABLE.rows.assign(split=OUT_OF_FOLD))
    assert rules_for_table(path, pooled, None, OPTIONS, ()).images.operating_point.threshold == 0.5


def test_joining_images_of_a_patient_leaves_the_rules_of_images_as_stored(run):
    fitted, path = run
    options = evaluation_settings(aggregate="mean")
    joined = rules_for_table(path, TABLE, None, options, ("aggregate",))
    assert joined.images == fitted.images and joined.aggregate == "mean"


def test_a_table_alone_has_a_threshold_of_one_half_or_a_fixed_one(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        assert rules_for_table(tmp_path / "x.csv", TABLE, None, OPTIONS, ()).images.operating_point.threshold == 0.5
    assert "val=FILE.csv" in caplog.text
    fixed = evaluation_settings(operating_point="fixed=0.3")
    assert (
        rules_for_table(tmp_path / "x.csv", TABLE, None, fixed, ("operating_point",)).images.operating_point.threshold
        == 0.3
    )


def test_what_must_be_fitted_needs_other_images(tmp_path):
    with refused("nothing_to_fit_on", "operating_point, calibrate", "val=FILE.csv"):
        rules_for_table(tmp_path / "x.csv", TABLE, None, OPTIONS, ("operating_point", "calibrate", "aggregate"))
    fitted = rules_for_table(tmp_path / "x.csv", TABLE, VAL, OPTIONS, ("operating_point",))
    assert fitted == evaluating.fit(VAL, OPTIONS)
    with refused("fitted_on_the_result", "200 images", "test/00000.png"):
        rules_for_table(tmp_path / "x.csv", TABLE, TABLE, OPTIONS, ())
    three = predictions("test", 90, classes=("a", "b", "c"))
    with refused("idle_setting", "operating_point"):
        rules_for_table(tmp_path / "x.csv", three, None, OPTIONS, ("operating_point",))


@pytest.mark.parametrize(
    ("content", "kind"), [("{}", "damaged_file"), ("[1]", "damaged_file"), ("{", "unreadable_file")]
)
def test_damaged_rules_beside_a_table_are_named(run, content, kind):
    _, path = run
    (path.parents[1] / "policies.json").write_text(content)
    with refused(kind, "policies.json"):
        rules_for_table(path, TABLE, None, OPTIONS, ())


def test_images_are_known_by_their_path(tmp_path):
    check_disjoint(VAL, TABLE)
    one = dataclasses.replace(VAL, rows=VAL.rows.assign(path=["test/00007.png", *VAL.rows["path"][1:]]))
    with refused("fitted_on_the_result", "1 image ", "test/00007.png"):
        check_disjoint(one, TABLE)


def test_a_run_is_evaluated_by_stored_rules_unless_some_are_fitted_again(opened):
    result = opened.stored("test")
    stored = rules_for(opened, OPTIONS, refit=(), views=1, result=result)
    assert stored == evaluating.Fitted.from_plain(opened.loaded.decision_rules)
    options = evaluation_settings(operating_point="sensitivity>=0.9")
    again = rules_for(opened, options, refit=("operating_point",), views=1, result=result)
    assert again.images.operating_point.split == "val" and again.images != stored.images


def test_the_mean_over_views_is_not_calibrated_on_images_that_selected(opened, caplog):
    views = rules_for(opened, OPTIONS, refit=(), views=3, result=opened.stored("test"))
    assert views.images.operating_point.threshold == 0.5 and views.images.calibration is None
    assert "data.calibration_fraction" in caplog.text and "views=3" in caplog.text


def test_wrong_settings_are_found_before_anything_is_predicted(opened, monkeypatch):
    monkeypatch.setattr(type(opened), "predict_images", lambda *_, **__: pytest.fail("predicted"))
    manifest = opened.reopen("test")
    for refit, views in (((), 1), (("calibrate",), 1), ((), 3)):
        rehearse(opened, manifest, "test", [], OPTIONS, refit=refit, views=views)
        with refused("unknown_column", "site"):
            options = evaluation_settings(subgroups={"site": None})
            rehearse(opened, manifest, "test", [], options, refit=refit, views=views)
