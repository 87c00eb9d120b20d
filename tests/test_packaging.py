"""The wheel trains from any folder, and the README's commands exist."""

import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--outdir", out, ROOT], check=True, capture_output=True)
    return next(out.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_holds_every_configuration(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for group in ("conf", "experiments"):
        for path in (ROOT / group).rglob("*.yaml"):
            assert f"medcls/configurations/{path.relative_to(ROOT).as_posix()}" in names
    templates = {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "medcls").rglob("*") if path.suffix in (".jinja", ".css")
    }
    assert len(templates) >= 7 and templates <= names
    assert not any(name.startswith(("tests/", "conf/", "data/", "benchmarks/")) for name in names)


@pytest.mark.slow
def test_the_wheel_trains_from_another_folder(wheel, folder, tmp_path):
    # Installed beside the packages that are here already: what is tried is the wheel, not the registry.
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", site, wheel]
    subprocess.run(pip, check=True, capture_output=True)
    root = folder({"a": 10, "b": 10})
    command = [
        sys.executable, "-m", "medcls.train", f"data.root={root}", "positive_class=a", "model=mobilenetv3_small",
        "data.image_size=32", "data.workers=0", "trainer.max_epochs=1", "hydra.run.dir=run",
    ]  # fmt: skip
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    where = [sys.executable, "-c", "import medcls; print(medcls.__file__)"]
    environment = {"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    answer = subprocess.run(where, check=True, capture_output=True, text=True, cwd=elsewhere, env=environment)
    assert str(site) in answer.stdout
    subprocess.run(command, check=True, capture_output=True, cwd=elsewhere, env=environment)
    assert (elsewhere / "run" / "metrics.json").exists()


@pytest.mark.wording
def test_readme_states_what_medcls_is_not():
    assert "not a medical device" in README


def test_readme_names_what_is_there():
    for target in re.findall(r"^make ([a-z-]+)", README, flags=re.MULTILINE):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    for link in re.findall(r"\]\(([^)h#][^)]*)\)", README):
        assert (ROOT / link).exists(), link


# Commands of the README, and settings of training that stand alone in its tables: the door, and what is typed.
COMMANDS = sorted(
    {tuple(found) for found in re.findall(r"python3? -m medcls\.(\w+) ([^`#\n]*)", README)}
    | {("train", code) for code in re.findall(r"^\| .*?`((?!python)[^`]*=[^`]*)`", README, flags=re.MULTILINE)}
    | {("train", code) for code in re.findall(r"(?<=, )`((?!python)[^`]*=[^`]*)`", README)}
)


def test_the_readme_shows_commands():
    assert len(COMMANDS) >= 16
    assert ("train", "model=mobilenetv3 data=breast_cancer") in COMMANDS
    assert {command for command, _ in COMMANDS} >= {"train", "audit", "evaluate", "compare"}


@pytest.mark.slow
@pytest.mark.parametrize(("command", "typed"), COMMANDS)
def test_p61_every_command_that_the_readme_shows_composes(command, typed):
    from hydra import compose, initialize_config_dir

    from medcls.cli import overrides
    from medcls.cli.experiments import register_experiments

    words = [word for word in shlex.split(typed) if not word.startswith(("-", "resume=", "..."))]
    register_experiments()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        # Of several values for a sweep, the first; a path may hold what Hydra's grammar asks to be quoted.
        settings = [overrides._readable_override(word, multirun=False) if "," not in word else word for word in words]
        choices = [word if "[" in word or "," not in word else word.split(",")[0] for word in settings]
        assert compose(command, choices)


def test_ci_runs_the_readmes_test_command():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "make test" in script
    assert "make test" in README
