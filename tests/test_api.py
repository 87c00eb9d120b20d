"""medcls from Python: what the commands do, with results as objects, and nothing left behind in the process."""

import asyncio
import contextlib
import inspect
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
import yaml
from entry_points import run_main
from html_pages import read
from omegaconf import OmegaConf
from process_state import of_the_process
from refusals import refused

import medcls
from medcls import api, train
from medcls.learning.classifier import Classifier
from medcls.report import result_card

SETTINGS = {
    "model.name": "test_efficientnet",
    "data.image_size": 32,
    "data.batch_size": 8,
    "data.workers": 0,
    "trainer.max_epochs": 3,
}
EARLIER = Path(__file__).parent / "earlier_runs" / "2026-11-30" / "run"


@pytest.fixture(scope="module")
def trained(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[medcls.Run, dict, dict]:
    """The run `finished`, from Python within a running loop as in a notebook; and the process before and after."""
    place = tmp_path_factory.mktemp("python") / "run"

    async def train_within_a_loop() -> tuple[medcls.Run, dict, dict]:
        before = of_the_process()
        images = finished.parent / "images"
        run = medcls.train(images, positive_class="得病", model="timm", run_dir=place, **SETTINGS)
        return run, before, of_the_process()

    return asyncio.run(train_within_a_loop())


@pytest.fixture
def run(trained) -> medcls.Run:
    return trained[0]


def test_a_run_is_that_of_the_command(run, finished):
    own, typed = (
        yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")) for folder in (run.path, finished)
    )
    assert own == typed
    for name in ("val", "test"):
        table = f"predictions/{name}.csv"
        assert (run.path / table).read_bytes() == (finished / table).read_bytes()
    files = {
        path.relative_to(run.path) for path in run.path.rglob("*") if path.is_file() and "tfevents" not in path.name
    }
    assert files == {
        path.relative_to(finished) for path in finished.rglob("*") if path.is_file() and "tfevents" not in path.name
    }


def test_a_call_leaves_the_process_as_it_was(trained):
    _, before, after = trained
    for name, value in before.items():
        assert after[name] == value, name


def test_the_report_names_the_line_that_repeats_the_run(run, monkeypatch):
    report = (run.path / "report.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^ {4}(python -m medcls\.train .*)$", report, re.MULTILINE)
    composed = []
    monkeypatch.setattr("medcls.train.train", lambda cfg, folder: composed.append(cfg))
    # The folder has a run by now.
    typed = [f"{word}-again" if word.startswith("hydra.run.dir=") else word for word in shlex.split(line)[3:]]
    run_main(train.main, *typed)
    chosen = {"exact_batch_norm": None}  # by the training itself
    assert OmegaConf.to_container(composed[0], resolve=True) == (
        yaml.safe_load((run.path / "config.yaml").read_text(encoding="utf-8")) | chosen
    )


def test_the_tables_of_a_run(run):
    stored = json.loads((run.path / "metrics.json").read_text(encoding="utf-8"))
    metrics = run.metrics
    assert list(dict.fromkeys(metrics["split"])) == ["test", "val"]
    for name in ("test", "val"):
        rows = metrics[metrics["split"] == name].set_index("metric")
        assert rows.loc["auroc", ["estimate", "low", "high"]].tolist() == [
            next(row for row in stored[name]["intervals"] if row["metric"] == "auroc")[key]
            for key in ("estimate", "low", "high")
        ]
    written = pd.read_csv(run.path / "predictions" / "test.csv")
    pd.testing.assert_frame_equal(run.predictions()[["prob_得病", "ood"]], written[["prob_得病", "ood"]])
    assert set(run.predictions("val")["split"]) == {"val"}
    with refused("not_evaluated", "train", "test", "val"):
        run.predictions("train")
    assert run.config["trainer.max_epochs"] == 3 and run.config["positive_class"] == "得病"
    assert os.fspath(run) == str(run.path) and medcls.Run(run.path).metrics.equals(metrics)


def test_a_run_shows_the_key_metrics_of_its_report(run):
    card = read(run._repr_html_())
    page = (run.path / "report.html").read_text(encoding="utf-8")
    values = re.findall(r'<p class="value">(.*?)</p>\s*<p class="between">(.*?)</p>', page)
    assert len(values) == 3
    for estimate, interval in values:
        assert estimate in card.text and interval in card.text
    sources = [attributes["src"] for tag, attributes in card.tags if tag == "img"]
    assert len(sources) == 3 and all(source.startswith("data:image/png") for source in sources)


def test_a_run_loads_its_model(run):
    image = run.predictions("test").iloc[0]
    predicted = run.load().predict(Path(run.config["data.root"]) / image["path"])
    assert predicted.probabilities["得病"] == pytest.approx(image["prob_得病"], abs=1e-5)


def test_several_classes_have_means_and_no_threshold():
    means = ("auroc", "(macro)"), ("balanced_accuracy", ""), ("accuracy", "")
    rows = [
        {"metric": metric, "class": of, "estimate": 0.75, "low": 0.5, "high": None, "method": "", "n": 90, "note": ""}
        for metric, of in (("auroc", "a"), ("auroc", "b"), ("auroc", "c"), *means)
    ]
    rows[-3]["estimate"], rows[0]["low"] = 0.625, None
    split = {"per_class": {"a": {}}, "values": {"n": 90, "majority_baseline": 0.4}, "intervals": rows}
    split |= {"threshold": None, "threshold_fitted": False, "caption": "test of <b>a</b>"}
    found = result_card.key_metrics(split)
    assert [metric.value for _, metric in found] == [0.625, 0.75, 0.75]
    card = read(result_card.metrics_card("<script>", split, ["MADE <i>"], []))
    assert {tag for tag, _ in card.tags} <= {"div", "p", "bdi"} and "<script>" in card.text and "0.400" in card.text


def test_a_run_of_an_earlier_version_is_shown(tmp_path):
    shutil.copytree(EARLIER, tmp_path / "run")
    config = tmp_path / "run" / "config.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace("@HERE@", str(tmp_path)), encoding="utf-8")
    run = medcls.Run(tmp_path / "run")
    assert "0." in read(run._repr_html_()).text and len(run.predictions("test")) > 10


def test_an_evaluation_of_the_test_split_is_in_the_run_folder_and_others_are_not(run, tmp_path):
    val = medcls.evaluate(run, split="val", run_dir=tmp_path / "val", resamples=100)
    assert isinstance(val, medcls.Evaluation) and val.path == tmp_path / "val"
    # A folder without a configuration names the positive class too.
    assert set(val.predictions()["split"]) == {"val"} and set(val.metrics["split"]) == {"val"}
    assert val.report.path.is_file() and "95%" in read(val._repr_html_()).text
    again = medcls.evaluate(run, resamples=100)
    assert again.path == run.path and set(again.metrics["split"]) == {"test", "val"}


def test_an_audit_is_a_table_of_findings(finished, tmp_path, capsys):
    with contextlib.redirect_stdout(io.StringIO()) as redirected:
        found = medcls.audit(finished.parent / "images", positive_class="得病", run_dir=tmp_path / "audit")
    assert redirected.getvalue() and not "".join(capsys.readouterr())
    stored = json.loads((tmp_path / "audit" / "audit.json").read_text(encoding="utf-8"))
    assert found.findings["check"].tolist() == [finding["check"] for finding in stored["findings"]]
    assert found.errors == stored["levels"]["error"]
    shown = read(found._repr_html_()).text
    for finding in stored["findings"]:
        assert (finding["title"] in shown) == (finding["level"] != "good")


def test_what_is_wrong_is_an_exception_and_leaves_nothing_behind(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = finished.parent / "images"
    before = of_the_process()
    with refused("no_such_folder", "nowhere"):
        medcls.train("nowhere")
    with refused("bad_setting", "trainer.max_epoch"):
        medcls.train(images, **{"trainer.max_epoch": 3})
    with refused("bad_value", "data.batch_size"):
        medcls.train(images, positive_class="得病", **{"data.batch_size": 0})
    with refused("bad_value", "seed"):
        medcls.train(images, seed=object())
    with refused("given_twice", "data.root"):
        medcls.audit(images, **{"data.root": images})
    with refused("no_such_choice", "loss"):
        medcls.train(images, loss=None)
    with refused("sweep_in_python", "hydra.mode"):
        medcls.audit(images, **{"hydra.mode": "MULTIRUN"})
    with refused("folder_not_made", "file"):
        (tmp_path / "file").touch()
        medcls.audit(images, run_dir=tmp_path / "file" / "audit")
    with refused("no_results", "nowhere"):
        medcls.Run("nowhere")
    assert of_the_process() == before
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    # And the next call works.
    assert medcls.audit(images, positive_class="得病").path.parent == tmp_path / "audits"


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_training_and_is_handled_as_before(finished, tmp_path, monkeypatch, sent):
    def interrupted(*_: object) -> None:
        # To this thread: one that another thread receives may come before or after it waits, which could then last.
        signal.raise_signal(sent)

    monkeypatch.setattr(Classifier, "training_step", interrupted)
    own = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's job in the background ignores it
    before = of_the_process()
    with pytest.raises(KeyboardInterrupt):
        medcls.train(
            finished.parent / "images", positive_class="得病", model="timm", run_dir=tmp_path / "run", **SETTINGS
        )
    assert of_the_process() == before
    signal.signal(signal.SIGINT, own)


def test_calls_from_threads_run_one_after_another(finished, tmp_path):
    images = finished.parent / "images"
    threads = threading.active_count()
    with ThreadPoolExecutor(2) as pool:
        calls = [
            pool.submit(medcls.audit, images, positive_class="得病", run_dir=tmp_path / name) for name in ("a", "b")
        ]
        assert [call.result().path.name for call in calls] == ["a", "b"]
    assert threading.active_count() == threads
    for name in ("a", "b"):
        page = (tmp_path / name / "audit.html").read_text(encoding="utf-8")
        assert f"{tmp_path.name}/{name}" in page and f"{tmp_path.name}/{'ab'.replace(name, '')}" not in page


@pytest.mark.slow
def test_a_training_from_a_thread(finished, tmp_path):
    with ThreadPoolExecutor(1) as pool:
        place = tmp_path / "run"
        settings = SETTINGS | {"trainer.max_epochs": 1, "resamples": 100}
        images = finished.parent / "images"
        call = pool.submit(medcls.train, images, positive_class="得病", model="timm", run_dir=place, **settings)
        assert call.result().report.path.is_file()


def test_ipython_prints_an_error_without_its_stack_trace():
    error = medcls.MedclsError("message", kind="bad_value")
    error.add_note("note")
    assert error._render_traceback_() == ["MedclsError: message", "note"]


@pytest.mark.parametrize("command", ["train", "probe", "evaluate", "audit"])
def test_a_command_is_a_module_and_can_be_called(command):
    code = f"import medcls.{command} as one, inspect, medcls; print(one.main, inspect.signature(medcls.{command}))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip().endswith(str(inspect.signature(getattr(api, command))))
    assert command in dir(medcls) and command in medcls.__all__


def test_python_m_medcls_lists_every_command():
    printed = subprocess.run([sys.executable, "-m", "medcls"], capture_output=True, text=True, check=True).stdout
    scripts = Path(__file__).parents[1] / "pyproject.toml"
    names = re.findall(r'^medcls-(\w+) = "medcls\.\1:main"$', scripts.read_text("utf-8"), re.MULTILINE)
    assert re.findall(r"^  (\w+)  +\w", printed, re.MULTILINE) == sorted(names)
    ended = subprocess.run([sys.executable, "-m", "medcls", "train"], capture_output=True, text=True, check=False)
    assert ended.returncode == 2 and "python -m medcls.train" in ended.stderr


@pytest.mark.slow
def test_a_probe_is_a_run(finished, tmp_path):
    settings = {name: value for name, value in SETTINGS.items() if name.startswith(("model.", "data."))}
    images = finished.parent / "images"
    run = medcls.probe(
        images, positive_class="得病", run_dir=tmp_path / "probe", model="timm", resamples=100, **settings
    )
    assert isinstance(run, medcls.Run) and set(run.metrics["split"]) == {"out_of_fold"} and len(run.predictions()) == 60
    assert "AUROC" in read(run._repr_html_()).text
