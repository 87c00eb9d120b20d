"""What CONTRIBUTING.md, the hooks, the workflow and the templates say is what the project does."""

import re
import tomllib

import pytest
import yaml
from commands import TOP

MAKEFILE = (TOP / "Makefile").read_text(encoding="utf-8")
CONTRIBUTING = (TOP / "CONTRIBUTING.md").read_text(encoding="utf-8")
TEMPLATES = sorted((TOP / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def recipe(target: str) -> list[str]:
    """The commands of a target of the Makefile."""
    found = re.search(rf"^{target}:[^\n]*\n((?:\t[^\n]*\n)+)", MAKEFILE, re.MULTILINE)
    assert found, f"make {target}"
    return [line.strip().replace("$(BIN)", ".venv/bin") for line in found.group(1).splitlines()]


def test_the_hooks_are_those_of_make_check_and_need_no_network():
    repositories = yaml.safe_load((TOP / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert [repository["repo"] for repository in repositories] == ["local"]
    hooks = repositories[0]["hooks"]
    assert all(hook["language"] == "system" and not hook["pass_filenames"] for hook in hooks)
    assert [hook["entry"] for hook in hooks] == recipe("check")


def test_the_workflow_tests_every_python_that_the_package_names():
    workflow = yaml.safe_load((TOP / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8"))
    (job,) = workflow["jobs"].values()
    project = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = [line.split(" :: ")[-1] for line in project["classifiers"] if re.search(r"Python :: 3\.\d+$", line)]
    assert job["strategy"]["matrix"]["python"] == named
    assert project["requires-python"] == f">={named[0]}"
    steps = [step.get("run") for step in job["steps"]]
    assert {"make PYTHON=python test", "make PYTHON=python test-slow"} <= set(steps)
    assert "$(PYTHON) -m venv .venv" in MAKEFILE


def test_continuous_integration_runs_the_whole_gate():
    """The gate has rows and networks that only slow tests run."""
    script = (TOP / ".ci" / "run").read_text(encoding="utf-8")
    assert re.findall(r"\bmake ([a-z-]+)$", script, re.MULTILINE) == ["test", "test-gate"]
    assert {f"tests/gate/test_{name}.py" for name in ("networks", "pairwise", "experiments")} <= set(
        recipe("test-gate")[0].split()
    )
    chosen = [re.search(r"-m '?([a-z ]+?)'? \$\(AT_ONCE\)", recipe(target)[0]) for target in ("test-fast", "test-slow")]
    assert [found and found.group(1) for found in chosen] == ["not slow", "slow"]


def test_vulnerabilities_are_looked_up_by_a_workflow_of_their_own_and_strictly():
    workflow = yaml.safe_load((TOP / ".github" / "workflows" / "audit.yml").read_text(encoding="utf-8"))
    (job,) = workflow["jobs"].values()
    assert "make PYTHON=python audit-deps" in [step.get("run") for step in job["steps"]]
    # YAML reads the key `on` as true.
    assert set(workflow[True]) == {"schedule", "push", "workflow_dispatch"}
    (command,) = recipe("audit-deps")
    # Without --strict, pip-audit skips a package that it cannot look up, and succeeds.
    assert {"--strict", "--requirement", "constraints.txt"} <= set(command.split())
    # It needs the network.
    assert not any("audit" in line for line in recipe("check"))


def test_contributing_names_what_is_there():
    for target in re.findall(r"`?make ([a-z-]+)", CONTRIBUTING):
        recipe(target)
    links = re.findall(r"\]\(([^)#]+)", CONTRIBUTING)
    assert len(links) >= 3
    for link in links:
        assert (TOP / link).exists(), link
    for place in re.findall(r"`((?:medcls|conf|tests|experiments|docs|benchmarks)/[^`*]*)`", CONTRIBUTING):
        assert (TOP / place).exists(), place


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_an_issue_template_can_be_filled_in(template):
    form = yaml.safe_load(template.read_text(encoding="utf-8"))
    if template.stem == "config":
        assert form["blank_issues_enabled"] is False
        return
    assert form["name"] and form["description"]
    ids = [field["id"] for field in form["body"] if field["type"] != "markdown"]
    assert len(ids) == len(set(ids)) >= 3
    assert all(field["attributes"]["label"] for field in form["body"] if field["type"] != "markdown")
    assert any(field.get("validations", {}).get("required") for field in form["body"])


def test_there_is_a_template_for_each_kind_of_issue():
    assert {path.stem for path in TEMPLATES} == {"bug", "config", "images", "method"}
