"""The jobs of a sweep on the terminal."""

from refusals import logged, noted

from medcls.runs.sweep_folder import Job
from medcls.workflow import sweep_jobs, terminal


def test_jobs_are_listed_by_what_distinguishes_them(capsys, caplog, monkeypatch):
    monkeypatch.setattr(terminal.console, "_width", 200)
    caplog.set_level("INFO", logger="medcls")
    jobs = [
        Job(0, ["data=csv", "seed=0"], "done", metric="val/auroc", value=0.8125, run="0"),
        Job(1, ["data=csv", "seed=1"], "failed", "No images.\nMore.", 2, "val/auroc"),
        Job(2, ["data=csv", "seed=2"]),
    ]
    assert sweep_jobs.varied(jobs) == [["seed=0"], ["seed=1"], ["seed=2"]]
    sweep_jobs.show(jobs)
    out = capsys.readouterr().out
    assert "0.813" in out and "seed=1" in out and "No images." in out and "val/auroc" in out
    assert "data=csv" not in out and "More." not in out
    assert noted(logged(caplog, "jobs_left_out"), "1 job", "failed", "missing")


def test_one_job_has_nothing_that_distinguishes_it():
    assert sweep_jobs.varied([Job(0, ["seed=0"])]) == [[]]
