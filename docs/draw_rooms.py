"""Draw `docs/images/rooms.svg`: the rooms of medcls and which imports which, read from the code itself.

    python docs/draw_rooms.py

An arrow that follows from two others is left out. `tests/test_architecture.py` holds the directions, and that this
drawing is of today's code.
"""

import ast
import functools
from collections.abc import Mapping
from html import escape
from pathlib import Path

TOP = Path(__file__).parents[1]
PACKAGE = TOP / "medcls"
DRAWING = Path(__file__).parent / "images" / "rooms.svg"

COMMANDS = "commands"
WIDTH, HEIGHT, GAP, RISE = 148, 64, 22, 46

# Column and row of each room, and what it holds. Where arrows run, and that they run downwards, is the code's doing.
ROOMS = {
    COMMANDS: (2.2, 0, "train, evaluate, predict, compare, audit, cache, probe, explain, export, serve, monitor"),
    "cli": (2.2, 1, "Hydra, building, exit codes"),
    "workflow": (2.2, 2, "the steps that commands share"),
    "auditing": (2.2, 3, "what is wrong with a data set"),
    "inference": (4.2, 3, "a checkpoint in, predictions out"),
    "serving": (5.3, 2, "endpoint and page"),
    "report": (0.45, 4, "words, tables, pages"),
    "plots": (0.95, 5, "every plot, one style"),
    "evaluation": (2.0, 5, "what predictions say"),
    "probing": (5.3, 3, "linear probes"),
    "runs": (0.05, 6, "the run folder"),
    "statistics": (1.5, 6, "metrics and intervals"),
    "data": (3.1, 6, "files to batches"),
    "models": (4.2, 6, "networks and weights"),
    "learning": (5.3, 6, "loss, schedules, freezing"),
}


def room_of(path: Path) -> str:
    """The room that a file lies in; the commands are one, and what all share is none."""
    parts = path.relative_to(PACKAGE).parts
    if len(parts) > 1:
        return parts[0]
    return COMMANDS if parts[0].removesuffix(".py") in ROOMS[COMMANDS][2].split(", ") else ""


def imported(path: Path) -> set[str]:
    """The rooms that a file imports from."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("medcls."):
            found.add(str(node.module).split(".")[1])
        elif isinstance(node, ast.ImportFrom) and node.module == "medcls":
            found |= {alias.name for alias in node.names}
    return found & set(ROOMS)


def imports() -> dict[str, set[str]]:
    """Each room, and the rooms that it imports from."""
    found: dict[str, set[str]] = {room: set() for room in ROOMS}
    for path in PACKAGE.rglob("*.py"):
        if (room := room_of(path)) in ROOMS:
            found[room] |= imported(path) - {room}
    return found


def without_detours(edges: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Leave out each arrow that another way around makes plain."""

    @functools.cache
    def below(room: str) -> frozenset[str]:
        return frozenset(edges[room]).union(*(below(other) for other in edges[room]))

    return {room: {end for end in ends if not any(end in below(mid) for mid in ends)} for room, ends in edges.items()}


def draw() -> str:
    """The drawing as SVG."""
    edges = imports()
    left = min(column for column, _, _ in ROOMS.values())
    width = (max(column for column, _, _ in ROOMS.values()) - left + 1) * (WIDTH + GAP) + GAP
    height = (max(row for _, row, _ in ROOMS.values()) + 1) * (HEIGHT + RISE) - RISE + 2 * GAP
    places = {
        room: (GAP + (column - left) * (WIDTH + GAP), GAP + row * (HEIGHT + RISE))
        for room, (column, row, _) in ROOMS.items()
    }
    lines = []
    for room, ends in without_detours(edges).items():
        x, y = places[room]
        for end in sorted(ends, key=lambda one: places[one]):
            to, at = places[end]
            if at <= y:
                raise ValueError(f"{room} imports {end}, which is drawn beside or above it: give them other rows.")
            start, stop = x + WIDTH / 2, to + WIDTH / 2
            top, bottom = y + HEIGHT, at - 6
            bend = (bottom - top) / 2
            lines.append(
                f'<path d="M{start:.0f} {top:.0f} C{start:.0f} {top + bend:.0f} {stop:.0f} {bottom - bend:.0f} '
                f'{stop:.0f} {bottom:.0f}" class="arrow" marker-end="url(#tip)"/>'
            )
    boxes = []
    for room, (x, y) in places.items():
        first, second = _in_two(ROOMS[room][2])
        boxes.append(
            f'<rect x="{x:.0f}" y="{y:.0f}" width="{WIDTH}" height="{HEIGHT}" rx="8" class="room"/>'
            f'<text x="{x + WIDTH / 2:.0f}" y="{y + 21:.0f}" class="name">{escape(room)}</text>'
            f'<text x="{x + WIDTH / 2:.0f}" y="{y + 38:.0f}" class="words">{escape(first)}</text>'
            f'<text x="{x + WIDTH / 2:.0f}" y="{y + 53:.0f}" class="words">{escape(second)}</text>'
        )
    style = (
        ".room{fill:#f3f6fa;stroke:#38618c;stroke-width:1.4}.name{font:600 15px sans-serif;text-anchor:middle;"
        "fill:#1b2a3a}.words{font:11px sans-serif;text-anchor:middle;fill:#4a5866}.arrow{fill:none;stroke:#8395a7;"
        "stroke-width:1.3}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
        f'aria-label="The rooms of medcls and which imports which">\n<style>{style}</style>\n'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#8395a7"/></marker></defs>\n'
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="white"/>\n' + "\n".join([*lines, *boxes]) + "\n</svg>\n"
    )


def _in_two(words: str) -> tuple[str, str]:
    """Break words that are too long for a box at the space nearest to their middle."""
    if len(words) <= 24:
        return words, ""
    spaces = [place for place, letter in enumerate(words) if letter == " "]
    cut = min(spaces, key=lambda place: abs(place - len(words) / 2))
    return words[:cut], words[cut + 1 :]


if __name__ == "__main__":
    DRAWING.write_text(draw(), encoding="utf-8")
