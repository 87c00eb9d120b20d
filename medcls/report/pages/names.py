"""Names of files, folders and groups on a page, or their replacements."""

from collections.abc import Mapping

import pandas as pd

from medcls.wording import printable

SHORT = 3  # letters


def numbered(rows: pd.DataFrame, of: str = "") -> dict[str, str]:
    """Number groups and images: in a table with the columns `group` and `path`, the image of row 12 is "image 12"."""
    instead = {group: f"group {n}{of}" for n, group in enumerate(sorted(set(rows["group"]) - {""}), start=1)}
    return instead | {str(path): f"image {n}{of}" for n, path in enumerate(rows["path"], start=1)}


class Names:
    """Names and their replacements.

    Within a text, a number or a word as short as "ab1" is replaced only in quotation marks, since it may be part of
    something else.

    Parameters
    ----------
    instead : mapping of str to str
        From a name to its replacement; empty to keep all names.
    """

    def __init__(self, instead: Mapping[str, str]) -> None:
        self._instead = dict(instead)
        ambiguous = {name for name in instead if name.isalnum() and (len(name) <= SHORT or name.isdigit())}
        quoted = {f"{mark}{name}{mark}": f"{mark}{instead[name]}{mark}" for name in ambiguous for mark in "'\""}
        self._within = {name: instead[name] for name in instead if name not in ambiguous} | quoted
        # Longest first: a path may contain another.
        self._lengths = sorted({len(name) for name in self._within if name}, reverse=True)

    def of(self, name: str) -> str:
        """Return the replacement of a name."""
        return self._instead[name] if name in self._instead else self.within(printable(name))

    def within(self, text: str) -> str:
        """Replace the names in a text."""
        # By position and length: there may be as many names as images, but few different lengths.
        parts, at = [], 0
        while at < len(text):
            here = (text[at : at + length] for length in self._lengths)
            name = next((part for part in here if part in self._within), "")
            parts.append(self._within[name] if name else text[at])
            at += len(name) or 1
        return "".join(parts)
