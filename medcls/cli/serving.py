"""The settings of a server, and the model that it serves."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from omegaconf import DictConfig

from medcls.cli.building import plain
from medcls.cli.importing import import_large
from medcls.cli.stored_configuration import check_trust
from medcls.cli.trained_models import choose_device, load, load_checkpoint
from medcls.errors import MedclsError

if TYPE_CHECKING:
    # Heavy imports are made where they are used, so that a typo is reported before torch is loaded.
    import numpy as np
    from numpy.typing import NDArray

    from medcls.inference.model import Model
    from medcls.inference.stream import Row
    from medcls.serving.limits import Limits
    from medcls.serving.measurements import Reference
    from medcls.serving.service import Explain

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is known before the model is loaded.

    Parameters
    ----------
    run : str
    host : str
    port : int
    password : str or None
    page : bool
    limits : Limits
    """

    run: str
    host: str
    port: int
    password: str | None
    page: bool
    limits: Limits


def read_settings(cfg: DictConfig) -> Settings:
    """Check the settings, and that what they need is installed.

    Raises
    ------
    MedclsError
        A value is not allowed, or an extra is missing.
    """
    if cfg.run is None:
        raise MedclsError("Nothing to serve: give run=RUN, the folder of a trained run.", kind="nothing_to_serve")
    for name in ("page", "heat_maps"):
        if not isinstance(cfg[name], bool):
            raise MedclsError(f"{name} is {cfg[name]!r}: give true or false.", kind="bad_value")
    port, password = cfg.port, None if cfg.password is None else str(cfg.password)
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65535:
        raise MedclsError(f"port is {port!r}: give a whole number from 0 to 65535.", kind="bad_value")
    if password == "":
        raise MedclsError("The password is empty: give another one, or none (password=null).", kind="bad_value")
    try:
        from medcls.serving import endpoint, measurements, server  # noqa: F401 - what they need is installed
        from medcls.serving.limits import Limits
    except ImportError as error:
        raise MedclsError(
            f"A server needs {error.name}: pip install 'medcls[demo]', or 'medcls[serve]' for the endpoint alone.",
            kind="missing_extra",
        ) from error
    return Settings(str(cfg.run), str(cfg.host), port, password, cfg.page, Limits(**plain(cfg.limits)))


def load_model(cfg: DictConfig) -> tuple[Model, Explain | None]:
    """Load the model of a run, a checkpoint or an export, and what makes its heat maps, if they are asked for.

    An export has none, nor has a network in which no layer is a map of the image; a warning says so.
    """
    place, trust = Path(str(cfg.run)).expanduser(), check_trust(cfg)
    if place.suffix.lower() == ".onnx":
        return cast("Model", load(place, device=cfg.device, trust=trust)), None  # one model: no ensemble
    import_large("lightning")

    import numpy as np

    from medcls.inference.explain import explain
    from medcls.inference.model import Model, Pixels
    from medcls.inference.network_scores import NetworkScores

    loaded, description = load_checkpoint(place, trust=trust)
    preprocessing = loaded.preprocessing
    scores = NetworkScores(loaded.network, preprocessing, choose_device(cfg.device))

    def heat_map(pixels: Pixels, index: int) -> NDArray[np.float32]:
        return explain(loaded.network, preprocessing, pixels, index).values

    model = Model(description, scores, batch_size=scores.batch_size)
    if not (cfg.page and cfg.heat_maps):
        return model, None
    dtype = np.uint8 if preprocessing.bits == 8 else np.uint16
    try:
        heat_map(np.zeros((*preprocessing.size, preprocessing.channels), dtype), 0)
    except Exception as error:  # noqa: BLE001 - whatever a network of any library raises
        reason = str(error) if isinstance(error, MedclsError) else f"Grad-CAM failed ({type(error).__name__})."
        log.warning("there will be no heat maps: %s", reason, extra={"rule": "no_heat_maps"})
        return model, None
    return model, heat_map


def reference_of(run: str, model: Model) -> Reference | None:
    """The scores of val that a run folder has of this model; None without them, and a warning."""
    from medcls.evaluation.folds import OUT_OF_FOLD
    from medcls.evaluation.predictions import read_csv
    from medcls.serving.measurements import Reference

    for split in ("val", OUT_OF_FOLD):
        path = Path(run).expanduser() / "predictions" / f"{split}.csv"
        if path.is_file() and (table := read_csv(path, model.positive)).checkpoint == model.checkpoint:
            return Reference.from_logits(model, table.logits())
    log.warning("there are no predictions of val for this model: /metrics has no drift", extra={"rule": "no_drift"})
    return None


def csv_format(model: Model) -> Callable[[Sequence[Row]], str]:
    """What turns rows into the table that `medcls.predict` writes."""
    from medcls.workflow.prediction_files import row_format

    form = row_format("csv", model.classes, model.checkpoint, model.watermarks)
    return lambda rows: form.header + "".join(map(form.line, rows))
