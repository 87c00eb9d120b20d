"""The audit command: its exit codes, what it leaves behind and what not, and the list of images to leave out."""

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
from medcls.data.sources.phantoms import PHANTOM_STAMP, ensure_phantoms
from medcls.data.splits.split import split
from medcls.runs.registry import remember_test


class Door:
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
def door(tmp_path, monkeypatch, capsys) -> Door:
    home = tmp_path / "home"
    home.mkdir()
    return Door(home, monkeypatch, capsys)


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


def test_a_set_without_errors(door, root):
    assert door(f"data.root={root}", "hydra.run.dir=out") == 0
    assert {path.name for path in (door.home / "out").iterdir()} == {
        "audit.html", "audit.json", "audit.log", "manifest.csv",
    }  # fmt: skip
    rows = pd.read_csv(door.home / "out" / "manifest.csv")
    assert set(rows["split"]) == {"train", "val", "test"}
    assert "out/audit.html" in re.sub(r"\s", "", door.out)
    shown = " ".join(door.out.split())
    assert all(finding["title"] in shown for finding in door.found("out").values())


def test_no_positive_class_need_be_named(door, root):
    assert door(f"data.root={root}") == 0
    (folder,) = (door.home / "audits").iterdir()
    assert folder.name.startswith("folder-")


def test_unreadable_files_are_an_error_on_the_page(door, spoiled):
    assert door(f"data.root={spoiled}", "hydra.run.dir=out") == 1
    page = (door.home / "out" / "audit.html").read_text(encoding="utf-8")
    assert "cut.png" in page and "乳腺 癌.jpg" in page
    found = door.found("out")
    assert found["unreadable"]["level"] == found["label_conflicts"]["level"] == "error"
    for finding in found.values():
        assert finding["check"] in page


def test_when_nothing_can_be_read(door, root):
    for path in root.rglob("*.png"):
        path.write_bytes(b"")
    named = tuple(str(path.relative_to(root)) for path in root.rglob("*.png"))
    door.refuses("unreadable_image", ("24", *named), f"data.root={root}", "hydra.run.dir=out")
    assert len(named) == 24
    assert not list(door.home.rglob("*"))


def test_when_no_image_of_a_class_can_be_read(door, root):
    for path in (root / "benign").iterdir():
        path.write_bytes(b"")
    assert door(f"data.root={root}", "hydra.run.dir=out") == 1
    assert door.found("out")["unreadable"]["values"]["unreadable"] == 12


@pytest.mark.slow
def test_images_of_an_earlier_test_that_come_into_training(door, root, picture):
    with initialize_config_dir(str(configurations() / "conf"), version_base="1.3"):
        cfg = compose("audit", [f"data.root={root}"])
    settings = audit.split_settings(cfg)
    former = split(from_folders(root, positive="benign"), **settings)
    remember_test(former, "/home/me/runs/former", settings | audit.source_settings(cfg))
    assert door(f"data.root={root}", "hydra.run.dir=same") == 0
    assert door.found("same")["locked_test"]["level"] == "good"
    assert "runs/former" not in door.found("same")["locked_test"]["title"]
    for number in range(20):
        picture(root / "benign" / f"00{number}_new.png", 5_000 + number)
    assert door(f"data.root={root}", "hydra.run.dir=more") == 1
    assert "runs/former" in door.found("more")["locked_test"]["title"]
    assert "runs/former" in (door.home / "more" / "audit.html").read_text(encoding="utf-8")
    # A page that is handed on names no folder of an earlier run either.
    door(f"data.root={root}", "hydra.run.dir=nameless", "audit.paths=false")
    assert "runs/former" not in (door.home / "nameless" / "audit.html").read_text(encoding="utf-8")
    # Other groups were asked for, and so another split: that is no fault of the images.
    assert door(f"data.root={root}", "hydra.run.dir=grouped", "data.group_pattern=(\\d+)") == 0
    assert door.found("grouped")["locked_test"]["level"] == "information"


def test_the_json_holds_no_nan(door, spoiled):
    door(f"data.root={spoiled}", "hydra.run.dir=out")
    text = (door.home / "out" / "audit.json").read_text(encoding="utf-8")
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in audit.json"))


def test_what_a_training_could_not_split_is_an_error(door, folder):
    root = folder({"rare": 1, "common": 12})
    assert door(f"data.root={root}", "hydra.run.dir=out") == 1
    finding = door.found("out")["split"]
    assert "'rare'" in finding["text"]
    assert pd.read_csv(door.home / "out" / "manifest.csv")["split"].isna().all()


