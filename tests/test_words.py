"""Names use the words of the field: those that were replaced do not come back (CONTRIBUTING.md, "Words")."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for folder in ("medcls", "benchmarks", "tests/support") for path in (ROOT / folder).rglob("*.py"))

# A word that no name contains, and what to say instead.
REPLACED = {
    "alarm": "fp",
    "alarms": "fp",
    "aloud": "logged, reported",
    "anew": "again, refit, re-split",
    "called": "predicted",
    "contest": "comparison",
    "contestant": "model",
    "copies": "duplicates",
    "door": "command, entry_point",
    "doors": "commands, entry_points",
    "fellow": "group, near_duplicate",
    "fellows": "group, near_duplicates",
    "figure": "plot for a drawing; metric, estimate or value for a number",
    "figures": "plots for drawings; metrics, estimates or values for numbers",
    "foreseen": "early_checks",
    "foretold": "predicted, expected",
    "hits": "tp",
    "picture": "image for an input; plot, thumbnail",
    "pictures": "images for inputs; plots, thumbnails",
    "policies": "decision_rules",
    "policy": "criterion, decision_rule",
    "said": "logged, message",
    "stamp": "watermark",
    "stamps": "watermarks",
    "survey": "scan",
    "telling": "report_settings, informative",
    "tells": "informs, distinguishes",
    "told": "formatted, reported, description",
    "twin": "duplicate",
    "twins": "duplicates",
    "wanted": "requested, expected",
    "whole": "atomic_write for a write; all, complete",
}

# Names that keep such a word, where, and why. A folder stands for all files in it.
PLOTTING = (
    "benchmarks/learning_curve.py",
    "medcls/plots",
    "medcls/report/run_plots.py",
    "medcls/workflow/training_plots.py",
    "tests/support",
)
EXCEPTIONS = {
    "RESIZE_POLICIES": (("medcls",), "the field's word for how to resize"),
    "policy": (("medcls/data/reading/images.py",), "a resize policy"),
    "whole_lines": (("medcls",), "lines that are complete"),
    "whole_numbers": (("medcls",), "integers"),
    "WHOLE_NUMBER": (("medcls",), "an integer"),
    "copies": (("medcls",), "the setting data.copies"),
    "keep_near_copies_together": (("medcls",), "the setting data.keep_near_copies_together"),
    "pictures": (("medcls/audit.py", "medcls/auditing/page.py"), "the setting audit.pictures"),
    "stamp": (("medcls", "benchmarks/listing.py"), "the column stamp of manifests and predictions"),
    "figures": (("medcls/runs", "medcls/train.py", "medcls/workflow"), "the folder figures/ of a run"),
    "figure": (PLOTTING, "matplotlib's Figure"),
    "new_figure": (PLOTTING, "makes matplotlib's Figure"),
    "Figure": (PLOTTING, "matplotlib's Figure"),
    "FigureCanvasAgg": (PLOTTING, "of matplotlib"),
    "get_figure": (PLOTTING, "of matplotlib"),
    "transFigure": (PLOTTING, "of matplotlib"),
    "BlankFigures": (("tests/support",), "a finder of plots that are drawn blank"),
    "blank_figures": (("tests/support",), "the same"),
    "_empty_figure": (("tests/support",), "makes matplotlib's Figure"),
}

# Where names are still to be renamed: empty this.
NOT_YET: tuple[str, ...] = ()


def names_in(source: str) -> Iterator[tuple[int, str]]:
    """Every name that a module defines, imports or uses, with its line."""
    for node in ast.walk(ast.parse(source)):
        line = getattr(node, "lineno", 1)
        if isinstance(node, ast.Name):
            yield line, node.id
        elif isinstance(node, ast.Attribute):
            yield line, node.attr
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield line, node.name
        elif isinstance(node, ast.arg | ast.keyword) and node.arg:
            yield line, node.arg
        elif isinstance(node, ast.alias):
            yield from ((line, name) for name in (*node.name.split("."), node.asname or ""))


def words_in(name: str) -> set[str]:
    """`new`, `figure` of `new_figure` and `NewFigure`."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def is_within(path: str, places: tuple[str, ...]) -> bool:
    return any(path == place or path.startswith(f"{place}/") for place in places)


def replaced_words(source: str, path: str) -> list[str]:
    """One line for each name of a module, and its own, that has a replaced word."""
    names = {(1, Path(path).stem), *names_in(source)}
    return [
        f"{path}:{line}: {name} has {word!r}: say {REPLACED[word]}"
        for line, name in sorted(names)
        for word in sorted(words_in(name) & REPLACED.keys())
        if not is_within(path, EXCEPTIONS.get(name, ((), ""))[0])
    ]


def test_no_name_has_a_word_that_was_replaced():
    assert len(SOURCES) > 150
    found = [
        line
        for path in SOURCES
        if not is_within(path.relative_to(ROOT).as_posix(), NOT_YET)
        for line in replaced_words(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix())
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("def run_door(): ...", 1),
        ("class Contest: ...", 1),
        ("def f(telling=1): ...", 1),
        ("x = f(pictures=1)", 1),
        ("x = f'{twins[0]}'", 1),
        ("from medcls.data.sources import survey as scan", 1),
        ("a.stamps.told = 1", 2),
        ("import indoors, retold", 0),
        ("x = 'told'  # said aloud", 0),
        ("RESIZE_POLICIES = ()", 0),
    ],
)
def test_words_are_found_in_every_kind_of_name(source: str, count: int):
    assert len(replaced_words(source, "medcls/models/zoo.py")) == count


def test_each_exception_is_needed():
    used = {
        name
        for path in SOURCES
        for name in {path.stem, *(name for _, name in names_in(path.read_text(encoding="utf-8")))}
        if is_within(path.relative_to(ROOT).as_posix(), EXCEPTIONS.get(name, ((), ""))[0])
    }
    assert used == EXCEPTIONS.keys()


def test_the_table_of_words_names_each():
    table = "\n".join(re.findall(r"^\|.*$", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.MULTILINE))
    documented = set(re.findall(r"\w+", " ".join(row.split("|")[1] for row in table.splitlines())))
    singular = {"policies": "policy", "contestants": "contestant"}
    missing = {
        word for word in REPLACED if documented.isdisjoint({word, word.removesuffix("s"), singular.get(word, word)})
    }
    assert not missing
