"""What MLflow is given of a run says no more than the report, under names that MLflow accepts."""

import shutil
from pathlib import Path

import pytest
import yaml

from medcls.runs.records import Configuration
from medcls.workflow import tracking_content


def test_settings_and_files_say_no_more_than_the_report(finished, tmp_path):
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    shown = Configuration.read(run)
    assert tracking_content.settings_of(shown)["data.root"] == shown.setting("data.root")
    names = {path.relative_to(run).as_posix() for path in tracking_content.files_of_run(run, shown)}
    assert {"config.yaml", "report.html", "checkpoints/best.ckpt", "figures/training_images.png"} <= names
    # These name images and patients.
    assert not any(name.startswith(("manifest", "predictions", "audit", "train.log")) for name in names)

    hiding = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    hiding["report"] |= {"paths": "hidden", "images": False}
    hidden = Configuration(hiding)
    assert not any(str(tmp_path.parent) in value for value in tracking_content.settings_of(hidden).values())
    less = {path.relative_to(run).as_posix() for path in tracking_content.files_of_run(run, hidden)}
    assert names - less == {"config.yaml", "figures/training_images.png"}


@pytest.mark.parametrize("name", ["<5", ">5", "ER+", "a:b", "=HYPERLINK(1)", "正常", "a b"])
def test_names_are_those_that_mlflow_accepts_and_stay_distinct(name):
    from mlflow.utils.validation import validate_param_and_metric_name

    accepted = tracking_content.name_for(name)
    assert validate_param_and_metric_name(accepted)
    others = {tracking_content.name_for(other) for other in ("<5", ">5", "ER+", "ER-", "ER=") if other != name}
    assert accepted not in others
