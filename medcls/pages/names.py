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
        # Longest first: a path may hold another.
        self._within = sorted(set(instead) - set(whole), key=len, reverse=True)

    def of(self, name: str) -> str:
        """One name, alone."""
        return self._instead[name] if name in self._instead else self.within(printable(name))

    def within(self, text: str) -> str:
        """A text in which names may stand."""
        for name in self._within:
            text = text.replace(name, self._instead[name])
        return text
