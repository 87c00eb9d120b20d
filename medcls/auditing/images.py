"""Files that cannot be read, pictures that show nothing, and images unlike the rest of their set."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from medcls.auditing.findings import MOST_SHOWN, Finding
from medcls.data.manifest import Manifest
from medcls.wording import at_start, counted, printable

BLANK = 0.01
"""Standard deviation of grey under which a picture shows nothing: 2.6 of 255 grey levels, the noise of a JPEG."""

OUTLYING = 3.5
"""Robust z above which a value is an outlier, after Iglewicz and Hoaglin (1993): among normally distributed values it
singles out 1 in 2,000."""

RARE = 0.05
"""A mode or bit depth that a smaller share of the images has stands out."""

# The least difference worth a name, as the floor of the robust deviation: where most images are equal, it would be 0,
# and a single pixel an outlier. 5% of the size or aspect, 2% of the range from black to white.
MEASURES = {
    "size": ("megapixels", 0.05),
    "aspect": ("width / height", 0.05),
    "brightness": ("0 black to 1 white", 0.02),
    "contrast": ("standard deviation of brightness", 0.02),
}


def unreadable(manifest: Manifest) -> list[Finding]:
    """Files that do not become a picture: each stops a training, so all of them are listed."""
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
            "A training stops on them. Fetch or save them again; or leave them out: audit.fix=exclude lists them for "
            "data.exclude_file.",
            {"files": files, "unreadable": len(table)},
            table.assign(path=table["path"].map(printable)),
            exclude=tuple(table["path"]),
        )
    ]


def endings(scan: pd.DataFrame) -> list[Finding]:
    """Files whose name promises another format than they hold; they are read by what they hold."""
    lying = scan["notes"].str.extract(r"(named \.\S+, but an? .+ file)")[0].to_numpy(object)
    named = pd.notna(lying)
    values = {"images": len(scan), "wrong_endings": int(named.sum())}
    if not named.any():
        title = f"All {len(scan):,} images are of the format that their names promise"
        return [Finding("endings", "good", title, values=values)]
    table = pd.DataFrame({"path": scan.index[named], "note": lying[named]})
    return [
        Finding(
            "endings",
            "information",
            f"{counted(int(named.sum()), 'file')} of {len(scan):,} with another format than the name promises",
            "They are read by what they hold, so nothing is lost; other programs may refuse them.",
            values,
            table,
        )
    ]


def reading(scan: pd.DataFrame) -> list[Finding]:
    """What was done to some images on the way to their pixels, counted by kind."""
    notes = scan["notes"].str.split("; ").explode()
    notes = notes[(notes != "") & ~notes.str.startswith("named .")]
    if notes.empty:
        title = f"All {len(scan):,} images became pixels as they are stored"
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
            f"{counted(touched, 'image')} of {len(scan):,} turned, windowed, flattened or else changed in reading",
            "Look at one of each kind (data.window, data.bits and data.frame choose what is read). If one class was "
            "treated otherwise than another, that alone can tell them apart.",
            {"images": len(scan), "with_notes": touched},
            table,
        )
    ]


def blank(scan: pd.DataFrame) -> list[Finding]:
    """Pictures of a single grey."""
    flat = scan.index[(scan["contrast"] < BLANK).to_numpy()]
    values = {"images": len(scan), "blank": len(flat)}
    if flat.empty:
        return [Finding("blank", "good", f"None of {len(scan):,} images is blank", values=values)]
    return [
        Finding(
            "blank",
            "warning",
            f"{counted(len(flat), 'blank image')} among {len(scan):,}",
            f"Their brightness varies by less than {BLANK:.0%} of the range from black to white: there is nothing to "
            "be learned from them but the label. If they are 16-bit images or DICOM, data.window may bring out what "
            "they show; else leave them out: audit.fix=exclude lists them for data.exclude_file.",
            values,
            images=tuple(flat[:MOST_SHOWN]),
            exclude=tuple(flat),
        )
    ]


def _outlier_title(odd: int, images: int, kinds: Sequence[str]) -> str:
    several = f"more than one kind of {' and '.join(kinds)}" if kinds else ""
    if not odd:
        return f"{at_start(several)} among {images:,} images"
    return f"{counted(odd, 'image')} of {images:,} unlike the rest of the set" + (f"; {several}" if several else "")


def outliers(scan: pd.DataFrame) -> list[Finding]:
    """Images unlike the rest of the set in size, aspect, mode, bit depth, brightness or contrast."""
    columns = []
    for name, value in _measured(scan).items():
        scaled = np.log(value) if name in ("size", "aspect") else value
        unlike = np.abs(_robust_z(scaled.to_numpy(), MEASURES[str(name)][1])) > OUTLYING
        columns.append((f"{name} ({MEASURES[str(name)][0]})", value, unlike, f"{value.median():.3g}"))
    for name in ("mode", "bits"):
        share = scan[name].map(scan[name].value_counts(normalize=True))
        columns.append((name, scan[name], (share < RARE).to_numpy(), str(scan[name].mode().iloc[0])))
    table = pd.DataFrame(
        [{"trait": name, "typical": typical, "unlike": int(unlike.sum()), "among them": _range(value[unlike])}
         for name, value, unlike, typical in columns if unlike.any()]
    )  # fmt: skip
    # What many share is another kind of image, not an outlier. An image that is odd in several ways comes first.
    kinds = [name for name, _, unlike, _ in columns if unlike.mean() >= RARE]
    oddness = np.sum([unlike & (name not in kinds) for name, _, unlike, _ in columns], axis=0)
    odd = int((oddness > 0).sum())
    values = {"images": len(scan), "outliers": odd}
    values |= {f"unlike_in_{name.split()[0]}": int(unlike.sum()) for name, _, unlike, _ in columns}
    if table.empty:
        title = f"None of {len(scan):,} images stands out in size, aspect, mode, bits, brightness or contrast"
        return [Finding("outliers", "good", title, values=values)]
    order = np.argsort(-oddness, kind="stable")[: min(odd, MOST_SHOWN)]
    return [
        Finding(
            "outliers",
            "information",
            _outlier_title(odd, len(scan), [name.split()[0] for name in kinds]),
            f"By more than {OUTLYING} robust standard deviations from the median (sizes and aspects as ratios), or a "
            f"mode or bit depth that under {RARE:.0%} of the images have. Where {RARE:.0%} or more lie that far off, "
            "they are another kind of image, and not shown one by one. Look whether they belong: photographs of a "
            "screen, scout views and other examinations show up here.",
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
    """Distance from the median in median absolute deviations, scaled to be standard deviations of normal values."""
    distance = values - np.median(values)
    return distance / max(1.4826 * float(np.median(np.abs(distance))), floor)


def _range(values: pd.Series) -> str:
    if not pd.api.types.is_float_dtype(values):
        return ", ".join(f"{name} {count:,}" for name, count in values.value_counts().items())
    return f"{values.min():.3g} to {values.max():.3g}"


def _relative(root: Path, path: Path | None) -> str:
    """The path as a manifest would write it."""
    if path is None:
        return ""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
