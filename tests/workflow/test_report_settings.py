import pytest
from evaluation_settings import evaluation_settings, plain_settings
from refusals import refused

from medcls.workflow.report_settings import ReportSettings


def test_what_is_shipped_can_be_read():
    read = evaluation_settings()
    assert (read.fitting.operating_point, read.fitting.calibrate, read.resamples) == ("youden", "temperature", 100)
    assert read.page.images and read.page.paths and not read.bands and read.prevalence is None


def test_runs_of_earlier_versions_lack_some_settings_and_write_others_differently():
    plain = plain_settings(calibrate=True)
    del plain["precision_of_sensitivity"]
    for name in ("rules", "plots", "metrics"):
        plain["report"].pop(name, None)
    read = ReportSettings.read(plain)
    assert read.fitting.calibrate == "temperature" and read.precision_of_sensitivity == 0.05
    assert ReportSettings.read(plain | {"calibrate": False}).fitting.calibrate == "none"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", -1),
        ("seed", True),
        ("resamples", 99),
        ("resamples", 100.5),
        ("ordered", "mild"),
        ("prevalence", 1.0),
        ("prevalence", {"ill": 0}),
        ("coverage", 1),
        ("calibrate", "platt"),
        ("operating_point", "yuden"),
        ("precision_of_sensitivity", 0.5),
        ("report", "hidden"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_by_name(name, value):
    with refused("bad_value", str(value)):
        evaluation_settings(**{name: value})


@pytest.mark.parametrize("name", ["calibrate", "coverage", "resamples", "seed", "report", "report.paths"])
def test_a_setting_that_was_removed_is_named(name):
    plain = plain_settings()
    group, _, last = name.rpartition(".")
    del (plain[group] if group else plain)[last]
    with refused("missing_setting", name):
        ReportSettings.read(plain)
