"""How a page is put together from its template, and how a text on it is marked up."""

import re
from datetime import datetime
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

SETTING = re.compile(
    r"""python\ -m\ medcls\.\w+
      | \b[a-z]\w*(?:\.[a-z]\w*)+ = (?: '[^']*' | "[^"]*" | <[^>]*> | [^\s,;)]*[^\s.,;:)] )
      | \b(?:audit|data|evaluation|report)(?:\.\w+)+""",
    re.VERBOSE,
)
"""What of a text is typed at a shell: commands, settings with their values, settings of some groups without one."""


@cache
def environment(templates: Path) -> Environment:
    """Templates of a folder beside those that all pages share; whatever is put into them is escaped.

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
    """Templates of a folder for a text in Markdown; whatever is put into them is escaped, see `escape_markdown`.

    Filters: `code`, for a line of an indented block of code, where an escape would be seen.
    """

    def finish(value: object) -> Markup:
        return value if isinstance(value, Markup) else Markup(escape_markdown(str(value)))  # noqa: S704 - escaped

    made = Environment(
        loader=FileSystemLoader(templates),
        autoescape=True,  # so that what macros give is told from what is to be escaped
        finalize=finish,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["code"] = lambda text: Markup(" ".join(text.split()))  # noqa: S704 - nothing is read within code
    return made


def escape_markdown(text: str) -> str:
    """Text that stays what it is in Markdown: no tag, no table cell, no code, no link; on one line.

    An underscore within a word needs no escape, and a text reads better without.
    """
    line = " ".join(text.split())
    line = re.sub(r"&(?=#?\w+;)", "&amp;", line).replace("<", "&lt;")
    line = re.sub(r"([\\`*|\[\]~$])", r"\\\1", line)
    line = re.sub(r"(?<!\w)_|_(?!\w)", r"\_", line)
    return re.sub(r"^(\d*)([-+#>.)])(?=\D|$)", r"\1\\\2", line)


def mark_settings(text: str) -> Markup:
    """Text with the settings in it, `data.copies=error`, set as what is typed."""
    marked, end = Markup(""), 0
    for match in SETTING.finditer(text):
        marked += escape(text[end : match.start()]) + Markup("<code>{}</code>").format(match.group())
        end = match.end()
    return marked + escape(text[end:])


def day_and_time(made: datetime) -> str:
    """`1 March 2026, 09:05 UTC`."""
    return f"{made.day} {made:%B %Y, %H:%M %Z}"
