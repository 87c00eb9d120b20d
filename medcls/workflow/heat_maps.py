"""Heat maps for a report, computed when it asks for them: only images that it shows are explained."""

import logging
from collections.abc import Callable
from pathlib import Path

from medcls.data.reading import images
from medcls.data.reading.decoded import Decoded, UnreadableImage
from medcls.data.reading.thumbnails import encoded, shrunk
from medcls.errors import MedclsError
from medcls.inference.explain import explain
from medcls.inference.load import Loaded
from medcls.plots import heat_maps
from medcls.report.pages.parts import Thumbnail
from medcls.report.phrases import isolated
from medcls.workflow.report_settings import PageSettings

log = logging.getLogger(__name__)

LONGEST = 160  # pixels, as of a thumbnail


def heat_maps_of(loaded: Loaded, folder: Path | None, page: PageSettings) -> Callable[[str, str], Thumbnail] | None:
    """Return what draws the heat map of an image for a class; None if the report shows no images.

    Parameters
    ----------
    loaded : Loaded
    folder : Path or None
        Of the images.
    page : PageSettings

    Returns
    -------
    callable or None
        From a path below `folder` and the name of a class to the overlay, or the reason why there is none. It raises
        nothing: no report fails for want of a heat map.
    """
    if folder is None or not page.images:
        return None

    def heat_map(path: str, name: str) -> Thumbnail:
        try:
            return _drawn(loaded, images.read(folder / path, loaded.preprocessing.decoding), name)
        except UnreadableImage as error:
            return Thumbnail(reason=error.reason)
        except MedclsError as error:
            return Thumbnail(reason=str(error))
        except Exception as error:  # whatever a network of any library raises
            log.debug("no heat map of %s", path, exc_info=error)
            return Thumbnail(reason=f"Grad-CAM failed for this network ({type(error).__name__}).")

    return heat_map


def _drawn(loaded: Loaded, decoded: Decoded, name: str) -> Thumbnail:
    preprocessing = loaded.preprocessing
    pixels = images.resize(decoded.pixels, preprocessing.size, preprocessing.resize, preprocessing.interpolation)
    found = explain(loaded.network, preprocessing, pixels, loaded.classes.index(name))
    small = shrunk(decoded.pixels, LONGEST)
    height, width = small.shape[:2]
    values = images.resize_back(found.values, (height, width), decoded.pixels.shape[:2], preprocessing.resize)
    rows, columns = found.fields
    text = f"Grad-CAM for {isolated(name)}, {rows} x {columns} fields: {heat_maps.described(values)}"
    return Thumbnail(encoded(heat_maps.overlay(small, values)), width, height, text=text)
