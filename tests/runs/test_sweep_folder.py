"""The records of a sweep's jobs, and their table."""

import csv
import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from refusals import refused

from medcls.csv_escaping import unescape
from medcls.runs.sweep_folder import COLUMNS, Job, SweepFolder


def rows(folder: SweepFolder) -> list[dict[str, str]]:
    with folder.table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_has_each_job_from_the_start_and_what_became_of_it(tmp_path):
    folder = SweepFolder(tmp_path / "sweep")
    assert folder.jobs() == [] and not folder.path.exists(), "reading writes nothing"
    planned = [Job(number, [f"seed={number}", "+trainer.limit_val_batches=1"]) for number in range(11)]
    folder.record(*planned)
    assert folder.jobs() == planned, "10 follows 9"
    assert {row["state"] for row in rows(folder)} == {"missing"} and tuple(rows(folder)[0]) == COLUMNS
    folder.record(dataclasses.replace(planned[2], state="done", metric="val/auroc", value=0.1 + 0.2, run="2"))
    folder.record(dataclasses.replace(planned[3], state="failed", reason="=1+1\nand more", exit_code=2))
    done, failed = rows(folder)[2:4]
    assert (done["job"], done["state"], done["run"], float(done["value"])) == ("2", "done", "2", 0.1 + 0.2)
    # A spreadsheet must not compute what an error says, nor a reader lose what was typed.
    assert (failed["state"], failed["reason"]) == ("failed", "'=1+1 and more")
    assert unescape(failed["overrides"]) == "seed=3 +trainer.limit_val_batches=1"
    assert len(rows(folder)) == 11


def test_jobs_that_end_at_the_same_time_are_all_in_the_table(tmp_path):
    folder = SweepFolder(tmp_path)
    jobs = [Job(number, [f"seed={number}"]) for number in range(24)]
    folder.record(*jobs)
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda job: folder.record(dataclasses.replace(job, state="done")), jobs))
    assert [row["state"] for row in rows(folder)] == ["done"] * 24
    assert {path.suffix for path in (tmp_path / ".jobs").iterdir()} == {".json"}


def test_a_metric_that_is_not_a_number_is_no_value(tmp_path):
    folder = SweepFolder(tmp_path)
    folder.record(Job(0, [], "done", value=float("nan")))
    assert folder.job(0).value is None and rows(folder)[0]["value"] == ""


@pytest.mark.parametrize("content", ['{"number": 0}', '{"number": 0, "overrides": [], "colour": 1}'])
def test_a_damaged_record_is_named(tmp_path, content):
    folder = SweepFolder(tmp_path)
    folder.record(Job(0, []))
    Path(tmp_path / ".jobs" / "0.json").write_text(content, encoding="utf-8")
    with refused("damaged_file", "0.json"):
        folder.jobs()


def test_a_run_folder_without_anything_in_it_is_no_result(tmp_path):
    folder = SweepFolder(tmp_path)
    assert not folder.has_results(Job(0, [], run="0")) and not folder.has_results(Job(0, []))
    (tmp_path / "0").mkdir()
    assert not folder.has_results(Job(0, [], run="0"))
    (tmp_path / "0" / "report.html").touch()
    assert folder.has_results(Job(0, [], run="0"))
