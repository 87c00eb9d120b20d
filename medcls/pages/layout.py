"""How a page is put together from its template, and how a text on it is marked up."""

import re
from datetime import datetime
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
