"""The audit command: exit codes, the files it writes, and the list of images to exclude."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from refusals import refused_command

from medcls import audit
from medcls.cli.shipped import configurations
from medcls.data.sources.folders import from_folders
from medcls.data.sources.phantoms import PHANTOM_WATERMARK, ensure_phantoms
from medcls.data.splits.split import SplitSettings, split
from medcls.runs.registry import remember_test


class Command:
    """Runs the audit as from a shell in a folder of its own; keeps what was said."""

    def __init__(self, home: Path, monkeypatch, capsys) -> None:
        self.home, self.monkeypatch, self.capsys = home, monkeypatch, capsys
        self.out = self.err = ""

    def __call__(self, *arguments: str) -> int:
        self.monkeypatch.chdir(self.home)
        self.monkeypatch.setattr("sys.argv", ["medcls.audit", *arguments])
        with pytest.raises(SystemExit) as stop:
            audit.main()
        self.out, self.err = self.capsys.readouterr()
        assert "Traceback" not in self.err
        return stop.value.code

    def refuses(self, kind: str, names: tuple[str, ...], *arguments: str) -> None:
        self.monkeypatch.chdir(self.home)
        error = refused_command(kind, names, audit.main, *arguments)
        self.out, self.err = self.capsys.readouterr()
        assert f"medcls: {error}" in self.err and "Traceback" not in self.err

    def found(self, folder: str) -> dict[str, dict]:
        record = json.loads((self.home / folder / "audit.json").read_text(encoding="utf-8"))
        return {finding["check"]: finding for finding in record["findings"]}


@pytest.fixture
def command(tmp_path, monkeypatch, capsys) -> Command:
    home = tmp_path / "home"
    home.mkdir()
    return Command(home, monkeypatch, capsys)


@pytest.fixture
def root(folder) -> Path:
    return folder({"benign": 12, "malignant": 12})


@pytest.fixture
def spoiled(root) -> Path:
    """Two unreadable files, and one picture under two labels."""
    (root / "benign" / "cut.png").write_bytes((root / "benign" / "000.png").read_bytes()[:200])
    (root / "malignant" / "乳腺 癌.jpg").write_bytes(b"")
    shutil.copy(root / "benign" / "001.png", root / "malignant" / "same.png")
    return root


def test_a_set_without_errors(command, root):
    assert command(f"data.root={root}", "hydra.run.dir=out") == 0
    assert {path.name for path in (command.home / "out").iterdir()} == {
        "audit.html", "audit.json", "audit.log", "manifest.csv",
    }  # fmt: skip
    rows = pd.read_csv(command.home / "out" / "manifest.csv")
    assert set(rows["split"]) == {"train", "val", "test"}
    assert "out/audit.html" in re.sub(r"\s", "", command.out)
    shown = " ".join(command.out.split())
    assert all(finding["title"] in shown for finding in command.found("out").values())


def test_no_positive_class_need_be_named(command, root):
    assert command(f"data.root={root}") == 0
    (folder,) = (command.home / "audits").iterdir()
    assert folder.name.startswith("folder-")


def test_unreadable_files_are_an_error_on_the_page(command, spoiled):
    assert command(f"data.root={spoiled}", "hydra.run.dir=out") == 1
    page = (command.home / "out" / "audit.html").read_text(encoding="utf-8")
    assert "cut.png" in page and "乳腺 癌.jpg" in page
    found = command.found("out")
    assert found["unreadable"]["level"] == found["label_conflicts"]["level"] == "error"
    for finding in found.values():
        assert finding["check"] in page


def test_when_nothing_can_be_read(command, root):
    for path in root.rglob("*.png"):
        path.write_bytes(b"")
    named = tuple(str(path.relative_to(root)) for path in root.rglob("*.png"))
    command.refuses("unreadable_image", ("24", *named), f"data.root={root}", "hydra.run.dir=out")
    assert len(named) == 24
    assert not list(command.home.rglob("*"))


def test_when_no_image_of_a_class_can_be_read(command, root):
    for path in (root / "benign").iterdir():
        path.write_bytes(b"")
    assert command(f"data.root={root}", "hydra.run.dir=out") == 1
    assert command.found("out")["unreadable"]["values"]["unreadable"] == 12


@pytest.mark.slow
def test_images_of_an_earlier_test_that_come_into_training(command, root, picture):
    with initialize_config_dir(str(configurations() / "conf"), version_base="1.3"):
        cfg = compose("audit", [f"data.root={root}"])
    settings = audit.split_settings(cfg)
    former = split(from_folders(root, positive="benign"), SplitSettings(**settings))
    remember_test(former, "/home/me/runs/former", settings | audit.source_settings(cfg))
    assert command(f"data.root={root}", "hydra.run.dir=same") == 0
    assert command.found("same")["locked_test"]["level"] == "good"
    assert "runs/former" not in command.found("same")["locked_test"]["title"]
    for number in range(20):
        picture(root / "benign" / f"00{number}_new.png", 5_000 + number)
    assert command(f"data.root={root}", "hydra.run.dir=more") == 1
    assert "runs/former" in command.found("more")["locked_test"]["title"]
    assert "runs/former" in (command.home / "more" / "audit.html").read_text(encoding="utf-8")
    # A page that is handed on names no folder of an earlier run either.
    command(f"data.root={root}", "hydra.run.dir=nameless", "audit.paths=false")
    assert "runs/former" not in (command.home / "nameless" / "audit.html").read_text(encoding="utf-8")
    # Other groups were asked for, and so another split: that is no fault of the images.
    assert command(f"data.root={root}", "hydra.run.dir=grouped", "data.group_pattern=(\\d+)") == 0
    assert command.found("grouped")["locked_test"]["level"] == "information"


def test_the_json_holds_no_nan(command, spoiled):
    command(f"data.root={spoiled}", "hydra.run.dir=out")
    text = (command.home / "out" / "audit.json").read_text(encoding="utf-8")
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in audit.json"))


def test_what_a_training_could_not_split_is_an_error(command, folder):
    root = folder({"rare": 1, "common": 12})
    assert command(f"data.root={root}", "hydra.run.dir=out") == 1
    finding = command.found("out")["split"]
    assert "'rare'" in finding["text"]
    assert pd.read_csv(command.home / "out" / "manifest.csv")["split"].isna().all()


@pytest.mark.slow
def test_fix_exclude_round_trip(command, spoiled):
    before = {path: path.read_bytes() for path in spoiled.rglob("*") if path.is_file()}
    assert command(f"data.root={spoiled}", "hydra.run.dir=first", "audit.fix=exclude") == 1
    line = next(line for line in command.out.splitlines() if "data.exclude_file" in line)
    listed = (command.home / "first" / "exclude.txt").read_text(encoding="utf-8")
    assert "malignant/乳腺 癌.jpg\n" in listed
    assert "# unreadable: " in listed
    assert {path: path.read_bytes() for path in spoiled.rglob("*") if path.is_file()} == before

    # What is printed is typed at a shell.
    (typed,) = shlex.split(line)
    assert command(f"data.root={spoiled}", "hydra.run.dir=second", "audit.fix=exclude", typed) == 0
    assert not {"error"} & {finding["level"] for finding in command.found("second").values()}
    assert "benign/cut.png" not in (command.home / "second" / "manifest.csv").read_text(encoding="utf-8")
    # The next list goes on leaving out what this one did.
    assert "benign/cut.png\n" in (command.home / "second" / "exclude.txt").read_text(encoding="utf-8")


def test_fix_without_anything_to_leave_out_writes_no_list(command, root):
    assert command(f"data.root={root}", "hydra.run.dir=out", "audit.fix=exclude") == 0
    assert not (command.home / "out" / "exclude.txt").exists()
    assert "data.exclude_file" not in command.out


def test_without_images_and_names(command, spoiled):
    assert command(f"data.root={spoiled}", "hydra.run.dir=out", "audit.pictures=false", "audit.paths=false") == 1
    page = (command.home / "out" / "audit.html").read_text(encoding="utf-8")
    assert "<img" not in page
    for secret in (str(spoiled), "cut.png", "乳腺 癌", "same.png"):
        assert secret not in page


@pytest.mark.slow
def test_phantoms_have_a_watermark(command, tmp_path):
    ensure_phantoms(tmp_path / "phantoms", images=12)
    command(f"data.root={tmp_path / 'phantoms'}", "hydra.run.dir=out")
    assert PHANTOM_WATERMARK in (command.home / "out" / "audit.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "kind", "names"),
    [
        (["data.root=nowhere"], "no_such_folder", ("data.root", "/nowhere")),
        ([], "no_images_named", ("data.root=",)),
        (["data.root={root}", "data.bits=7"], "bad_value", ("data.bits", "7")),
        (["data.root={root}", "audit.fix=delete"], "bad_value", ("audit.fix", "'delete'")),
        (["data.root={root}", "audit.pictures=some"], "bad_value", ("audit.pictures", "'some'")),
        (["data.root={root}", "data.exclude_file=none.txt"], "unreadable_file", ("data.exclude_file", "none.txt")),
        (["data.root={root}", "data.resize=stretch"], "bad_value", ("data.resize", "'stretch'")),
        (["data.root={root}", "data.window=wide"], "bad_value", ("data.window", "'wide'")),
        (["data.root={root}", "data.frame=-1"], "bad_value", ("data.frame", "-1")),
        (["data.root={root}", "data.label_map=foo"], "bad_value", ("data.label_map", "'foo'")),
        (["data.root={root}", "hydra.run.dir={root}/audits/x"], "run_folder_among_images", ("/audits/x", "data.root=")),
    ],
)
def test_bad_input_is_reported_and_leaves_nothing(command, root, arguments, kind, names):
    command.refuses(kind, names, *(argument.format(root=root) for argument in arguments))
    assert not list(command.home.rglob("*"))
    assert not (root / "audits").exists()


@pytest.mark.parametrize(("argument", "name"), [("audit.fixx=exclude", "fixx"), ("data=nothing", "nothing")])
def test_what_hydra_makes_nothing_of_is_named_and_leaves_nothing(command, root, argument, name):
    assert command(f"data.root={root}", argument) == 2
    assert name in command.err
    assert not list(command.home.rglob("*"))


def test_an_audit_is_not_written_over_another_or_over_a_run(command, root):
    assert command(f"data.root={root}", "hydra.run.dir=out") == 0
    page = command.home / "out" / "audit.html"
    page.write_text("mine")
    command.refuses(
        "folder_taken", (str(command.home / "out"), "hydra.run.dir"), f"data.root={root}", "hydra.run.dir=out"
    )
    assert page.read_text() == "mine"
    (command.home / "run").mkdir()
    (command.home / "run" / "config.yaml").write_text("seed: 0\n")
    command.refuses(
        "folder_taken", (str(command.home / "run"), "hydra.run.dir"), f"data.root={root}", "hydra.run.dir=run"
    )
    assert [path.name for path in (command.home / "run").iterdir()] == ["config.yaml"]


@pytest.mark.slow
def test_each_audit_of_a_sweep_is_done_and_one_error_is_enough(command, root, folder, spoiled):
    clean = folder({"a": 12, "b": 12}, name="clean")
    assert command("-m", f"data.root={spoiled},{clean}", "hydra.sweep.dir=sweep") == 1
    assert {path.parent.name for path in (command.home / "sweep").rglob("audit.html")} == {"0", "1"}


@pytest.mark.slow
@pytest.mark.real
def test_p01_brain_tumor_duplicates(command, real_data):
    assert command("data=brain_tumor", f"data.root={real_data / 'brain_tumor'}", "hydra.run.dir=out") == 0
    values = command.found("out")["exact_copies"]["values"]
    assert (values["images"], values["distinct"], values["surplus"]) == (253, 228, 25)
    assert "<img" in (command.home / "out" / "audit.html").read_text(encoding="utf-8")
