"""Text of any script in plots: find fonts that have the characters, or write their code points."""

import functools
import importlib.util
import logging
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from matplotlib import font_manager

log = logging.getLogger(__name__)

FIRST_FAMILY = "DejaVu Sans"  # comes with matplotlib, so plots look the same everywhere

# These have a glyph for every character, a box.
_PLACEHOLDER_FAMILIES = re.compile(r"last ?resort|blank|notdef|tofu", re.IGNORECASE)
_NORMAL_WEIGHTS = (400, "normal", "regular", "book")


def font_families(texts: Iterable[str]) -> tuple[list[str], frozenset[str]]:
    """Choose fonts that together have every character of the texts.

    Tries matplotlib's own font, then all fonts that matplotlib finds on this machine, then the one packaged with
    `matplotlib_fontja` (the extra `fonts`), if installed.

    Returns
    -------
    families : list of str
        For matplotlib's `font.family`, which uses the first font that has a character.
    missing : frozenset of str
        Characters without a font, logged once a process.
    """
    needed = frozenset(
        character
        for character in "".join(texts)
        if character > "\x7f" and unicodedata.category(character) not in ("Cc", "Cf", "Zs", "Mn")
    )
    families, missing = _cover(needed)
    return list(families), missing


def drawable(text: str, missing: frozenset[str] = frozenset()) -> str:
    """Prepare a text for matplotlib: no line breaks, no formulas, and code points for characters without a font.

    Dollar signs are escaped. A character of `missing` is written as `<U+75C5>` instead of an empty box, so that such
    names remain distinct.
    """
    shown = "".join(f"<U+{ord(character):04X}>" if character in missing else character for character in text)
    return re.sub(r"[\x00-\x1f\x7f]+", " ", shown).replace("$", r"\$")


@functools.lru_cache(maxsize=256)
def _cover(needed: frozenset[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    families = [FIRST_FAMILY]
    missing = needed - _has(font_manager.findfont(FIRST_FAMILY), needed)
    if missing:
        coverage: dict[str, frozenset[str]] = {}
        # Of a family's files, the one of normal weight is drawn.
        for entry in sorted(font_manager.fontManager.ttflist, key=lambda entry: entry.weight not in _NORMAL_WEIGHTS):
            if entry.style == "normal" and not _PLACEHOLDER_FAMILIES.search(entry.name):
                coverage.setdefault(entry.name, _has(entry.fname, missing))
        packaged = _packaged_font()
        if packaged is not None:
            coverage.setdefault(packaged[0], _has(packaged[1], missing))
        # The font with the most of them first, so that a name is not written in three fonts; on a tie a sans-serif,
        # then by name, so that the choice does not depend on the order of the list.
        while missing:
            best = min(
                coverage,
                key=lambda name: (-len(coverage[name] & missing), not re.search("sans|gothic|hei", name, re.I), name),
                default=None,
            )
            if best is None or not coverage[best] & missing:
                break
            if packaged is not None and best == packaged[0]:
                _register(packaged[1])
            families.append(best)
            missing -= coverage.pop(best)
    if missing:
        log.warning(
            "No font on this machine has the character(s) %s: plots show their code points instead. Install a font "
            "that has them (such as Noto Sans CJK, for Chinese, Japanese and Korean)%s.",
            " ".join(f"{character} (U+{ord(character):04X})" for character in sorted(missing)),
            "" if packaged else ", or, for Japanese and many Chinese characters, pip install 'medcls[fonts]'",
        )
    return tuple(families), missing


def _has(file: str, characters: frozenset[str]) -> frozenset[str]:
    """Return the characters that the font file has."""
    try:
        font = font_manager.get_font(file)
    except (OSError, RuntimeError):  # a font list can be older than the fonts it lists
        return frozenset()
    if not font.scalable:
        return frozenset()
    return frozenset(character for character in characters if font.get_char_index(ord(character)))


def _packaged_font() -> tuple[str, str] | None:
    """Return family and file of the font in `matplotlib_fontja`, without importing it, which has side effects."""
    spec = importlib.util.find_spec("matplotlib_fontja")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        for file in sorted(Path(folder).rglob("*.ttf")):
            return font_manager.get_font(str(file)).family_name, str(file)
    return None


def _register(file: str) -> None:
    known = {entry.fname for entry in font_manager.fontManager.ttflist}
    if file not in known:
        font_manager.fontManager.addfont(file)
