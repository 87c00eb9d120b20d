"""Segmentation masks among the images: found by what they show and by their names together.

A mask has two values, which no medical image has, and is named like the image that it belongs to, but for a word
(`x_seg.png` beside `x.jpg`), its ending (`001.bmp` beside `001.png`) or a folder (`images/x.png` and `masks/x.png`).
Which word that is nobody lists: it is learned from the files that have two values, and has to hold for nearly all the
files that it is in.
"""

import dataclasses
import itertools
import re
import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from medcls.data.sources.scan import scan_images
from medcls.errors import MedclsError, typed_label_map
from medcls.wording import counted, printable

TWO_VALUES = 0.99  # at least so much of a mask is as dark as its darkest part or as bright as its brightest
CERTAIN = 0.9  # at least so many of the files with a mask's name have two values, and so few of their images
LOOKED_AT = 5  # files of a class, before all are read
LONGEST_WORD = 2  # tokens: `mask`, or `mask_1`

Tokens = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Name:
    """A path in parts: its folders, the words and numbers of its file's name in lower case, and its ending."""

    folders: Tokens
    words: Tokens
    ending: str

    @classmethod
    def of(cls, path: str) -> "Name":
        """The parts of a relative path with forward slashes."""
        *folders, name = path.split("/")
        stem, _, ending = name.rpartition(".") if "." in name else (name, "", "")
        return cls(tuple(folders), tuple(re.findall(r"[^\W\d_]+|\d+", stem.lower())), ending.lower())


@dataclasses.dataclass(frozen=True)
class Difference:
    """How a mask's name differs from its image's: what stands in the one in the place of what stands in the other.

    Attributes
    ----------
    folder : tuple of str
        A folder of the mask and of the image; either may be empty, and both are where the folders are the same.
    words : tuple of tuples of str
        Likewise of the file's name.
    endings : tuple of str
        Of the two files; both empty unless nothing else differs.
    """

    folder: tuple[Tokens, Tokens] = ((), ())
    words: tuple[Tokens, Tokens] = ((), ())
    endings: tuple[str, str] = ("", "")

    def image_of(self, mask: Name) -> Iterator[tuple[Tokens, Tokens]]:
        """Folders and words that the image would have if this were the mask's name."""
        if self.endings[0] and mask.ending != self.endings[0]:
            return
        for folders in replaced(mask.folders, *self.folder):
            for words in replaced(mask.words, *self.words):
                yield folders, words


def replaced(tokens: Tokens, old: Tokens, new: Tokens) -> Iterator[Tokens]:
    """The tokens with one occurrence of `old` replaced, for each occurrence; with nothing to replace, as they are."""
    if not old and not new:
        yield tokens
        return
    for start in range(len(tokens) - len(old) + 1):
        if tokens[start : start + len(old)] == old:
            yield (*tokens[:start], *new, *tokens[start + len(old) :])


def shortened(words: Tokens) -> Iterator[tuple[Tokens, Tokens, int]]:
    """What is left of a name without a run of tokens that begins with a word, the run, and where it stood."""
    yield words, (), 0
    for length, start in itertools.product(range(1, LONGEST_WORD + 1), range(len(words))):
        run = words[start : start + length]
        if len(run) == length < len(words) and not run[0].isdigit():
            yield (*words[:start], *words[start + length :]), run, start


def folder_difference(mask: Tokens, image: Tokens) -> tuple[Tokens, Tokens] | None:
    """The one folder in which two paths differ; None where they differ in more."""
    same = 0
    while same < min(len(mask), len(image)) and mask[same] == image[same]:
        same += 1
    after = 0
    while after < min(len(mask), len(image)) - same and mask[-1 - after] == image[-1 - after]:
        after += 1
    rest = mask[same : len(mask) - after], image[same : len(image) - after]
    return rest if max(len(rest[0]), len(rest[1])) <= 1 else None


def differences(mask: Name, by_form: Mapping[Tokens, Sequence[tuple[Name, Tokens, int]]]) -> Iterator[Difference]:
    """How a file of two values differs from each of the images that it might be the mask of.

    Parameters
    ----------
    by_form : mapping
        By each shortened form of an image's words: the image, what was left out, and where.
    """
    for form, run, start in shortened(mask.words):
        for image, other, place in by_form.get(form, ()):
            folder = folder_difference(mask.folders, image.folders)
            if folder is None or (run and other and start != place):
                continue
            if folder == ((), ()) and not run and not other:
                yield Difference(endings=(mask.ending, image.ending))
            else:
                yield Difference(folder, (run, other))


def masks_beside_images(rows: pd.DataFrame, facts: pd.DataFrame) -> dict[str, str]:
    """Find the masks that lie among the images of their own class, each with the image that it belongs to.

    Parameters
    ----------
    rows : DataFrame
        With `path`, `label` and `given_split`.
    facts : DataFrame
        What the survey found out, one row for each of `rows`, in the same order.

    Returns
    -------
    dict
        The image's path by the mask's.
    """
    two_values = facts["extremes"].to_numpy() >= TWO_VALUES
    # One value alone is no mask until others of its name are: a picture may be black because it was spoilt.
    suspects = two_values & (facts["contrast"].to_numpy() > 0)
    if not suspects.any():
        return {}
    found: dict[str, str] = {}
    for _, part in rows.assign(row=np.arange(len(rows))).groupby(["label", "given_split"]):
        if suspects[part["row"]].any():
            found |= _masks_of_class(part["path"].tolist(), two_values[part["row"]], suspects[part["row"]])
    return found


