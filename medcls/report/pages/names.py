"""What a page calls files, folders and groups: by their names, or, where it is handed on, by something else."""

from collections.abc import Mapping

from medcls.wording import printable

SHORT = 3  # letters


class Names:
    """Names, and what stands for them.

    Within a text a number, or a word as short as "ab1", is part of too much else: there it is known by the quotation
    marks that it stands in, and whoever words a text puts them there.

    Parameters
    ----------
    instead : mapping of str to str
        From a name to what stands in its place; empty where all may be named.
    """

    def __init__(self, instead: Mapping[str, str]) -> None:
        self._instead = dict(instead)
        ambiguous = {name for name in instead if name.isalnum() and (len(name) <= SHORT or name.isdigit())}
        quoted = {f"{mark}{name}{mark}": f"{mark}{instead[name]}{mark}" for name in ambiguous for mark in "'\""}
        self._within = {name: instead[name] for name in instead if name not in ambiguous} | quoted
        # Longest first: a path may hold another.
        self._lengths = sorted({len(name) for name in self._within if name}, reverse=True)

    def of(self, name: str) -> str:
        """One name, alone."""
        return self._instead[name] if name in self._instead else self.within(printable(name))

    def within(self, text: str) -> str:
        """A text in which names may stand."""
        # By position and length, because there may be as many names as images, and only some lengths of them.
        said, at = [], 0
        while at < len(text):
            here = (text[at : at + length] for length in self._lengths)
            name = next((part for part in here if part in self._within), "")
            said.append(self._within[name] if name else text[at])
            at += len(name) or 1
        return "".join(said)
