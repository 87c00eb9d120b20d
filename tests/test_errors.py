"""Tests ask for stable identifiers, so that a sentence can be improved without a test noticing.

Those that are about how a sentence reads are marked `wording`.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import medcls

TESTS = Path(__file__).parent
PACKAGE = Path(medcls.__file__).parent
SNAKE_CASE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
PHRASE = re.compile(r"[A-Za-z]+( [A-Za-z]+){2}")
"""Three words in a row: names, settings and numbers do not read so."""

NOT_OURS = ("No space left",)
"""What the operating system says."""

BUILT_BY_RULE = ("Limitation", "Notice")
"""What is made with the rule that found it in the first place."""

ASKED_OF_TEXT = ("startswith", "endswith", "count", "index", "find", "search", "match", "fullmatch", "findall")
"""Methods of a text, and functions of `re`, that are asked for words."""


def trees(folder: Path) -> Iterator[tuple[str, ast.Module]]:
    for file in sorted(folder.rglob("*.py")):
        yield file.relative_to(folder).as_posix(), ast.parse(file.read_text(encoding="utf-8"))


def constants(node: ast.AST | None) -> Iterator[str]:
    """The texts that an expression is made of, apart from those that a function in it is called with."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif node is not None and not isinstance(node, ast.Call):
        for part in ast.iter_child_nodes(node):
            yield from constants(part)


def called(node: ast.AST) -> str:
    """The name of the function or method that is called."""
    if not isinstance(node, ast.Call):
        return ""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def identifiers(tree: ast.AST) -> Iterator[str]:
    """Each `kind` of a `MedclsError`, the rule of each limitation and notice, and `{"rule": ...}` of log records."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            if called(node) == "MedclsError":
                yield from constants(given.get("kind", node.args[1] if len(node.args) > 1 else None))
            elif called(node) in BUILT_BY_RULE:
                yield from constants(given.get("rule", node.args[0] if node.args else None))
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if list(constants(key)) == ["rule"]:
                    yield from constants(value)


def pinned(test: ast.FunctionDef) -> Iterator[str]:
    """The phrases that a test expects in a message or a text."""
    for node in ast.walk(test):
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                if keyword.arg == "match":
                    yield from constants(keyword.value)
                    if isinstance(keyword.value, ast.Name):  # it is a parameter of the test
                        yield from (text for mark in test.decorator_list for text in deep_constants(mark))
            if called(node) in ("refused", "refused_command"):
                yield from (text for argument in node.args for text in constants(argument))
        elif isinstance(node, ast.Assert):
            for part in ast.walk(node.test):
                if isinstance(part, ast.Compare):
                    yield from (text for side in (part.left, *part.comparators) for text in constants(side))
                elif called(part) in ASKED_OF_TEXT:
                    yield from (text for argument in part.args for text in constants(argument))


def deep_constants(node: ast.AST) -> Iterator[str]:
    return (part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str))


def is_about_wording(test: ast.FunctionDef) -> bool:
    return any(ast.unparse(mark).startswith("pytest.mark.wording") for mark in test.decorator_list)


def pinning(tree: ast.Module) -> list[str]:
    """Each test of a file that pins a phrase and is not about wording, with the first phrase."""
    found = []
    for test in ast.walk(tree):
        if isinstance(test, ast.FunctionDef) and test.name.startswith("test_") and not is_about_wording(test):
            phrases = [text for text in pinned(test) if PHRASE.search(text) and text not in NOT_OURS]
            found += [f"{test.name}: {phrases[0]!r}"] if phrases else []
    return found


def test_identifiers_are_snake_case():
    found = {name for _, tree in trees(PACKAGE) for name in identifiers(tree)}
    assert {"bad_value", "few_cases"} <= found
    assert not [name for name in found if not SNAKE_CASE.fullmatch(name)]


def test_no_test_pins_a_sentence():
    found = {name: pinning(tree) for name, tree in trees(TESTS)}
    listed = [f"{name}: {one}" for name, tests in found.items() for one in tests]
    assert not listed, "ask for a kind, a rule, a name or a number, or mark the test wording:\n" + "\n".join(listed)


@pytest.mark.parametrize(
    "body",
    [
        "with pytest.raises(MedclsError, match='has no such column'): pass",
        "with refused('unknown_column', 'has no such column'): pass",
        "assert 'has no such column' in str(error.value)",
        "assert caplog.text.count('has no such column') == 1",
        "assert error == f'{table} has no such column'",
    ],
)
def test_a_pinned_sentence_is_found(body):
    assert pinning(ast.parse(f"def test_it():\n    {body}"))
    assert not pinning(ast.parse(f"@pytest.mark.wording\ndef test_it():\n    {body}"))
    assert not pinning(ast.parse(f"def test_it():\n    {body.replace('has no such column', 'data.root')}"))
