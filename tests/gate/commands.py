"""The commands of README.md and docs/, as they are written there: in blocks, inline, and as settings in tables."""

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

TOP = Path(__file__).parents[2]
# Its commands go on from one another: test_tutorial.py runs them in their order.
TUTORIAL = TOP / "docs" / "tutorial.md"
PAGES = (TOP / "README.md", *(page for page in sorted((TOP / "docs").glob("*.md")) if page != TUTORIAL))

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
MEDCLS = re.compile(r"(?:\.venv/bin/)?python -m medcls\.(\w+)\b")

# Tables whose second column is to be typed.
TO_TYPE = re.compile(r"^\| to \| type \|$")


def blocks(pages: Sequence[Path] = PAGES) -> list[tuple[str, str]]:
    """Each fenced block that is of no other language, with the page that it is on."""
    return [
        (page.name, block.rstrip("\n"))
        for page in pages
        for language, block in FENCE.findall(page.read_text(encoding="utf-8"))
        if not language
    ]


def lines_of(block: str) -> list[str]:
    """The commands of a block, without comments, those on several lines joined."""
    joined = re.sub(r"\s*\\\n\s*", " ", block)
    return [line for raw in joined.splitlines() if (line := re.sub(r"\s+# .*$", "", raw).strip())]


def inline() -> list[tuple[str, str]]:
    """Each command that stands in a sentence, with its page."""
    found = []
    for page in PAGES:
        text = FENCE.sub("", page.read_text(encoding="utf-8"))
        found += [(page.name, code) for code in INLINE.findall(text) if "python -m " in code]
    return found


def settings() -> list[tuple[str, str]]:
    """Each setting that the tables of things to type name, with its page: `a=1` (or `2`) gives `a=1` and `a=2`."""
    return [(page.name, one) for page in PAGES for cell in _cells(page) for one in _settings_in(cell)]


def _cells(page: Path) -> Iterator[str]:
    within = False
    for line in page.read_text(encoding="utf-8").splitlines():
        within = bool(TO_TYPE.match(line)) or (within and line.startswith("|"))
        if within and not line.startswith(("| to |", "|---")):
            yield line.split("|", 2)[2]


def _settings_in(cell: str) -> Iterator[str]:
    key = None
    for code in INLINE.findall(cell):
        if "python -m " in code:
            continue  # is found as a command
        if "=" in code:
            key = code.split("=", 1)[0].lstrip("'")
            yield code
        elif key is not None and re.fullmatch(r"\w+", code):
            yield f"{key}={code}"


def parts_of(command: str) -> tuple[str, list[str]]:
    """The module and the arguments of a command: `python -m medcls.train a=1` gives `train` and `[a=1]`."""
    found = MEDCLS.match(command)
    assert found, command
    return found.group(1), shlex.split(command[found.end() :])
