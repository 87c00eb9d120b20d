"""Unreadable files, blank images, and outliers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from medcls.auditing.findings import MOST_SHOWN, Finding
from medcls.data.manifest import Manifest
from medcls.wording import at_start, counted, printable

BLANK = 0.01
"""Standard deviation of grey of a blank image: 2.6 of 255 grey levels, the noise of JPEG."""

OUTLYING = 3.5
"""Robust z of an outlier (Iglewicz and Hoaglin 1993): 1 in 2,000 of normally distributed values."""

RARE = 0.05
"""Share of the images below which a mode or bit depth is an outlier."""

# The floor of the robust deviation, which would be 0 if most images are equal: 5% of the size or aspect, 2% of the
# range from black to white.
MEASURES = {
    "size": ("megapixels", 0.05),
    "aspect": ("width / height", 0.05),
    "brightness": ("0 black to 1 white", 0.02),
    "contrast": ("standard deviation of brightness", 0.02),
}


def unreadable(manifest: Manifest) -> list[Finding]:
    """Files that cannot be decoded: each stops a training, so all of them are listed."""
    files = len(manifest) + len(manifest.unreadable)
    if not manifest.unreadable:
        return [Finding("unreadable", "good", f"All {files:,} files can be read as images", values={"files": files})]
    table = pd.DataFrame(
        [{"path": _relative(manifest.root, failure.path), "reason": failure.reason} for failure in manifest.unreadable]
    )
    return [
        Finding(
            "unreadable",
            "error",
            f"{len(table):,} of {files:,} files cannot be read as images",
            "A training stops. Download or save them again; or leave them out: audit.fix=exclude lists them for "
            "data.exclude_file.",
            {"files": files, "unreadable": len(table)},
            table.assign(path=table["path"].map(printable)),
            exclude=tuple(table["path"]),
        )
    ]


def endings(scan: pd.DataFrame) -> list[Finding]:
    """Files with another format than their extension."""
    notes = scan["notes"].str.extract(r"(named \.\S+, but an? .+ file)")[0].to_numpy(object)
    wrong = pd.notna(notes)
    values = {"images": len(scan), "wrong_endings": int(wrong.sum())}
    if not wrong.any():
        title = f"All {len(scan):,} images have the format of their file extension"
        return [Finding("endings", "good", title, values=values)]
    table = pd.DataFrame({"path": scan.index[wrong], "note": notes[wrong]})
    return [
        Finding(
            "endings",
            "information",
            f"{counted(int(wrong.sum()), 'file')} of {len(scan):,} with another format than their file extension",
            "medcls reads them correctly; other programs may refuse them.",
            values,
            table,
        )
    ]


def reading(scan: pd.DataFrame) -> list[Finding]:
    """Processing of images when they were read, by kind."""
    notes = scan["notes"].str.split("; ").explode()
    notes = notes[(notes != "") & ~notes.str.startswith("named .")]
    if notes.empty:
        title = f"All {len(scan):,} images are used as they are stored"
        return [Finding("reading", "good", title, values={"images": len(scan), "with_notes": 0})]
    # "window 3 to 80" and "window 5 to 91" are one kind.
    kinds = notes.reset_index().groupby(notes.str.replace(r"-?\d[\d.,]*", "#", regex=True).to_numpy(), sort=False)
    table = pd.DataFrame(
        [{"done": kind["notes"].iloc[0], "images": kind["path"].nunique(), "first": kind["path"].min()}
         for _, kind in kinds]
    ).sort_values("images", ascending=False, ignore_index=True)  # fmt: skip
    touched = notes.index.nunique()
    return [
        Finding(
            "reading",
            "information",
            f"{counted(touched, 'image')} of {len(scan):,} turned, windowed, composited or otherwise processed when "
            "read",
            "Look at one of each kind (data.window, data.bits and data.frame change what is read). If classes are "
            "processed differently, this alone may separate them.",
            {"images": len(scan), "with_notes": touched},
            table,
        )
    ]


def blank(scan: pd.DataFrame) -> list[Finding]:
    """Images of a single grey."""
    flat = scan.index[(scan["contrast"] < BLANK).to_numpy()]
    values = {"images": len(scan), "blank": len(flat)}
    if flat.empty:
        return [Finding("blank", "good", f"None of {len(scan):,} images is blank", values=values)]
    return [
        Finding(
            "blank",
            "warning",
            f"{counted(len(flat), 'blank image')} among {len(scan):,}",
            f"The standard deviation of their grey is below {BLANK:.0%} of the range from black to white. If they are "
            "16-bit images or DICOM, data.window may show their content; else leave them out: audit.fix=exclude lists "
            "them for data.exclude_file.",
            values,
            images=tuple(flat[:MOST_SHOWN]),
            exclude=tuple(flat),
        )
    ]


def _outlier_title(outlier_count: int, images: int, kinds: Sequence[str]) -> str:
    several = f"more than one kind of {' and '.join(kinds)}" if kinds else ""
    if not outlier_count:
        return f"{at_start(several)} among {images:,} images"
    return f"{counted(outlier_count, 'image')} of {images:,} are outliers" + (f"; {several}" if several else "")


def outliers(scan: pd.DataFrame) -> list[Finding]:
    """Outliers in size, aspect, mode, bit depth, brightness or contrast."""
    columns = []
    for name, value in _measured(scan).items():
        scaled = np.log(value) if name in ("size", "aspect") else value
        is_outlier = np.abs(_robust_z(scaled.to_numpy(), MEASURES[str(name)][1])) > OUTLYING
        columns.append((f"{name} ({MEASURES[str(name)][0]})", value, is_outlier, f"{value.median():.3g}"))
    for name in ("mode", "bits"):
        share = scan[name].map(scan[name].value_counts(normalize=True))
        columns.append((name, scan[name], (share < RARE).to_numpy(), str(scan[name].mode().iloc[0])))
    table = pd.DataFrame(
        [{"trait": name, "typical": typical, "unlike": int(is_outlier.sum()), "among them": _range(value[is_outlier])}
         for name, value, is_outlier, typical in columns if is_outlier.any()]
    )  # fmt: skip
    # A trait of many images is another kind, not an outlier. Images that are outliers in several traits come first.
    kinds = [name for name, _, is_outlier, _ in columns if is_outlier.mean() >= RARE]
    outlying = np.sum([is_outlier & (name not in kinds) for name, _, is_outlier, _ in columns], axis=0)
    outlier_count = int((outlying > 0).sum())
    values = {"images": len(scan), "outliers": outlier_count}
    values |= {f"unlike_in_{name.split()[0]}": int(is_outlier.sum()) for name, _, is_outlier, _ in columns}
    if table.empty:
        title = f"None of {len(scan):,} images is an outlier in size, aspect, mode, bits, brightness or contrast"
        return [Finding("outliers", "good", title, values=values)]
    order = np.argsort(-outlying, kind="stable")[: min(outlier_count, MOST_SHOWN)]
    return [
        Finding(
            "outliers",
            "information",
            _outlier_title(outlier_count, len(scan), [name.split()[0] for name in kinds]),
            f"More than {OUTLYING} robust standard deviations from the median (sizes and aspects as ratios), or a mode "
            f"or bit depth of fewer than {RARE:.0%} of the images. If {RARE:.0%} or more are, they are another kind of "
            "image, and not shown one by one. Check whether they belong to the set: photographs of a screen, scout "
            "views and other examinations appear here.",
            values,
            table,
            images=tuple(scan.index[order]),
        )
    ]


def _measured(scan: pd.DataFrame) -> pd.DataFrame:
    """The values of `MEASURES`, one row an image."""
    return pd.DataFrame(
        {
            "size": scan["width"] * scan["height"] / 1e6,
            "aspect": scan["width"] / scan["height"],
            "brightness": scan["brightness"],
            "contrast": scan["contrast"],
        }
    )


def _robust_z(values: np.ndarray, floor: float) -> np.ndarray:
    """Distance from the median in median absolute deviations, scaled to standard deviations of normal values."""
    distance = values - np.median(values)
    z: np.ndarray = distance / max(1.4826 * float(np.median(np.abs(distance))), floor)
    return z


def _range(values: pd.Series) -> str:
    if not pd.api.types.is_float_dtype(values):
        return ", ".join(f"{name} {count:,}" for name, count in values.value_counts().items())
    return f"{values.min():.3g} to {values.max():.3g}"


def _relative(root: Path, path: Path | None) -> str:
    """The path as a manifest would write it."""
    if path is None:
        return ""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
