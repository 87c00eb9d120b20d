"""Segmentation masks among the images, recognised by their values and their names together.

A mask has two values, which no medical image has, and its image's name but for a word (`x_seg.png` beside `x.jpg`), the
extension (`001.bmp` beside `001.png`) or a folder (`images/x.png` and `masks/x.png`). Which word that is is learned
from the files that have two values, and must hold for nearly all the files with that word.
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

from medcls.data.sources.scan import ScanOptions, scan_images
from medcls.errors import MedclsError, typed_label_map
from medcls.wording import counted, printable

TWO_VALUES = 0.99  # at least this share of a mask is as dark as its darkest part or as bright as its brightest
CERTAIN = 0.9  # least share with two values of the files named as masks; of their images, 1 minus this at most
LOOKED_AT = 5  # files of a class, before all are read
LONGEST_WORD = 2  # tokens: `mask`, or `mask_1`

Tokens = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Name:
    """A path in parts: folders, the words and numbers of the file's name in lower case, and extension."""

    folders: Tokens
    words: Tokens
    ending: str

    @classmethod
    def parse(cls, path: str) -> "Name":
        """The parts of a relative path with forward slashes."""
        *folders, name = path.split("/")
        stem, _, ending = name.rpartition(".") if "." in name else (name, "", "")
        return cls(tuple(folders), tuple(re.findall(r"[^\W\d_]+|\d+", stem.lower())), ending.lower())


@dataclasses.dataclass(frozen=True)
class Difference:
    """How a mask's name differs from its image's: what replaces what.

    Attributes
    ----------
    folder : tuple of str
        A folder of the mask and of the image; either may be empty, and both are if the folders are the same.
    words : tuple of tuples of str
        Likewise of the file's name.
    endings : tuple of str
        Extensions of the two files; both empty unless nothing else differs.
    """

    folder: tuple[Tokens, Tokens] = ((), ())
    words: tuple[Tokens, Tokens] = ((), ())
    endings: tuple[str, str] = ("", "")

    def image_of(self, mask: Name) -> Iterator[tuple[Tokens, Tokens]]:
        """Folders and words of the image's name, if this is the mask's."""
        if self.endings[0] and mask.ending != self.endings[0]:
            return
        for folders in replaced(mask.folders, *self.folder):
            for words in replaced(mask.words, *self.words):
                yield folders, words


def replaced(tokens: Tokens, old: Tokens, new: Tokens) -> Iterator[Tokens]:
    """The tokens with one occurrence of `old` replaced, for each occurrence; unchanged if both are empty."""
    if not old and not new:
        yield tokens
        return
    for start in range(len(tokens) - len(old) + 1):
        if tokens[start : start + len(old)] == old:
            yield (*tokens[:start], *new, *tokens[start + len(old) :])


def shortened(words: Tokens) -> Iterator[tuple[Tokens, Tokens, int]]:
    """A name without a run of tokens that begins with a word, for each such run; the run, and its position."""
    yield words, (), 0
    for length, start in itertools.product(range(1, LONGEST_WORD + 1), range(len(words))):
        run = words[start : start + length]
        if len(run) == length < len(words) and not run[0].isdigit():
            yield (*words[:start], *words[start + length :]), run, start


def folder_difference(mask: Tokens, image: Tokens) -> tuple[Tokens, Tokens] | None:
    """The one folder in which two paths differ; None if they differ in more."""
    same = 0
    while same < min(len(mask), len(image)) and mask[same] == image[same]:
        same += 1
    after = 0
    while after < min(len(mask), len(image)) - same and mask[-1 - after] == image[-1 - after]:
        after += 1
    rest = mask[same : len(mask) - after], image[same : len(image) - after]
    return rest if max(len(rest[0]), len(rest[1])) <= 1 else None


