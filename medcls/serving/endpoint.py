"""The HTTP endpoint: `/predict`, `/health`, `/metrics` and their description, `/openapi.json`."""

import math
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from medcls import __version__
from medcls.serving.guard import problem
from medcls.serving.limits import RefusedRequest
from medcls.serving.service import Answer, Service

NOTICE = "For research use only. Not a medical device: not for diagnosis or treatment."

MOST_FIELDS = 20
"""Form fields beside the files."""


class Problem(BaseModel):
    """Why a request or a file has no prediction."""

    detail: str = Field(description="What was wrong, in a sentence.")
    kind: str = Field(description="A stable identifier of the problem.")


class Image(BaseModel):
    """The prediction of one file, or why there is none."""

    file: str = Field(description="The name that came with the file, without folders.")
    error: Problem | None = Field(description="Why there is no prediction; all other values are null then.")
    name: str | None = Field(description="The most probable class.")
    index: int | None = Field(description="Its place among the classes, from 0.")
    probabilities: dict[str, float] | None = Field(description="Of each class; calibrated if the model is.")
    decision: str | None = Field(description="The class at the operating point; null without one.")
    prediction_set: list[str] | None = Field(description="The classes of the conformal set; null without one.")
    out_of_distribution: bool | None = Field(description="Whether the image is unlike those of val; null if unknown.")
    ood: float | None = Field(description="The out-of-distribution score (energy).")


class Predictions(BaseModel):
    """The predictions of a request, in the order of its files."""

    model: str
    checkpoint: str = Field(description="The hash of the weights.")
    classes: list[str]
    positive: str | None = Field(description="The positive class of a binary task.")
    threshold: float | None = Field(description="Of the positive class's probability, at the operating point.")
    watermarks: list[str] = Field(description="To be shown beside every prediction, such as SYNTHETIC.")
    notice: str
    images: list[Image]


class Health(BaseModel):
    """That the server is ready."""

    status: str
    version: str


PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The body is not a form with files."},
    401: {"model": Problem, "description": "The password is missing or wrong."},
    408: {"model": Problem, "description": "The body did not arrive in time."},
    413: {"model": Problem, "description": "A file or the request is too large, or there are too many files."},
    415: {"model": Problem, "description": "The body is not multipart/form-data."},
    421: {"model": Problem, "description": "The server is not reached under this name."},
    422: {"model": Problem, "description": "No file, or none that can be read as an image."},
    429: {"model": Problem, "description": "Too many requests at once."},
    503: {"model": Problem, "description": "The answer was not ready in time."},
}


def endpoint(service: Service) -> FastAPI:
    """Make the application that answers programs.

    Its pages of documentation are left out: they load from other servers.
    """
    limits = service.limits
    app = FastAPI(
        title="medcls", version=__version__, description=NOTICE, docs_url=None, redoc_url=None,
    )  # fmt: skip
    form = {
        "type": "object",
        "required": ["files"],
        "properties": {
            "files": {
                "type": "array",
                "minItems": 1,
                "maxItems": limits.files,
                "items": {"type": "string", "format": "binary"},
                "description": f"Images (JPEG, PNG, TIFF, BMP, WebP, GIF, PNM, DICOM), each at most "
                f"{limits.file_mib:g} MiB and {limits.megapixels:g} megapixels.",
            }
        },
    }

    @app.post(
        "/predict",
        summary="Classify one or several images",
        description="200 if at least one file could be read: a file that could not be has its `error`.",
        responses=PROBLEMS,
        openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": form}}}},
    )
    async def predict(request: Request) -> Predictions:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "multipart/form-data":
            raise RefusedRequest("Send the files as multipart/form-data.", "not_multipart", 415)
        # Parts without a file name are kept in memory: they are small, or the request is refused.
        async with request.form(max_files=limits.files, max_fields=MOST_FIELDS) as sent:
            others = [
                key for key, value in sent.multi_items() if not (key == "files" and isinstance(value, UploadFile))
            ]
            if others:
                raise RefusedRequest("Send files only, each with a file name, as `files`.", "unknown_field", 422)
            files = [value for _, value in sent.multi_items() if isinstance(value, UploadFile)]
            answers = await service.classify([(file.filename, file.file) for file in files])
        refuse_unreadable(answers)
        model = service.model
        return Predictions(
            model=model.name,
            checkpoint=model.checkpoint,
            classes=list(model.classes),
            positive=model.positive,
            threshold=model.threshold,
            watermarks=list(model.watermarks),
            notice=NOTICE,
            images=[described(answer) for answer in answers],
        )

    @app.get("/health", summary="Whether the server is ready")
    async def health() -> Health:
        return Health(status="ok", version=__version__)

    @app.get(
        "/metrics",
        summary="Requests, images and drift, in the text format of Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, 401: PROBLEMS[401]},
    )
    async def metrics() -> Response:
        return Response(service.measurements.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.exception_handler(RefusedRequest)
    async def refused(request: Request, error: RefusedRequest) -> Response:
        return problem(error)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        kind = {400: "bad_form", 404: "not_found", 405: "wrong_method"}.get(error.status_code, "http_error")
        detail = error.detail if error.detail.endswith(".") else f"{error.detail}."
        return JSONResponse({"detail": detail, "kind": kind}, error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def fault(request: Request, error: Exception) -> Response:
        return problem(RefusedRequest("The server failed to answer; its log says why.", "server_fault", 500))

    return app


def refuse_unreadable(answers: list[Answer]) -> None:
    """Refuse a request of which no file could be predicted.

    Raises
    ------
    RefusedRequest
        With the problem of the first file.
    """
    errors = [(answer.file, answer.error) for answer in answers if answer.error is not None]
    if len(errors) < len(answers):
        return
    name, error = errors[0]
    status = 413 if error.kind in ("file_too_large", "too_many_pixels") else 422
    more = f" So it is with all {len(errors)} files: no prediction." if len(errors) > 1 else ""
    raise RefusedRequest(f"{name}: {error}{more}", error.kind, status)


def described(answer: Answer) -> Image:
    """An answer as JSON has it."""
    error, prediction = answer.error, answer.prediction
    if prediction is None:
        found = None if error is None else Problem(detail=str(error), kind=error.kind)
        empty = dict.fromkeys(name for name in Image.model_fields if name not in ("file", "error"))
        return Image.model_validate({"file": answer.file, "error": found, **empty})
    sets = prediction.prediction_set
    return Image(
        file=answer.file,
        error=None,
        name=prediction.name,
        index=prediction.index,
        probabilities=prediction.probabilities,
        decision=prediction.decision,
        prediction_set=None if sets is None else list(sets),
        out_of_distribution=prediction.out_of_distribution,
        ood=prediction.ood if math.isfinite(prediction.ood) else None,
    )
