"""The line that repeats a run, typed at a shell or given from Python."""

import contextlib
import shlex
import threading

from medcls.cli.invocation import command_line, given_from_python

ODD = ["data.root=/my images", "positive_class='得病'", "data.label_map={a: [b]}", "x=$HOME", "it's"]


def test_the_line_is_that_of_the_shell(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/somewhere/train.py", *ODD])
    assert shlex.split(command_line("train")) == ["python", "-m", "medcls.train", *ODD]
    monkeypatch.setattr("sys.argv", ["train"])
    assert command_line("audit") == "python -m medcls.audit"


def test_arguments_from_python_are_named_instead_until_the_call_ends(monkeypatch):
    monkeypatch.setattr("sys.argv", ["pytest", "-q"])
    with contextlib.suppress(KeyError), given_from_python(ODD):
        assert shlex.split(command_line("train"))[3:] == ODD
        with given_from_python([]):
            assert command_line("evaluate") == "python -m medcls.evaluate"
        assert shlex.split(command_line("train"))[3:] == ODD
        raise KeyError
    assert command_line("train") == "python -m medcls.train -q"


def test_another_thread_has_its_own(monkeypatch):
    monkeypatch.setattr("sys.argv", ["pytest"])
    lines = []
    with given_from_python(["seed=1"]):
        thread = threading.Thread(target=lambda: lines.append(command_line("train")))
        thread.start()
        thread.join()
    assert lines == ["python -m medcls.train"]
