"""The directions that the design fixes: who may import whom, and what stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import medcls

PACKAGE = Path(medcls.__file__).parent
DOORS = {"train", "audit", "cache", "compare", "evaluate"}
SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if "configurations" not in path.parts)

FORBIDDEN = {
    "data": {"medcls.models", "medcls.evaluation", "medcls.learning", "medcls.inference", "medcls.auditing"},
    "models": {
        "medcls.data",
        "medcls.evaluation",
        "medcls.learning",
        "medcls.inference",
        "medcls.auditing",
        "lightning",
    },
    "evaluation": {
        "medcls.data",
        "medcls.models",
        "medcls.learning",
        "medcls.inference",
        "medcls.auditing",
        "lightning",
    },
    "learning": {"medcls.data", "medcls.models", "medcls.evaluation", "medcls.inference", "medcls.auditing"},
    "inference": {"medcls.auditing"},
    "pages": {
        "medcls.data",
        "medcls.models",
        "medcls.evaluation",
        "medcls.learning",
        "medcls.inference",
        "medcls.auditing",
    },
    "auditing": {"medcls.models", "medcls.learning", "medcls.inference", "lightning"},
}


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_the_sources_were_found():
    assert len(SOURCES) > 25
    assert {path.parent.name for path in SOURCES} >= {"data", "models", "learning", "evaluation", "inference"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_follow_the_directions(path):
    found = imports(path)
    place = path.relative_to(PACKAGE).parts
    for name in found:
        for forbidden in FORBIDDEN.get(place[0], ()):
            assert name != forbidden and not name.startswith(forbidden + "."), f"{path} imports {name}"
        if place not in [(f"{door}.py",) for door in DOORS]:
            assert not any(name == f"medcls.{door}" for door in DOORS), f"{path} imports a door"
            if place != ("configuration.py",):
                assert name.split(".")[0] not in ("hydra", "omegaconf"), f"{path} knows Hydra"


def test_the_hand_built_network_needs_torch_alone():
    outside = {name.split(".")[0] for name in imports(PACKAGE / "models" / "mobilenetv3.py")}
    assert outside <= {"torch", "medcls", "collections", "typing", "functools", "math", "dataclasses"}


def test_importing_medcls_is_light():
    code = "import sys, medcls, medcls.train; print([m for m in ('torch', 'lightning', 'numpy') if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
