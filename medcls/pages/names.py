"""What a page calls files, folders and groups: by their names, or, where it is handed on, by something else."""

from collections.abc import Collection, Mapping

from medcls.wording import printable


class Names:
    """Names, and what stands for them.

    Parameters
    ----------
    instead : mapping of str to str
        From a name to what stands in its place; empty where all may be named.
    whole : collection of str
        Names that are replaced only where they stand alone: one as short as "7" is part of many a number.
    """

    def __init__(self, instead: Mapping[str, str], whole: Collection[str] = ()) -> None:
        self._instead = dict(instead)
        self._within = set(instead) - set(whole)
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
            said.append(self._instead[name] if name else text[at])
            at += len(name) or 1
        return "".join(said)
