"""The recipes of docs/extending.md, written into an empty folder and used from there."""

import dataclasses
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from entry_points import run_main
from made_sets import SMOKE, noise
from omegaconf import OmegaConf
from refusals import refused, refused_command

from medcls import audit, evaluate, train
from medcls.workflow import report_settings

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")
FILES = re.compile(r"^```(?:python|yaml)\n# (\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def study(tmp_path, monkeypatch):
    for name, content in FILES.findall(PAGE):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    (tmp_path / "mine" / "__init__.py").touch()
    for number in range(28):
        noise(tmp_path / "images" / f"{('well', 'ill')[number % 2]}_{number:03d}.png", number, 80 + 80 * (number % 2))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] == "mine"]:
        del sys.modules[name]


def typed(module: str) -> list[str]:
    """The arguments of the page's command."""
    (command,) = [line for line in PAGE.splitlines() if line.startswith(f"python -m medcls.{module}")]
    return command.split()[3:]


def test_every_file_of_the_page_is_written():
    assert len(FILES.findall(PAGE)) == len(re.findall(r"^```(?:python|yaml)", PAGE, re.MULTILINE)) > 5


def test_a_network_a_source_and_a_loss_of_ones_own_train_to_the_report(study):
    run_main(train.main, *typed("train"), *SMOKE)
    table = pd.read_csv("runs/own/manifest.csv")
    assert set(table["label"]) == {"ill", "well"} and len(table) == 28
    # With a limitation rule, a plot and a metric of one's own.
    run_main(evaluate.main, *typed("evaluate"), "resamples=100")
    page = Path("runs/own/report.html").read_text(encoding="utf-8")
    assert "one hospital" in page and "Sorted probabilities" in page
    assert Path("runs/own/figures/sorted_probabilities_test.svg").is_file()
    assert "Jaccard index" in page
    written = json.loads(Path("runs/own/metrics.json").read_text(encoding="utf-8"))["test"]
    (row,) = [one for one in written["intervals"] if one["metric"] == "jaccard"]
    (_, fp), (fn, tp) = np.array(written["confusion"])[[1, 0]][:, [1, 0]]  # ill, the positive class, comes first
    assert row["class"] == "ill" and row["estimate"] == pytest.approx(tp / (tp + fp + fn))


@pytest.mark.parametrize(
    ("changed", "kind"),
    [("{}", "unknown_target"), ({"identifier": "auroc"}, "bad_value"), ({"interval": "none"}, "bad_value")],
)
def test_a_metric_of_ones_own_has_an_identifier_and_an_interval_of_its_own(study, changed, kind):
    from mine import metrics

    metrics.OTHER = dataclasses.replace(metrics.JACCARD, **changed) if isinstance(changed, dict) else changed
    with refused(kind, "report.metrics", "mine.metrics.OTHER"):
        report_settings._metrics(["mine.metrics.OTHER"])


def test_a_check_of_ones_own_is_a_finding_of_the_audit(study):
    run_main(audit.main, *typed("audit"), "hydra.run.dir=audit")
    found = json.loads(Path("audit/audit.json").read_text(encoding="utf-8"))["findings"]
    (own,) = [one for one in found if one["check"] == "low_resolution"]
    assert (own["level"], own["title"].split()[0]) == ("good", "No")
    assert "low_resolution" in Path("audit/audit.html").read_text(encoding="utf-8")


def test_a_name_that_is_no_function_is_refused(study):
    names = ("audit.checks", "mine.checks.nowhere")
    refused_command("unknown_target", names, audit.main, *typed("audit")[:-1], "audit.checks=[mine.checks.nowhere]")


@pytest.mark.parametrize("setting", ["report.rules", "report.plots", "report.metrics"])
def test_p60_a_stored_configuration_names_no_function_unless_trusted(finished, tmp_path, setting):
    shutil.copytree(finished, tmp_path / "run")
    config = OmegaConf.load(tmp_path / "run" / "config.yaml")
    OmegaConf.update(config, setting, ["os.getcwd"])
    OmegaConf.save(config, tmp_path / "run" / "config.yaml")
    for main, arguments in ((train.main, ("resume=", "trainer.max_epochs=9")), (evaluate.main, ("run=",))):
        refused_command("foreign_target", ("os.getcwd", setting), main, f"{arguments[0]}{tmp_path}/run", *arguments[1:])
