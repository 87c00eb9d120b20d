"""The directions of imports, and what stays light to import."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import medcls

PACKAGE = Path(medcls.__file__).parent
DOCS = Path(__file__).parents[1] / "docs"
# fmt: off
COMMANDS = {
    "audit", "cache", "compare", "evaluate", "explain", "export", "monitor", "predict", "probe", "serve", "train",
}
# fmt: on
SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if "configurations" not in path.parts)

# What each room may import of the others; whatever lies beside the commands at the top is shared by all.
MAY_IMPORT = {
    "data": set(),
    "models": set(),
    "statistics": set(),
    "learning": set(),
    "runs": set(),
    "probing": set(),
    "evaluation": {"statistics"},
    "plots": {"statistics"},
    "report": {"evaluation", "statistics", "plots", "runs"},
    "auditing": {"data", "statistics", "report", "runs"},
    "inference": {"data", "models", "learning", "evaluation"},
    "serving": {"data", "inference", "plots", "report"},
}
MAY_IMPORT["workflow"] = set(MAY_IMPORT)
MAY_IMPORT["cli"] = set(MAY_IMPORT)
ROOMS = frozenset(MAY_IMPORT)

# What rooms share, and no room can own.
SHARED = {
    "archives", "cpu", "csv_escaping", "errors", "hardware", "preprocessing", "randomness", "signatures",
    "user_folders", "wording", "writing",
}  # fmt: skip

# What `import medcls` offers, and the list of commands. Nothing imports these but one another.
FROM_PYTHON = {"__init__", "__main__", "api"}

WITHOUT_TORCH = ("statistics", "probing", "evaluation", "plots", "report", "serving")
KNOW_HYDRA = ("cli",)


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room_of(module: str) -> str:
    """`data` of `medcls.data.manifest`; empty where it is not of medcls."""
    parts = module.split(".")
    return parts[1] if parts[0] == "medcls" and len(parts) > 1 else ""


def test_the_sources_were_found():
    assert len(SOURCES) > 100
    assert {path.relative_to(PACKAGE).parts[0] for path in SOURCES if path.parent != PACKAGE} == ROOMS


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_follow_the_directions(path):
    found = imports(path)
    room, *rest = path.relative_to(PACKAGE).parts
    is_command = not rest and path.stem in COMMANDS
    if room in ROOMS:
        wrong = {name for name in found if room_of(name) in ROOMS - MAY_IMPORT[room] - {room}}
        assert not wrong, f"{path} imports {', '.join(sorted(wrong))}"
    elif not is_command and path.stem not in FROM_PYTHON:
        wrong = {name for name in found if room_of(name) in ROOMS}
        assert not wrong, f"{path} is shared by all rooms, and imports {', '.join(sorted(wrong))}"
    outside = {name.split(".")[0] for name in found}
    if not is_command:
        if path.stem not in FROM_PYTHON:
            wrong = found & {f"medcls.{name}" for name in (*COMMANDS, *FROM_PYTHON)}
            assert not wrong, f"{path} imports {', '.join(sorted(wrong))}"
        assert room in KNOW_HYDRA or not outside & {"hydra", "omegaconf"}, f"{path} knows Hydra"
    if room in WITHOUT_TORCH:
        assert not outside & {"torch", "lightning"}, f"{path} imports torch or lightning"
    if room == "models":
        assert "lightning" not in outside
    if room == "statistics":
        assert "pandas" not in outside, f"{path} imports pandas: arrays in, arrays out"


def test_the_hand_built_network_needs_torch_alone():
    outside = {name.split(".")[0] for name in imports(PACKAGE / "models" / "mobilenetv3.py")}
    assert outside <= {"torch", "medcls", "collections", "typing", "functools", "math", "dataclasses"}


@pytest.mark.parametrize(
    ("imported", "heavy"),
    [("medcls.train", {"torch", "lightning", "numpy"}), ("medcls", {"torch", "numpy", "pandas", "hydra", "omegaconf"})],
)
def test_importing_medcls_is_light(imported, heavy):
    code = f"import sys, {imported}; print(*sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not heavy & set(answer.stdout.split())


def test_the_drawing_of_the_rooms_is_of_today():
    drawing = DOCS / "images" / "rooms.svg"
    spec = importlib.util.spec_from_file_location("draw_rooms", DOCS / "draw_rooms.py")
    draw_rooms = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(draw_rooms)
    assert set(draw_rooms.ROOMS) == ROOMS | {draw_rooms.COMMANDS}
    assert set(draw_rooms.ROOMS[draw_rooms.COMMANDS][2].split(", ")) == COMMANDS
    assert drawing.read_text(encoding="utf-8") == draw_rooms.draw(), "run python docs/draw_rooms.py"


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_a_command_is_read_in_one_sitting(command):
    assert len((PACKAGE / f"{command}.py").read_text(encoding="utf-8").splitlines()) <= 150


def test_nothing_lies_loose_at_the_top_but_commands_and_what_is_shared():
    assert {path.stem for path in PACKAGE.glob("*.py")} - COMMANDS == SHARED | FROM_PYTHON