@pytest.mark.slow
def test_fix_exclude_round_trip(door, spoiled):
    before = {path: path.read_bytes() for path in spoiled.rglob("*") if path.is_file()}
    assert door(f"data.root={spoiled}", "hydra.run.dir=first", "audit.fix=exclude") == 1
    line = next(line for line in door.out.splitlines() if "data.exclude_file" in line)
    listed = (door.home / "first" / "exclude.txt").read_text(encoding="utf-8")
    assert "malignant/乳腺 癌.jpg\n" in listed
    assert "# unreadable: " in listed
    assert {path: path.read_bytes() for path in spoiled.rglob("*") if path.is_file()} == before

    # What is printed is typed at a shell.
    (typed,) = shlex.split(line)
    assert door(f"data.root={spoiled}", "hydra.run.dir=second", "audit.fix=exclude", typed) == 0
    assert not {"error"} & {finding["level"] for finding in door.found("second").values()}
    assert "benign/cut.png" not in (door.home / "second" / "manifest.csv").read_text(encoding="utf-8")
    # The next list goes on leaving out what this one did.
    assert "benign/cut.png\n" in (door.home / "second" / "exclude.txt").read_text(encoding="utf-8")


def test_fix_without_anything_to_leave_out_writes_no_list(door, root):
    assert door(f"data.root={root}", "hydra.run.dir=out", "audit.fix=exclude") == 0
    assert not (door.home / "out" / "exclude.txt").exists()
    assert "data.exclude_file" not in door.out


def test_without_pictures_and_names(door, spoiled):
    assert door(f"data.root={spoiled}", "hydra.run.dir=out", "audit.pictures=false", "audit.paths=false") == 1
    page = (door.home / "out" / "audit.html").read_text(encoding="utf-8")
    assert "<img" not in page
    for secret in (str(spoiled), "cut.png", "乳腺 癌", "same.png"):
        assert secret not in page


@pytest.mark.slow
def test_phantoms_are_stamped(door, tmp_path):
    ensure_phantoms(tmp_path / "phantoms", images=12)
    door(f"data.root={tmp_path / 'phantoms'}", "hydra.run.dir=out")
    assert PHANTOM_STAMP in (door.home / "out" / "audit.html").read_text(encoding="utf-8")


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
def test_bad_input_says_what_is_wrong_and_leaves_nothing(door, root, arguments, kind, names):
    door.refuses(kind, names, *(argument.format(root=root) for argument in arguments))
    assert not list(door.home.rglob("*"))
    assert not (root / "audits").exists()


@pytest.mark.parametrize(("argument", "name"), [("audit.fixx=exclude", "fixx"), ("data=nothing", "nothing")])
def test_what_hydra_makes_nothing_of_is_named_and_leaves_nothing(door, root, argument, name):
    assert door(f"data.root={root}", argument) == 2
    assert name in door.err
    assert not list(door.home.rglob("*"))


def test_an_audit_is_not_written_over_another_or_over_a_run(door, root):
    assert door(f"data.root={root}", "hydra.run.dir=out") == 0
    page = door.home / "out" / "audit.html"
    page.write_text("mine")
    door.refuses("folder_taken", (str(door.home / "out"), "hydra.run.dir"), f"data.root={root}", "hydra.run.dir=out")
    assert page.read_text() == "mine"
    (door.home / "run").mkdir()
    (door.home / "run" / "config.yaml").write_text("seed: 0\n")
    door.refuses("folder_taken", (str(door.home / "run"), "hydra.run.dir"), f"data.root={root}", "hydra.run.dir=run")
    assert [path.name for path in (door.home / "run").iterdir()] == ["config.yaml"]


@pytest.mark.slow
def test_each_audit_of_a_sweep_is_done_and_one_error_is_enough(door, root, folder, spoiled):
    clean = folder({"a": 12, "b": 12}, name="clean")
    assert door("-m", f"data.root={spoiled},{clean}", "hydra.sweep.dir=sweep") == 1
    assert {path.parent.name for path in (door.home / "sweep").rglob("audit.html")} == {"0", "1"}


@pytest.mark.slow
@pytest.mark.real
def test_p01_brain_tumor_copies(door, real_data):
    assert door("data=brain_tumor", f"data.root={real_data / 'brain_tumor'}", "hydra.run.dir=out") == 0
    values = door.found("out")["exact_copies"]["values"]
    assert (values["images"], values["distinct"], values["surplus"]) == (253, 228, 25)
    assert "<img" in (door.home / "out" / "audit.html").read_text(encoding="utf-8")
