"""How a command ends after an error: the files it leaves, its message, and whether the advice works."""

import errno
import logging
import os
import re
import shlex
import shutil
from collections.abc import Container, Iterable
from pathlib import Path

import pytest
from _pytest.mark.structures import ParameterSet
from entry_points import FAST, run_main
from omegaconf import DictConfig, OmegaConf
from refusals import logged, noted, refused, refused_command, rules

from medcls import audit, compare, evaluate, train
from medcls.cli import termination
from medcls.cli.entry_point import run_command
from medcls.cli.resume import resumed_configuration
from medcls.cli.shipped import configurations
from medcls.data.sources.folders import from_folders
from medcls.data.sources.saved import as_begun
from medcls.data.splits.split import SplitSettings, split
from medcls.errors import MedclsError
from medcls.inference.load import weights_hash
from medcls.models.weights import read_state
from medcls.runs import records
from medcls.runs.records import Audit
from medcls.runs.run_folder import RunFolder
from medcls.workflow import result_files
from medcls.workflow import training_plots as pictures
from medcls.workflow.resuming import is_scored

NO_SPACE = "No space left on device"


@pytest.fixture(scope="module")
def unscored(finished, tmp_path_factory) -> Path:
    """A run whose training is done, and nothing else."""
    run = Path(shutil.copytree(finished, tmp_path_factory.mktemp("unscored") / "run"))
    shutil.rmtree(run / "predictions")
    for name in ("policies.json", "metrics.json", "report.html", "report.md"):
        (run / name).unlink()
    cfg = OmegaConf.load(run / "config.yaml")
    cfg.resamples = 100
    OmegaConf.save(cfg, run / "config.yaml")
    return run


@pytest.fixture
def run(unscored, tmp_path) -> Path:
    return Path(shutil.copytree(unscored, tmp_path / "a run"))


