"""Which images a network has learned from, beyond its own run: through initial weights of another run, or a teacher.

Each training writes `seen_images.npz`: content and perceptual hashes of the images that it was trained or selected on,
and of those that the runs behind its weights and its teacher were. So the next training can compare them with its own
test images, wherever the images and the runs behind are then.
"""

import dataclasses
import logging
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from medcls.data.manifest import Manifest, fingerprint, read_rows
from medcls.data.splits.near_duplicates import known_images
from medcls.errors import MedclsError, typed
from medcls.inference.load import check_is_of
from medcls.models.weights import find_weights, read_state
from medcls.runs.records import Configuration
from medcls.wording import counted, enumerated
from medcls.writing import atomic_write

log = logging.getLogger(__name__)

FILE = "seen_images.npz"
SEEN = ("train", "val", "calibration")
"""Splits that a network is trained on, or that select its checkpoint and thresholds."""
Judging = tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]
"""Pairs of splits of a run, and of splits of another run that must have none of their images."""

OF_A_TRAINING: Judging = ((("test", "held_out"), SEEN), (("val", "calibration"), ("train",)))
OF_A_PROBE: Judging = ((("train", "test"), SEEN),)
"""All rows of a probe are evaluated: out of fold, or as test."""

TEXTS = {"content": "S32", "detail": "S64", "texture": "S128", "split": "S11"}
NUMBERS = {"contrast": "f8", "phash": "u8", "dhash": "u8"}


@dataclasses.dataclass(frozen=True)
class SeenImages:
    """Images that a network was trained or selected on.

    Parameters
    ----------
    table : DataFrame
        One row an image and split: `content`, `split` (one of `SEEN`), `contrast`, `phash`, `dhash`, `detail`,
        `texture`. Without perceptual hashes `detail` is empty.
    complete : bool
        Whether near duplicates can be found of all: false for runs of earlier versions, which have contents alone, and
        may have begun with other runs' weights.
    """

    table: pd.DataFrame
    complete: bool

    @classmethod
    def of(cls, manifest: Manifest) -> "SeenImages":
        """Those of a training on this manifest."""
        rows = manifest.rows[manifest.rows["split"].isin(SEEN) & (manifest.rows["content"] != "")]
        if not len(manifest.scan):
            return cls(_table(rows, None), complete=False)
        return cls(_table(rows, manifest.scan.loc[rows["path"]]), complete=True)

    @classmethod
    def read(cls, run: Path) -> "SeenImages":
        """Those of a finished run.

        Raises
        ------
        MedclsError
            Its record is damaged, or it has none.
        """
        path = run / FILE
        if not path.is_file():
            rows = read_rows(run / "manifest.csv")
            rows = rows[rows["split"].isin(SEEN) & (rows["content"] != "")]
            return cls(_table(rows, None), complete=False)
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in (*TEXTS, *NUMBERS, "complete")}
            texts = {name: np.char.decode(arrays[name].astype(kind), "ascii") for name, kind in TEXTS.items()}
            numbers = {name: arrays[name].astype(kind) for name, kind in NUMBERS.items()}
            table = pd.DataFrame({name: values.astype(object) for name, values in texts.items()} | numbers)
            return cls(table, complete=bool(arrays["complete"]))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise MedclsError(
                f"{path}, which records the images that the run learned from, is damaged ({error}). Restore it from a "
                "backup. Without the file, contents are read from manifest.csv, and near duplicates are not compared.",
                kind="damaged_file",
            ) from error

    def write(self, run: Path) -> None:
        """Write them into a run folder, atomically."""
        arrays: dict[str, Any] = {name: self.table[name].to_numpy().astype(kind) for name, kind in TEXTS.items()}
        arrays |= {name: self.table[name].to_numpy().astype(kind) for name, kind in NUMBERS.items()}
        with atomic_write(run / FILE) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, complete=np.array(self.complete), **arrays)

    def joined_with(self, others: Iterable["SeenImages"]) -> "SeenImages":
        """These and others, each image once in each split."""
        parts = [self, *others]
        table = pd.concat([part.table for part in parts], ignore_index=True)
        return SeenImages(
            table.drop_duplicates(["content", "split"], ignore_index=True), all(part.complete for part in parts)
        )

    @property
    def contents(self) -> set[str]:
        """The contents of all of them."""
        return set(self.table["content"])


def _table(rows: pd.DataFrame, scan: pd.DataFrame | None) -> pd.DataFrame:
    """The table of `SeenImages`, from rows of a manifest and, in the same order, of its scan."""
    n = len(rows)
    hashes: dict[str, Any] = {name: np.zeros(n, kind) for name, kind in NUMBERS.items()}
    hashes |= {"detail": [""] * n, "texture": [""] * n}
    if scan is not None:
        hashes = {name: scan[name].to_numpy() for name in hashes}
    return pd.DataFrame({"content": rows["content"].tolist(), "split": rows["split"].tolist(), **hashes})


