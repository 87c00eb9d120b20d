"""The page for people, in Gradio: upload images, see probabilities, decision and heat map, download the table."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.responses import RedirectResponse, Response
from jinja2 import Environment

from medcls.data.reading.decoded import UnreadableImage
from medcls.data.reading.thumbnails import encoded
from medcls.errors import MedclsError
from medcls.inference.model import Model
from medcls.inference.stream import Row
from medcls.plots.heat_maps import colour_scale
from medcls.report.pages.layout import environment
from medcls.serving.endpoint import NOTICE
from medcls.serving.guard import PAGE
from medcls.serving.limits import RefusedRequest
from medcls.serving.service import Answer, Service

if TYPE_CHECKING:
    import gradio

TEMPLATES = Path(__file__).parent / "templates"
FORMATS = "JPEG, PNG, TIFF, BMP, WebP, GIF, PNM or DICOM"

# Read by Gradio and by Hugging Face's client, which it brings, when they are imported.
NO_TELEMETRY = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1"}


def mount_page(app: FastAPI, service: Service, uploads: Path, as_csv: Callable[[Sequence[Row]], str]) -> None:
    """Mount the page at `PAGE`.

    Parameters
    ----------
    app : FastAPI
    service : Service
    uploads : Path
        The private folder: uploaded files and tables go there.
    as_csv : callable
        From rows to the table that is downloaded.

    Raises
    ------
    MedclsError
        Gradio is not installed.
    """
    _import_gradio(uploads)
    import gradio

    @app.get("/", include_in_schema=False)
    async def to_page() -> RedirectResponse:
        return RedirectResponse(f"{PAGE}/")

    @app.get("/favicon.ico", include_in_schema=False)
    async def no_icon() -> Response:
        return Response(status_code=204)

    gradio.mount_gradio_app(
        app,
        _page(service, uploads, as_csv),
        PAGE,
        app_kwargs={"docs_url": None, "redoc_url": None, "openapi_url": None},
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=service.limits.file_bytes,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=_theme(),
        css=(TEMPLATES / "page.css").read_text(encoding="utf-8"),
    )


def results_html(answers: Sequence[Answer], model: Model, problem: str = "") -> str:
    """Answers as HTML; names of files and classes are escaped."""
    point = None if model.decision_rules is None else model.decision_rules.operating_point
    rule = ""
    if point is not None:
        how = f", {point.criterion} on {point.split}" if point.is_fitted and point.split else ""
        rule = f"at the operating point (probability of {point.positive_class} at least {point.shown}{how})"
    template = _templates().get_template("results.html.jinja")
    return template.render(answers=answers, problem=problem, rule=rule, scale=colour_scale())


def rows_of(answers: Sequence[Answer]) -> list[Row]:
    """Answers as rows of a table of predictions: also a file without a prediction has one, with its error."""
    return [
        Row(
            answer.file,
            answer.prediction,
            None if answer.error is None else UnreadableImage(str(answer.error).rstrip("."), kind=answer.error.kind),
        )
        for answer in answers
    ]


def _page(service: Service, uploads: Path, as_csv: Callable[[Sequence[Row]], str]) -> gradio.Blocks:
    import gradio as gr

    model, limits = service.model, service.limits
    header = _templates().get_template("header.html.jinja")

    async def classify(paths: list[str] | None) -> tuple[str, object]:
        start, answers, status, message = time.monotonic(), [], 200, ""
        try:
            with contextlib.ExitStack() as opened:
                files = [(Path(path).name, opened.enter_context(open(path, "rb"))) for path in paths or ()]
                answers = await service.classify(files, shown=True)
        except RefusedRequest as error:
            status, message = error.status, str(error)
        except FileNotFoundError:
            status, message = 422, "The uploaded files were deleted meanwhile: upload them again."
        service.measurements.answered(f"{PAGE}/classify", status, time.monotonic() - start)
        table = _write_table(as_csv(rows_of(answers)), uploads) if answers else None
        return results_html(answers, model, message), gr.DownloadButton(value=table, interactive=table is not None)

    page: gr.Blocks = gr.Blocks(title=f"medcls: {model.name}", analytics_enabled=False)
    with page:
        gr.HTML(
            header.render(
                title=model.name,
                notice=NOTICE,
                watermarks=model.watermarks,
                formats=FORMATS,
                limits=limits,
                checkpoint=model.checkpoint,
            )
        )
        files = gr.File(label="Images", file_count="multiple", type="filepath")
        button = gr.Button("Classify", variant="primary")
        results = gr.HTML()
        table = gr.DownloadButton("Download the table (CSV)", interactive=False)
        button.click(
            classify, files, [results, table], concurrency_limit=None, api_visibility="private", show_progress="minimal"
        )
        files.clear(
            lambda: ("", gr.DownloadButton(value=None, interactive=False)),
            None,
            [results, table],
            api_visibility="private",
        )
    return page


def _theme() -> gradio.themes.Base:
    import gradio

    # Fonts of the system: nothing is fetched. White on this blue has a contrast of 9.7 to 1.
    theme = gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    blue, darker = "#15447a", "#0e3159"
    return theme.set(
        button_primary_background_fill=blue,
        button_primary_background_fill_dark=blue,
        button_primary_background_fill_hover=darker,
        button_primary_background_fill_hover_dark=darker,
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#ffffff",
    )


def _import_gradio(uploads: Path) -> None:
    """Import Gradio without telemetry and with its folder in the private one.

    Raises
    ------
    MedclsError
        It is not installed.
    """
    os.environ.update(NO_TELEMETRY, GRADIO_TEMP_DIR=str(uploads))
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise MedclsError(
            "The page needs Gradio: pip install 'medcls[demo]'. Or serve the endpoint alone: page=false.",
            kind="missing_extra",
        ) from error


def _templates() -> Environment:
    made = environment(TEMPLATES)
    made.filters["data_url"] = encoded
    return made


def _write_table(table: str, uploads: Path) -> str:
    folder = uploads / "tables" / secrets.token_hex(16)
    folder.mkdir(parents=True, mode=0o700)
    path = folder / "predictions.csv"
    path.write_text(table, encoding="utf-8")
    return str(path)
