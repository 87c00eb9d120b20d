"""The Dockerfile, line by line: what it copies exists, what it runs is right, and it is no root."""

import fnmatch
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from medcls.cli import shipped

ROOT = Path(__file__).parents[1]
LINES = re.sub(r"\\\n\s*", " ", (ROOT / "Dockerfile").read_text(encoding="utf-8")).splitlines()
STEPS = [tuple(line.split(" ", 1)) for line in LINES if line and not line.startswith("#")]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
KNOWN = {"FROM", "ENV", "WORKDIR", "COPY", "RUN", "USER", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT"}


def of(instruction: str) -> list[str]:
    return [text for name, text in STEPS if name == instruction]


def test_every_line_is_one_that_is_checked_here():
    assert {name for name, _ in STEPS} == KNOWN
    assert (STEPS[0][0], STEPS[-1][0]) == ("FROM", "ENTRYPOINT")


def test_the_base_is_one_fixed_python_that_medcls_is_tested_with():
    (base,) = of("FROM")
    version = re.fullmatch(r"python:(3\.\d+)-slim-\w+", base)[1]
    assert f"Programming Language :: Python :: {version}" in PROJECT["project"]["classifiers"]
    assert f"(Python {version}," in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()[0]


def test_what_it_copies_exists_and_reaches_the_builder():
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    let_through = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert "*" in ignored
    copied = [source for text in of("COPY") for source in shlex.split(text)[:-1]]
    assert set(copied) == let_through and len(copied) == len(set(copied))
    for source in copied:
        assert (ROOT / source).exists()
    # What the wheel is built from is there.
    build = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {
        *build["packages"],
        *build["force-include"],
        PROJECT["project"]["readme"],
        *PROJECT["project"]["license-files"],
    }
    assert needed <= set(copied)
    assert not any(fnmatch.fnmatch(name, "*data*") or fnmatch.fnmatch(name, "*runs*") for name in copied)


@pytest.mark.slow
def test_the_wheel_is_built_from_what_it_copies(tmp_path):
    for text in of("COPY"):
        *sources, target = shlex.split(text)
        for source in sources:
            copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
            copy(ROOT / source, tmp_path / (source if target == "./" else target))
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path / "out"), str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = (tmp_path / "out").glob("medcls-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "medcls/configurations/conf/serve.yaml" in names
    assert "medcls/serving/templates/results.html.jinja" in names


def test_it_installs_the_tested_versions_with_extras_that_exist():
    (install,) = [text for text in of("RUN") if text.startswith("pip ")]
    words = shlex.split(install)
    assert words[:4] == ["pip", "install", "--constraint", "constraints.txt"]
    (target,) = words[4:]
    extras = re.fullmatch(r"\.\[([\w,]+)\]", target)[1].split(",")
    assert set(extras) <= set(PROJECT["project"]["optional-dependencies"]) and "demo" in extras


def test_its_versions_can_be_installed_together():
    from packaging.requirements import Requirement

    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()[1:]
    pinned = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in (line.split("==") for line in lines)}
    for extra in ("serve", "demo", "dicom"):
        for text in PROJECT["project"]["optional-dependencies"][extra]:
            if (needed := Requirement(text)).name != "medcls":
                assert needed.specifier.contains(pinned[re.sub(r"[-_.]+", "-", needed.name).lower()]), text
    # Gradio has no release for Pillow 13.
    assert int(pinned["pillow"].split(".")[0]) < 13 or int(pinned["gradio"].split(".")[0]) > 6


def test_it_runs_as_a_user_without_rights():
    names = [name for name, _ in STEPS]
    (user,) = of("USER")
    assert user.isdecimal() and int(user) >= 1000
    assert any(f"--uid {user}" in text for text in of("RUN"))
    assert max(k for k, name in enumerate(names) if name == "RUN") < names.index("USER") < names.index("ENTRYPOINT")
    assert not any("sudo" in text or "chmod 777" in text for text in of("RUN"))


def test_all_that_is_written_goes_to_the_one_folder_that_may_be_written():
    environment = dict(pair.split("=", 1) for text in of("ENV") for pair in shlex.split(text))
    assert {environment[name] for name in ("MEDCLS_CACHE", "MEDCLS_STATE", "MPLCONFIGDIR")} <= {
        "/tmp/cache", "/tmp/state", "/tmp/matplotlib",
    }  # fmt: skip
    assert of("WORKDIR")[-1] == "/tmp"


def test_its_one_command_is_a_server_that_the_port_leads_to():
    (command,) = of("ENTRYPOINT")
    python, dash_m, module, *settings = json.loads(command)
    assert (python, dash_m, module) == ("python", "-m", "medcls.serve")
    with initialize_config_dir(str(shipped.configurations() / "conf"), version_base="1.3"):
        cfg = compose("serve", settings)
    assert (cfg.run, cfg.host, str(cfg.port)) == ("/model", "0.0.0.0", of("EXPOSE")[0])


def test_its_health_check_asks_this_server(monkeypatch):
    (check,) = of("HEALTHCHECK")
    options, command = check.split(" CMD ")
    assert all(re.fullmatch(r"--(interval|timeout|start-period)=\d+s", word) for word in options.split())
    python, dash_c, code = json.loads(command)
    assert (python, dash_c) == ("python", "-c")
    asked = []
    monkeypatch.setattr("urllib.request.urlopen", asked.append)
    exec(compile(code, "HEALTHCHECK", "exec"), {})
    assert asked == [f"http://127.0.0.1:{of('EXPOSE')[0]}/health"]


def test_nothing_of_it_asks_the_network_when_it_runs():
    running = " ".join([*of("ENTRYPOINT"), *of("HEALTHCHECK")])
    assert not re.search(r"pip|curl|wget|apt|https:", running)


@pytest.mark.parametrize("secret", ["PASSWORD", "TOKEN", "SECRET", "KEY"])
def test_no_secret_is_in_the_image(secret):
    assert not any(secret in text.upper() for text in of("ENV") + of("COPY"))