def differences(mask: Name, by_form: Mapping[Tokens, Sequence[tuple[Name, Tokens, int]]]) -> Iterator[Difference]:
    """How a file of two values differs from each image that it might be the mask of.

    `by_form` has, for each shortened form of an image's words, the image, what was left out, and where.
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


def masks_beside_images(rows: pd.DataFrame, scan: pd.DataFrame) -> dict[str, str]:
    """Find the masks among the images of a class: the image's path by the mask's. `scan` is in the order of `rows`."""
    two_values = scan["extremes"].to_numpy() >= TWO_VALUES
    # One value alone is not evidence of a mask: an image may be black because it is damaged.
    suspects = two_values & (scan["contrast"].to_numpy() > 0)
    if not suspects.any():
        return {}
    masks: dict[str, str] = {}
    for _, part in rows.assign(row=np.arange(len(rows))).groupby(["label", "given_split"]):
        if suspects[part["row"]].any():
            masks |= _masks_of_class(part["path"].tolist(), two_values[part["row"]], suspects[part["row"]])
    return masks


def _masks_of_class(paths: Sequence[str], two_values: np.ndarray, suspects: np.ndarray) -> dict[str, str]:
    names = [Name.parse(path) for path in paths]
    by_form: dict[Tokens, list[tuple[Name, Tokens, int]]] = defaultdict(list)
    by_name: dict[tuple[Tokens, Tokens], list[int]] = defaultdict(list)
    for number, name in enumerate(names):
        by_name[name.folders, name.words].append(number)
        if not two_values[number]:
            for form, run, start in shortened(name.words):
                by_form[form].append((name, run, start))
    candidates = {
        difference for number in np.flatnonzero(suspects) for difference in differences(names[number], by_form)
    }
    certain = []
    for difference in candidates:
        pairs = {
            number: image
            for number, name in enumerate(names)
            for image_name in difference.image_of(name)
            for image in by_name.get(image_name, ())
            if image != number and difference.endings[1] in ("", names[image].ending)
        }
        masks, images = list(pairs), list(pairs.values())
        if two_values[masks].mean() >= CERTAIN and two_values[images].mean() <= 1 - CERTAIN:
            certain.append(sorted(pairs.items()))
    # If a mask has several candidates, the most frequent difference decides: it comes last.
    certain.sort(key=lambda pairs: (len(pairs), pairs))
    return {paths[mask]: paths[image] for pairs in certain for mask, image in pairs}


def note_on_masks(masks: Mapping[str, str]) -> list[str]:
    """Report which masks were left out, if any, and how to keep them."""
    if not masks:
        return []
    mask, image = min(masks.items())
    return [
        f"left out {counted(len(masks), 'segmentation mask')}: files of two values named after images, such as "
        f"{printable(mask)} of {printable(image)} (data.masks=keep treats them as images)"
    ]


def refuse_classes_of_masks(root: Path, rows: pd.DataFrame, options: ScanOptions) -> None:
    """Refuse a class whose files all look like masks, judged by a few files of each class."""
    paths = {str(label): part.tolist() for label, part in rows.groupby("label")["path"]}
    sample = {
        label: [some[k] for k in np.unique(np.linspace(0, len(some) - 1, LOOKED_AT).astype(int))]
        for label, some in paths.items()
    }
    # Unreadable files are reported later, with all others.
    scan, _ = scan_images(
        root, [path for some in sample.values() for path in some], dataclasses.replace(options, progress=None)
    )
    two_values = set(scan.index[(scan["extremes"] >= TWO_VALUES) & (scan["contrast"] > 0)])
    masks = [label for label, some in sample.items() if two_values.issuperset(some)]
    others = [label for label in paths if label not in masks]
    if not masks or not others:
        return
    names = {label: {PurePosixPath(path).stem.lower() for path in some} for label, some in paths.items()}
    lines = []
    for label in masks:
        closest = max(others, key=lambda other: len(names[other] & names[label]))
        shared = len(names[closest] & names[label])
        also = f", {shared:,} of them with the name of an image of {closest!r}" if shared else ""
        lines.append(f"  {label!r}: {counted(len(paths[label]), 'file')}, such as {printable(paths[label][0])}{also}")
    ways = []
    for label in others:
        if len(others) == 1 and any(entry.is_dir() for entry in (root / label).glob("*")):
            ways.append(f"  data.root={shlex.quote(str(root / label))}    if {label!r} has the class folders")
    if len(others) > 1:
        kept = typed_label_map({label: [label] for label in others})
        ways.append(f"  {kept} data.leave_out_unmapped=true    to leave the masks out")
    ways.append("  data.masks=keep    if they are images")
    raise MedclsError(
        f"The images of {counted(len(masks), 'class', 'classes')} have two values only, as segmentation masks do, and "
        f"those of {', '.join(map(repr, others))} have more:\n"
        + "\n".join(lines)
        + "\nA mask is not a class. Move them away, or add one of these to the command:\n"
        + "\n".join(ways),
        kind="masks_as_class",
    )