def ended(main, monkeypatch, capsys, *arguments: str) -> tuple[int, str]:
    """Exit code, and what was said on the error stream."""
    monkeypatch.setattr("sys.argv", ["medcls", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code, capsys.readouterr().err


def goes_on(said: str) -> str:
    """The command to go on with, which ends what is said."""
    return [line.strip() for line in said.splitlines() if line.startswith("  python -m ")][-1]


def failing(error: BaseException, after: int = 0, real=None):
    """A function that fails, from its call number `after` on."""
    calls = []

    def fail(*arguments: object, **settings: object) -> object:
        calls.append(1)
        if len(calls) > after:
            raise error
        return real(*arguments, **settings)

    return fail


def break_stage(monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    monkeypatch.setattr(stage, failing(KeyError("mean")))


PREDICTED = ["predictions/val.csv"]
FITTED = [*PREDICTED, "policies.json"]
TESTED = [*FITTED, "predictions/test.csv"]
JUDGED = [*TESTED, "metrics.json"]
# What fails, what is whole by then, and what is not there yet.
STAGES = {
    "medcls.inference.predict.Predictor.__call__": ([], "predictions/val.csv"),
    "medcls.workflow.evaluating.fit": (PREDICTED, "policies.json"),
    "medcls.workflow.evaluating.evaluate": (TESTED, "metrics.json"),
    "medcls.workflow.run_sources.sources_of_run": (JUDGED, "report.html"),
    "medcls.workflow.result_files.limitations": (JUDGED, "report.html"),
    "medcls.workflow.result_files.tripod_ai": (JUDGED, "report.html"),
    "medcls.workflow.result_files.draw": (JUDGED, "report.html"),
    "medcls.workflow.result_files.report": (JUDGED, "report.html"),
}


# These come before the report is put together, and after; the rest are as the first of the latter.
OFTEN = {
    "medcls.inference.predict.Predictor.__call__",
    "medcls.workflow.evaluating.fit",
    "medcls.workflow.evaluating.evaluate",
    "medcls.workflow.result_files.draw",
}


def of_stages(stages: Iterable[str], often: Container[str]) -> list[ParameterSet]:
    return [pytest.param(stage, marks=[] if stage in often else pytest.mark.slow) for stage in stages]


@pytest.mark.parametrize("stage", of_stages(STAGES, OFTEN))
def test_files_before_an_error_are_complete_and_how_to_continue_is_printed(run, monkeypatch, capsys, stage):
    whole, missing = STAGES[stage]
    monkeypatch.setattr(result_files, "draw", lambda *_, **__: [])  # it takes long, and has a turn of its own
    with monkeypatch.context() as broken:
        break_stage(broken, stage)
        code, said = ended(train.main, broken, capsys, f"resume={run}")
    assert code == 1
    assert "Traceback" in said and "KeyError: 'mean'" in said
    for name in whole:
        assert name in said and (run / name).stat().st_size
    assert not (run / missing).exists()
    assert goes_on(said) == f"python -m medcls.evaluate \"run='{run}'\" split=test"


@pytest.mark.slow
@pytest.mark.parametrize(
    "stage",
    of_stages(
        [
            "medcls.inference.predict.Predictor.__call__",
            "medcls.workflow.evaluating.evaluate",
            "medcls.workflow.result_files.report",
        ],
        {"medcls.workflow.evaluating.evaluate"},
    ),
)
def test_the_command_that_goes_on_works_and_may_fail_itself(run, monkeypatch, capsys, stage):
    with monkeypatch.context() as broken:
        break_stage(broken, stage)
        _, said = ended(train.main, broken, capsys, f"resume={run}")
        break_stage(broken, stage)
        command = shlex.split(goes_on(said))
        assert command[:3] == ["python", "-m", "medcls.evaluate"]
        before = {path for path in run.rglob("*") if path.is_file()}
        code, said = ended(evaluate.main, broken, capsys, *command[3:])
    assert code == 1 and "Traceback" in said
    assert before <= {path for path in run.rglob("*") if path.is_file()}
    if "predict" not in stage:
        assert "predictions/test.csv" in said
        assert shlex.split(goes_on(said))[2:] == command[2:]
    run_main(evaluate.main, *command[3:])
    for name in (*JUDGED, "report.html", "report.md"):
        assert (run / name).exists()


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (MedclsError("this cannot be"), 2, "medcls: this cannot be"),
        (OSError(errno.ENOSPC, NO_SPACE), 2, NO_SPACE),
        (OSError(errno.EIO, "Input/output error", "/a/file"), 2, "/a/file "),
        (KeyboardInterrupt(), 130, "medcls: "),
        (termination.Terminated(), 143, "SIGTERM"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 141, ""),
        (OSError("no file in it"), 1, "OSError: no file in it"),
        (AttributeError("x"), 1, "AttributeError: x"),
        (ValueError("embedded null byte"), 1, "ValueError: embedded null byte"),
        # A setting that there never was, against one that was taken away.
        (lambda cfg: cfg["nothing"], 1, "ConfigKeyError"),
        (lambda cfg: cfg["clear"], 2, "'clear'"),
    ],
)
def test_errors_that_are_not_of_the_program_are_one_message(monkeypatch, capsys, error, code, says):
    more = "a note on what is there"

    def task(cfg: DictConfig) -> None:
        if not isinstance(error, BaseException):
            del cfg.__dict__["_content"]["clear"]
            error(cfg)
        error.add_note(more)
        raise error

    # Its standard output is what a closed pipe would take away; pytest needs it.
    monkeypatch.setattr("os.dup2", lambda *_: None)
    ended_with, said = ended(lambda: run_command(task, "cache"), monkeypatch, capsys)
    assert ended_with == code and says in said
    assert ("Traceback" in said) == (code == 1)
    assert (more in said) == (isinstance(error, BaseException) and code != 141)
    if code == 1:
        assert "hydra/_internal" not in said, "the stack trace begins at the command"


def test_an_error_of_a_worker_process_is_printed_as_it_is():
    trace = (
        "Caught UnreadableImage in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  File"
    )
    own, alike = "a.png is no more.\nBring it back.", "Caught between: a.png"
    error = MedclsError(f"{trace} ...\n\nmedcls.errors.MedclsError: {own}\n")
    assert termination.exit_code_and_message(error) == (2, own)
    assert termination.exit_code_and_message(MedclsError(alike)) == (2, alike)


@pytest.mark.slow
def test_an_evaluation_elsewhere_keeps_its_predictions_and_can_be_made_again_in_its_place(
    run, tmp_path, monkeypatch, capsys
):
    arguments = (f"run={run}", "views=2", f"hydra.run.dir={tmp_path}/views")
    with monkeypatch.context() as broken:
        broken.setattr("medcls.workflow.result_files.report", failing(KeyError("mean")))
        code, said = ended(evaluate.main, broken, capsys, *arguments)
    assert code == 1 and "predictions/test.csv" in said
    assert (tmp_path / "views" / "predictions" / "test.csv").exists()
    assert not (run / "predictions").exists()
    run_main(evaluate.main, *arguments)
    assert (tmp_path / "views" / "report.html").exists()


@pytest.mark.slow
def test_fewer_epochs_than_a_run_has_behind_it_are_refused_and_a_plain_resume_still_works(
    finished, tmp_path, monkeypatch
):
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    names = (str(run), " 3 ", "trainer.max_epochs=1")
    refused_command("fewer_epochs", names, train.main, f"resume={run}", "trainer.max_epochs=1")
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    # There is nothing to do, and nothing is done: test is not read once more.
    run_main(train.main, f"resume={run}")
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    # An evaluation of another checkpoint, or one whose report was not written any more, is made.
    told = (run / "metrics.json").read_text(encoding="utf-8")
    (run / "metrics.json").write_text(told.replace('"checkpoint": "', '"checkpoint": "0'), encoding="utf-8")
    (run / "report.html").write_text("older", encoding="utf-8")
    monkeypatch.setattr("lightning.Trainer.fit", failing(AssertionError("it trains")))
    run_main(train.main, f"resume={run}")
    assert (run / "metrics.json").read_text(encoding="utf-8") == told
    assert (run / "report.html").read_text(encoding="utf-8") != "older"


@pytest.mark.slow
def test_a_run_stopped_in_its_first_epoch_is_started_over_by_the_same_command(
    finished, tmp_path, monkeypatch, capsys, caplog
):
    run = tmp_path / "a run"
    root = OmegaConf.load(finished / "config.yaml").data.root
    command = (
        *FAST, f"data.root={root}", "positive_class='得病'", "trainer.max_epochs=3", "resamples=100",
        f"hydra.run.dir={run}",
    )  # fmt: skip
    with monkeypatch.context() as broken:
        broken.setattr("lightning.Trainer.fit", failing(KeyboardInterrupt()))
        code, said = ended(train.main, broken, capsys, *command)
    assert code == 130 and str(run) in said and "hydra.run.dir" in said
    refused_command("nothing_to_resume", (f"\"hydra.run.dir='{run}'\"",), train.main, f"resume={run}")
    # What a kill while writing leaves, after the best checkpoint was written and before the last.
    (run / "checkpoints").mkdir()
    halves = [run / "checkpoints" / "last.ckpt.tmp", run / ".config.1234.yaml", run / "figures" / ".data.7.png"]
    (run / "figures").mkdir(exist_ok=True)
    for half in halves:
        half.write_text("half")
    shutil.copy(finished / "checkpoints" / "best.ckpt", run / "checkpoints" / "best.ckpt")
    names = (str(run), "checkpoints/best.ckpt", "last.ckpt", "hydra.run.dir")
    refused_command("folder_taken", names, train.main, *command, "seed=1")
    # The first command of a process ends the log's propagation.
    monkeypatch.setattr(logging.getLogger("medcls.workflow.resuming"), "handlers", [caplog.handler])
    run_main(train.main, *command)
    assert not any(half.exists() for half in halves)
    assert (run / "report.html").exists()
    assert "started_over" in rules(caplog)
    for name in ("best.ckpt", "last.ckpt"):
        ours, theirs = (read_state(one / "checkpoints" / name)[0] for one in (run, finished))
        assert weights_hash(ours) == weights_hash(theirs)
    refused_command("folder_taken", (f"resume={run}",), train.main, *command)


@pytest.mark.slow
def test_what_early_stopping_ended_is_not_trained_on_by_a_resume(folder, tmp_path, monkeypatch, caplog):
    root = folder({"a": 20, "b": 20})
    run_main(
        train.main, *FAST, f"data.root={root}", "positive_class=a", "trainer.max_epochs=9", "early_stopping=1",
        "optimizer.lr=0", "resamples=100", f"hydra.run.dir={tmp_path}/run",
    )  # fmt: skip
    (tmp_path / "run" / "report.html").unlink()
    monkeypatch.setattr("lightning.Trainer.fit", failing(AssertionError("it trains")))
    run_main(train.main, f"resume={tmp_path}/run")
    assert (tmp_path / "run" / "report.html").exists()
    told = logged(caplog, "stopped_early")
    assert len(told) == 2 and all(noted([one], "2", "1", "val/auroc", "early_stopping=1") for one in told)


@pytest.mark.slow
@pytest.mark.parametrize(("error", "code"), [(termination.Terminated(), 143), (KeyboardInterrupt(), 130)])
def test_a_sweep_that_is_ended_from_outside_ends_with_that_code_and_begins_no_other_run(
    finished, tmp_path, monkeypatch, capsys, error, code
):
    root = OmegaConf.load(finished / "config.yaml").data.root
    monkeypatch.setattr("lightning.Trainer.fit", failing(error))
    ended_with, said = ended(
        train.main, monkeypatch, capsys, *FAST, f"data.root={root}", "positive_class='得病'", "-m", "seed=0,1",
        f"hydra.sweep.dir={tmp_path}/sweep",
    )  # fmt: skip
    assert ended_with == code and "Traceback" not in said and f"{tmp_path}/sweep/0 " in said
    assert {path.name for path in (tmp_path / "sweep").iterdir() if path.is_dir()} == {".jobs", "0"}


@pytest.mark.parametrize("left", ["", "{", "[]", "null"])
def test_damaged_metrics_are_computed_again(tmp_path, left):
    folder = RunFolder(tmp_path / "run")
    folder.begin()
    folder.write_text("metrics.json", left)
    folder.write_text("report.html", "")
    folder.write_text("manifest.csv", "path,label,group,split,given_split,content,stamp\n")
    assert not is_scored(folder, evaluate_test=True)
    folder.close()


@pytest.mark.parametrize(("left", "kind"), [("", "unreadable_file"), ("[1]", "damaged_file")])
def test_a_damaged_record_may_be_removed(tmp_path, left, kind):
    record = tmp_path / "audit.json"
    record.write_text(left)
    with refused(kind, "audit.json"):
        records.read(record, Audit)
    record.unlink()
    assert records.read(record, Audit) is None


def test_an_empty_configuration_is_no_configuration_of_a_run(tmp_path):
    (tmp_path / "config.yaml").touch()
    with refused("damaged_configuration", "config.yaml", "data, model"):
        resumed_configuration(OmegaConf.create({"resume": str(tmp_path)}), [])


@pytest.mark.slow
@pytest.mark.parametrize("left", ["", "epoch,step,val/loss\n", "epoch,step,val/loss,train/loss\n2,1"])
def test_the_log_that_a_kill_left_does_not_stop_a_run_after_its_training(run, left):
    (run / "logs" / "version_1").mkdir()
    (run / "logs" / "version_1" / "metrics.csv").write_text(left)
    history = pictures.read_history(run / "logs")
    assert set(history["epoch"].dropna()) == {0, 1, 2} and history["val/loss"].notna().sum() == 3
    if not left:  # what a run makes of it hangs on what was read alone
        run_main(train.main, f"resume={run}")
        assert (run / "report.html").exists()


@pytest.mark.slow
def test_a_full_disk_is_reported_with_the_file_and_without_a_stack_trace(run, monkeypatch, capsys):
    def full(self: Path, *_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, NO_SPACE)

    monkeypatch.setattr("medcls.workflow.result_files.draw", lambda *_, **__: [])
    real = Path.write_text
    monkeypatch.setattr(
        Path, "write_text", lambda self, *a, **k: (full if ".report" in self.name else real)(self, *a, **k)
    )
    # The log is on the same disk.
    monkeypatch.setattr("medcls.runs.run_folder.LogFile.flush", full)
    code, said = ended(evaluate.main, monkeypatch, capsys, f"run={run}")
    assert code == 2
    assert "Traceback" not in said and "Logging error" not in said
    assert f"{run}/report.md" in said and NO_SPACE in said
    assert "predictions/test.csv, policies.json" in said and "metrics.json" in said
    assert "medcls.evaluate" in goes_on(said)
    assert not list(run.glob(".*"))


@pytest.mark.slow
def test_a_log_that_cannot_be_written_any_more_ends_no_run(run, monkeypatch, capsys):
    monkeypatch.setattr("medcls.workflow.result_files.draw", lambda *_, **__: [])
    monkeypatch.setattr("medcls.runs.run_folder.LogFile.flush", failing(OSError(errno.ENOSPC, NO_SPACE)))
    run_main(evaluate.main, f"run={run}")
    said = capsys.readouterr()
    assert " ".join(said.out.split()).count(f"[Errno {errno.ENOSPC}] {NO_SPACE}") == 1
    assert "Logging error" not in said.err and (run / "report.html").exists()


@pytest.mark.parametrize("place", ["FILE", "FILE/below", "/proc/x"])
@pytest.mark.parametrize("main", [train.main, evaluate.main, audit.main, compare.main])
def test_a_run_folder_that_cannot_be_made_is_an_error(tmp_path, monkeypatch, capsys, main, place):
    (tmp_path / "file").write_text("a file")
    place = place.replace("FILE", str(tmp_path / "file"))
    code, said = ended(main, monkeypatch, capsys, f"hydra.run.dir={place}", "hydra.sweep.dir=x")
    assert code == 2
    assert "Traceback" not in said and place.removesuffix("/below") in said and "hydra.run.dir" in said


def test_a_folder_is_one_commands_alone_while_it_writes(tmp_path, folder):
    other = RunFolder(tmp_path / "run")
    other.path.mkdir()
    other.claim()
    root = folder({"a": 8, "b": 8})
    arguments = (f"data.root={root}", "positive_class=a", f"hydra.run.dir={tmp_path}/run")
    refused_command("run_in_progress", (f"{tmp_path}/run", "hydra.run.dir"), train.main, *arguments)
    assert (tmp_path / "run").is_dir(), "it is the other's"
    other.close()
    again = RunFolder(tmp_path / "run")
    again.claim()
    again.close()


def test_a_process_that_outlives_a_command_does_not_keep_its_folder(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.claim()
    reading, writing = os.pipe()
    child = os.fork()
    if not child:  # as a loader's worker process
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    try:
        with refused("run_in_progress", str(folder.path)):
            RunFolder(folder.path).claim()
        folder.close()
        again = RunFolder(folder.path)
        again.claim()
        again.close()
    finally:
        os.close(writing)
        os.waitpid(child, 0)


@pytest.mark.slow
def test_a_run_that_is_being_evaluated_or_trained_is_left_alone(run):
    busy = RunFolder(run)
    busy.claim()
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    for main, argument in ((evaluate.main, "run"), (train.main, "resume")):
        refused_command("run_in_progress", (str(run),), main, f"{argument}={run}")
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    busy.close()


def test_default_names_of_two_runs_in_one_second_differ():
    for name in ("train", "audit", "evaluate", "compare"):
        text = (configurations() / "conf" / f"{name}.yaml").read_text(encoding="utf-8")
        names = re.findall(r"dir: (\S*now:\S*)", text)
        assert len(names) == 2 and all(one.endswith("-%f}") for one in names)


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [(MedclsError("Not two.\nMore of it."), 2, "Not two."), (KeyError("mean"), 1, "KeyError: 'mean'")],
)
def test_a_job_of_a_sweep_that_fails_leaves_the_others_their_turn(tmp_path, monkeypatch, capsys, error, code, says):
    done = []

    def task(cfg: DictConfig) -> None:
        if cfg.older_than_days in (2, 3):
            raise error
        done.append(cfg.older_than_days)

    arguments = ("-m", "clear=true", "older_than_days=1,2,3,4", f"hydra.sweep.dir={tmp_path}/sweep")
    ended_with, said = ended(lambda: run_command(task, "cache"), monkeypatch, capsys, *arguments)
    assert ended_with == code and done == [1, 4]
    failed, first, second = said.rstrip().splitlines()[-3:]
    assert failed.startswith("medcls: ") and noted([failed], "2", "4")
    assert first.endswith(f" 1 (older_than_days=2): {says}") and second.endswith(f" 2 (older_than_days=3): {says}")
    assert ("Traceback" in said) == (code == 1)


def test_an_interruption_ends_a_sweep(tmp_path, monkeypatch, capsys):
    done = []

    def task(cfg: DictConfig) -> None:
        done.append(cfg.older_than_days)
        raise KeyboardInterrupt

    arguments = ("-m", "older_than_days=1,2", f"hydra.sweep.dir={tmp_path}/sweep")
    assert ended(lambda: run_command(task, "cache"), monkeypatch, capsys, *arguments)[0] == 130
    assert done == [1]


@pytest.mark.slow
def test_a_seed_that_is_none_ends_its_own_run_of_a_sweep(folder, tmp_path, monkeypatch, capsys):
    root = folder({"a": 8, "b": 8})
    code, said = ended(
        train.main, monkeypatch, capsys, "-m", *FAST, f"data.root={root}", "positive_class=a", "preview=true",
        "seed=0,-1,2", f"hydra.sweep.dir={tmp_path}/sweep",
    )  # fmt: skip
    *_, failed, which = said.rstrip().splitlines()
    assert code == 2 and noted([failed], "1", "3") and noted([which], "1 (seed=-1)", "seed", "-1")
    assert {path.parent.parent.name for path in (tmp_path / "sweep").glob("*/figures/*")} == {"0", "2"}
    assert not (tmp_path / "sweep" / "1").exists()


def test_a_resumed_run_keeps_the_splits_that_it_began_with(folder, tmp_path):
    manifest = split(from_folders(folder({"a": 12, "b": 12}), positive="a"))
    begun = split(manifest.with_rows(manifest.rows.assign(split="")), SplitSettings(seed=1))
    assert not begun.rows["split"].equals(manifest.rows["split"])
    saved = tmp_path / "manifest.csv"
    saved.write_text(begun.to_csv())
    kept = as_begun(manifest, saved)
    assert kept.fingerprint() == begun.fingerprint() and noted(kept.notes[-1:], "manifest.csv")
    saved.write_text(begun.with_rows(begun.rows.assign(label="a")).to_csv())
    assert as_begun(manifest, saved) is manifest
