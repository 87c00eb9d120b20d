"""One door for every look at images that judge: the ledger counts it, and no later run trains on them unawares."""

from collections.abc import Mapping
from pathlib import Path

from medcls.evaluation.predictions import Predictions
from medcls.runs.ledger import PIXEL_HASH, Readings, record_reading
from medcls.runs.locked import remember_images


def read_test(
    table: Predictions,
    run: str,
    purpose: str,
    *,
    root: Path | None = None,
    settings: Mapping[str, object] | None = None,
) -> Readings | None:
    """Write down that these images are judged, and count how often they were before; call it once a reading.

    Parameters
    ----------
    table : Predictions
        One row an image, as predicted.
    run, purpose : str
        As of `record_reading`.
    root : Path, optional
        The folder that the images are split in; without, they are met again wherever they come from.
    settings : mapping, optional
        All that the split was cut by, as of `remember_test`.

    Returns
    -------
    Readings or None
        As of `record_reading`.
    """
    readings = record_reading(table, run, purpose)
    # What one fold holds out trains the next: that is no lock.
    if readings is not None and readings.split != "held_out" and "content" in table.rows:
        contents = table.rows["content"].astype(str)
        remember_images(contents[contents.str.fullmatch(PIXEL_HASH)], run, settings or {}, root)
    return readings