@dataclasses.dataclass(frozen=True)
class Origin:
    """A run that a training learns from, and what was found when its images were compared.

    Parameters
    ----------
    run : Path
    name : str
        Its data and network.
    images : int
        That it was trained or selected on, with those of runs behind it.
    near_duplicates : int or None
        Images of this training's val, calibration and test parts that are near duplicates of these; None if that could
        not be compared. None of these images is the same as one of these, or the training had stopped.
    seen : SeenImages
    """

    run: Path
    name: str
    images: int
    near_duplicates: int | None
    seen: SeenImages

    def to_plain(self) -> dict[str, Any]:
        """Its record in weights.json or teacher.json."""
        return {
            "run": str(self.run), "name": self.name, "images": self.images, "near_duplicates": self.near_duplicates,
        }  # fmt: skip


def run_of(weights: str | Path) -> Path | None:
    """The run folder that a file of weights, or `model.weights`, belongs to; None if there is no record of one."""
    folder = find_weights(weights).absolute().parent.parent
    return folder if (folder / "manifest.csv").is_file() else None


def compare_images(
    manifest: Manifest,
    run: Path,
    setting: Literal["model.weights", "teacher"],
    *,
    near_as_same: bool,
    judging: Judging = OF_A_TRAINING,
) -> Origin:
    """Check that a run has not learned from images that judge this one.

    Test and held-out images of a training must be new to it; those that select the checkpoint and thresholds (val,
    calibration) must not have been in its training.

    Parameters
    ----------
    manifest : Manifest
        Split, of this run.
    run : Path
        The folder of the other run.
    setting : str
        Which names it.
    near_as_same : bool
        Treat a near duplicate as the image itself, as `data.keep_near_copies_together` does; else they are counted.
    judging : Judging

    Raises
    ------
    MedclsError
        It has seen some of them; says how many, of which split. Or its checkpoint is of other images than its record.
    """
    if (best := run / "checkpoints" / "best.ckpt").is_file():
        described = str(read_state(best)[1].get("manifest", "")), ""
        check_is_of(best, described, fingerprint(read_rows(run / "manifest.csv")), "")
    seen = SeenImages.read(run)
    table = seen.table
    near_found = 0
    for splits, by in judging:
        rows = manifest.rows[manifest.rows["split"].isin(splits)]
        known = table[table["split"].isin(by)]
        if rows.empty or known.empty:
            continue
        same = rows["content"].isin(set(known["content"])).to_numpy()
        near = np.zeros(len(rows), dtype=bool)
        if len(manifest.scan) and not same.any():
            near = known_images(manifest.scan.loc[rows["path"]], known[known["detail"] != ""])[1]
        found = same | near if near_as_same else same
        if found.any():
            raise _refusal(rows[found], run, setting, near=not same.any())
        near_found += int(near.sum())
    if near_found:
        log.warning(
            "%s=%s learned from near duplicates of %s here: metrics are too good (data.keep_near_copies_together=true "
            "refuses such a run)", setting, run, counted(near_found, "val or test image"),
            extra={"rule": "learned_from_near_duplicates"},
        )  # fmt: skip
    compared = seen.complete and len(manifest.scan) > 0
    if not compared:
        log.warning(
            "%s=%s: it has no record of perceptual hashes (an earlier version of medcls wrote it), so near duplicates "
            "of this run's images among those that it learned from are not known", setting, run,
            extra={"rule": "near_duplicates_unknown"},
        )  # fmt: skip
    return Origin(run, _name(run), len(seen.contents), near_found if compared else None, seen)


def _refusal(rows: pd.DataFrame, run: Path, setting: str, *, near: bool) -> MedclsError:
    counts = enumerated([f"{int(n)} of {split}" for split, n in rows["split"].value_counts().items()])
    what = "near duplicates of images" if near else "images"
    return MedclsError(
        f"{setting}={run} was trained or selected on {what} that judge this run ({counts}, such as "
        f"{rows['path'].iloc[0]}): metrics would be of images that the network knows. Use a run that was trained on "
        "other images or, in a training, one of the same splits (the same seed, data.folds and data.fold). To evaluate "
        f"it on its own test split: python -m medcls.evaluate {typed('run', str(run))}",
        kind="trained_on_these_images",
    )


def _name(run: Path) -> str:
    config = Configuration.read(run)
    names = () if config is None else (config.setting("data.name"), config.setting("model.name"))
    return ", ".join(str(name) for name in names if name)
