"""Templates of pages, and markup of text."""

import re
from datetime import datetime
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

SETTING = re.compile(
    r"""python\ -m\ medcls\.\w+ (?:\ [a-z][\w.]*=[^\s,;)]*[^\s.,;:)])*
      | (?<!\w)-m\ [a-z][\w.]*=\w+(?:,\w+)*
      | \b[a-z]\w*(?:\.[a-z]\w*)+ = (?: '[^']*' | "[^"]*" | <[^>]*> | [^\s,;)]*[^\s.,;:)] )
      | \b(?:audit|data|evaluation|report)(?:\.\w+)+""",
    re.VERBOSE,
)
"""Matches what is typed at a shell: commands, settings with values, and settings of some groups without a value."""


@cache
def environment(templates: Path) -> Environment:
    """Return an environment with the HTML templates of a folder and those that all pages share; values are escaped.

    Filters: `settings`, see `mark_settings`.
    """
    made = Environment(
        loader=FileSystemLoader([templates, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["settings"] = mark_settings
    return made


@cache
def markdown_environment(templates: Path) -> Environment:
    """Return an environment with the Markdown templates of a folder; values are escaped by `escape_markdown`.

    Filters: `code`, for a line of an indented code block, which is not escaped.
    """

    def finish(value: object) -> Markup:
        return value if isinstance(value, Markup) else Markup(escape_markdown(str(value)))  # noqa: S704 - escaped

    made = Environment(
        loader=FileSystemLoader(templates),
        autoescape=True,  # so that the output of macros is not escaped again
        finalize=finish,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["code"] = lambda text: Markup(" ".join(text.split()))  # noqa: S704 - no markup in code
    return made


def escape_markdown(text: str) -> str:
    """Escape a text for Markdown, on one line: no tag, table cell, code or link.

    An underscore within a word is left as it is.
    """
    line = " ".join(text.split())
    line = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", re.sub(r"&(?=#?\w+;)", "&amp;", line))
    line = re.sub(r"([\\`*|\[\]~$])", r"\\\1", line)
    line = re.sub(r"(?<!\w)_|_(?!\w)", r"\_", line)
    return re.sub(r"^(\d*)([-+#>.)])(?=\D|$)", r"\1\\\2", line)


def mark_settings(text: str) -> Markup:
    """Return a text with the settings in it, such as `data.copies=error`, marked as code."""
    marked, end = Markup(""), 0
    for match in SETTING.finditer(text):
        marked += escape(text[end : match.start()]) + Markup("<code>{}</code>").format(match.group())
        end = match.end()
    return marked + escape(text[end:])


def day_and_time(made: datetime) -> str:
    """Format a date: `1 March 2026, 09:05 UTC`."""
    return f"{made.day} {made:%B %Y, %H:%M %Z}"