def _masks_of_class(paths: Sequence[str], two_values: np.ndarray, suspects: np.ndarray) -> dict[str, str]:
    names = [Name.of(path) for path in paths]
    by_form: dict[Tokens, list[tuple[Name, Tokens, int]]] = defaultdict(list)
    by_name: dict[tuple[Tokens, Tokens], list[int]] = defaultdict(list)
    for number, name in enumerate(names):
        by_name[name.folders, name.words].append(number)
        if not two_values[number]:
            for form, run, start in shortened(name.words):
                by_form[form].append((name, run, start))
    seen = {difference for number in np.flatnonzero(suspects) for difference in differences(names[number], by_form)}
    certain = []
    for difference in seen:
        pairs = {
            number: image
            for number, name in enumerate(names)
            for wanted in difference.image_of(name)
            for image in by_name.get(wanted, ())
            if image != number and difference.endings[1] in ("", names[image].ending)
        }
        masks, pictures = list(pairs), list(pairs.values())
        if two_values[masks].mean() >= CERTAIN and two_values[pictures].mean() <= 1 - CERTAIN:
            certain.append(sorted(pairs.items()))
    # Where a mask has several images, that of the difference which the most have is its own.
    certain.sort(key=lambda pairs: (len(pairs), pairs))
    return {paths[mask]: paths[image] for pairs in certain for mask, image in pairs}


def check_masks(masks: str | None) -> None:
    """Refuse a value of `data.masks` that means nothing.

    Raises
    ------
    MedclsError
        It is neither of the two.
    """
    if masks not in (None, "keep"):
        raise MedclsError(f"data.masks is {masks!r}: choose keep, or null to leave them out.", kind="bad_value")


def note_on_masks(found: Mapping[str, str]) -> list[str]:
    """Say which masks were left out, if any, and how to keep them."""
    if not found:
        return []
    mask, image = min(found.items())
    return [
        f"left out {counted(len(found), 'segmentation mask')}: pictures of two values under the names of images, such "
        f"as {printable(mask)} of {printable(image)} (data.masks=keep takes them for images)"
    ]


def refuse_classes_of_masks(root: Path, rows: pd.DataFrame, *, frame: int, remember: bool) -> None:
    """Ask where all that is looked at of one class are masks, and nothing of another is: a few files each.

    Parameters
    ----------
    rows : DataFrame
        With `path` and `label`, as the folders have them.
    frame, remember
        As of `scan.scan_images`.

    Raises
    ------
    MedclsError
        Names the folders, and the line to type.
    """
    paths = {str(label): part.tolist() for label, part in rows.groupby("label")["path"]}
    masks = _classes_of_two_values(root, paths, frame, remember)
    others = [label for label in paths if label not in masks]
    if not masks or not others:
        return
    names = {label: {PurePosixPath(path).stem.lower() for path in some} for label, some in paths.items()}
    said = []
    for label in masks:
        same = max(others, key=lambda other: len(names[other] & names[label]))
        shared = len(names[same] & names[label])
        of = f", {shared:,} of them under the name of an image of {same!r}" if shared else ""
        said.append(f"  {label!r}: {counted(len(paths[label]), 'file')}, such as {printable(paths[label][0])}{of}")
    ways = []
    for label in others:
        if len(others) == 1 and any(entry.is_dir() for entry in (root / label).glob("*")):
            ways.append(f"  data.root={shlex.quote(str(root / label))}    where {label!r} holds the class folders")
    if len(others) > 1:
        kept = typed_label_map({label: [label] for label in others})
        ways.append(f"  {kept} data.leave_out_unmapped=true    to leave the masks out")
    ways.append("  data.masks=keep    where they are images all the same")
    raise MedclsError(
        f"The pictures of {counted(len(masks), 'class', 'classes')} have two values only, as segmentation masks have, "
        f"and those of {', '.join(map(repr, others))} have more:\n"
        + "\n".join(said)
        + "\nMasks are no class. Move them away, or add one of these to the command:\n"
        + "\n".join(ways),
        kind="masks_as_class",
    )


def _classes_of_two_values(root: Path, paths: Mapping[str, Sequence[str]], frame: int, remember: bool) -> list[str]:
    """The classes of which all that is looked at has two values; what cannot be read is said later, with the rest."""
    chosen = {
        label: [some[k] for k in np.unique(np.linspace(0, len(some) - 1, LOOKED_AT).astype(int))]
        for label, some in paths.items()
    }
    facts, _ = scan_images(root, [path for some in chosen.values() for path in some], frame=frame, remember=remember)
    two_values = set(facts.index[(facts["extremes"] >= TWO_VALUES) & (facts["contrast"] > 0)])
    return [label for label, some in chosen.items() if two_values.issuperset(some)]
