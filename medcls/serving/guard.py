"""What stands before endpoint and page: who may ask, how much may be sent, what a browser may load."""

import asyncio
import base64
import contextlib
import dataclasses
import json
import logging
import os
import secrets
import time
from pathlib import Path
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medcls.serving.limits import Limits, RefusedRequest
from medcls.serving.measurements import Measurements

log = logging.getLogger(__name__)

PAGE = "/page"
"""Where the page is mounted."""

OWN_PATHS = ("/", "/predict", "/openapi.json", "/health", "/metrics", "/favicon.ico")

# What Gradio's page needs. Its other routes (proxies, recordings, monitoring, code) answer 404.
PAGE_PATHS = (
    "", "/", "/config", "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt",
    "/gradio_api/info", "/gradio_api/app_id", "/gradio_api/startup-events", "/gradio_api/upload",
    "/gradio_api/upload_progress", "/gradio_api/queue/join", "/gradio_api/queue/data", "/gradio_api/cancel",
    "/gradio_api/reset", "/gradio_api/login_check",
)  # fmt: skip
FILES = f"{PAGE}/gradio_api/file="
PAGE_FOLDERS = ("/assets/", "/static/", "/gradio_api/file=", "/gradio_api/heartbeat/", "/pwa_icon")

MOST_EVENT_BYTES = 10**6
"""Of an event of the page, which has the paths of uploaded files, not their content."""

KEPT = 10
"""How many full requests the page's uploads may take on the disk."""

# The browser itself refuses to load anything from elsewhere.
HEADERS = {
    "content-security-policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
        "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
}


def problem(error: RefusedRequest) -> Response:
    """The answer to a refused request: its sentence as `detail`, and its `kind`."""
    headers = {"www-authenticate": 'Basic realm="medcls", charset="UTF-8"'} if error.status == 401 else {}
    if error.status in (429, 503):
        headers["retry-after"] = "5"
    return JSONResponse({"detail": str(error), "kind": error.kind}, error.status, headers)


@dataclasses.dataclass(frozen=True)
class Access:
    """Who may ask.

    Parameters
    ----------
    password : str or None
        Asked for by HTTP Basic, with any user name; None for no password.
    hosts : tuple of str or None
        Names by which the server may be addressed; None for any. Against pages of other sites that reach a server on
        the loopback interface under a name of their own (DNS rebinding).
    uploads : Path
        The only folder from which an event of the page may name a file.
    """

    password: str | None
    hosts: tuple[str, ...] | None
    uploads: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "uploads", self.uploads.resolve())

    def check(self, method: str, path: str, headers: Headers) -> None:
        """Refuse a request to an unknown host or path, without the password, or made by another site's page.

        Raises
        ------
        RefusedRequest
        """
        host = headers.get("host", "").rpartition("@")[2].lower()
        name = host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]
        if self.hosts is not None and name not in self.hosts:
            raise RefusedRequest("This server is not reached under this name.", "unknown_host", 421)
        # Without a password, so that a container's health can be checked.
        if path != "/health" and self.password is not None and not self._has_password(headers):
            raise RefusedRequest("This server asks for a password.", "no_password", 401)
        # Browsers say so themselves; other programs send no such header.
        if method not in ("GET", "HEAD") and headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            raise RefusedRequest("Pages of other sites may not send anything here.", "other_site", 403)
        if not _is_known(path):
            raise RefusedRequest("There is nothing at this address.", "not_found", 404)
        # Gradio would fetch what looks like an address, and look it up at a public name server.
        if path.startswith(FILES) and not self.is_upload(path.removeprefix(FILES)):
            raise RefusedRequest("This is not an uploaded file.", "not_uploaded", 403)

    def is_upload(self, path: str) -> bool:
        """Whether a path is of a file in the folder of uploads, links followed."""
        try:
            return "://" not in path and self.uploads in Path(path).resolve().parents
        except (OSError, ValueError, RuntimeError):  # too long a name, a null byte, a link to itself
            return False

    def is_full(self, limits: Limits) -> bool:
        """Whether `KEPT` full requests lie in the folder of uploads: they stay for an hour."""
        kept = 0
        for folder, _, names in os.walk(self.uploads):
            for name in names:
                with contextlib.suppress(OSError):  # it is removed meanwhile
                    kept += os.lstat(os.path.join(folder, name)).st_size
        return kept > KEPT * limits.request_bytes

    def _has_password(self, headers: Headers) -> bool:
        scheme, _, encoded = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            given = base64.b64decode(encoded, validate=True).partition(b":")[2]
        except ValueError:
            return False
        return secrets.compare_digest(given, (self.password or "").encode())


class Guard:
    """An ASGI application that lets a request through to another one, or answers it with what is wrong.

    A body that is too large is refused while it arrives, whatever its headers claim. Every answer is counted.

    Parameters
    ----------
    app : ASGI application
    access : Access
    limits : Limits
    measurements : Measurements
    """

    def __init__(self, app: ASGIApp, access: Access, limits: Limits, measurements: Measurements) -> None:
        self._app, self._access, self._limits, self._measurements = app, access, limits, measurements

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # there is no web socket
            return
        exchange = _Exchange(scope["path"], receive, send, self._limits)
        start = time.monotonic()
        try:
            self._access.check(scope["method"], scope["path"], Headers(scope=scope))
            exchange.check_length(Headers(scope=scope))
            if scope["path"] == f"{PAGE}/gradio_api/queue/join":
                await self._check_event(exchange)
            if scope["path"] == f"{PAGE}/gradio_api/upload" and self._access.is_full(self._limits):
                text = "The server keeps as many uploads as it may: try again later, or send them to /predict."
                raise RefusedRequest(text, "server_full", 429)
            await self._app(scope, exchange.receive, exchange.send)
            if exchange.refusal is not None:
                raise exchange.refusal
        except RefusedRequest as error:
            await exchange.refuse(error, scope)
        except Exception:
            if exchange.refusal is not None:  # the application stumbled over the body that was cut off
                await exchange.refuse(exchange.refusal, scope)
            else:
                log.exception("a fault of medcls in answering %s", _label(scope["path"]))
                fault = "The server failed to answer; its log says why."
                await exchange.refuse(RefusedRequest(fault, "server_fault", 500), scope)
        finally:
            self._measurements.answered(_label(scope["path"]), exchange.status, time.monotonic() - start)

    async def _check_event(self, exchange: "_Exchange") -> None:
        """Refuse an event of the page that names a file which was not uploaded: another one, or one of the network."""
        body = await exchange.read(MOST_EVENT_BYTES)
        try:
            event = json.loads(body or b"null")
        except (ValueError, RecursionError):
            raise RefusedRequest("The body is not JSON.", "not_json", 400) from None
        for path in _paths_in(event):
            if not self._access.is_upload(path):
                raise RefusedRequest("The event names a file that was not uploaded.", "not_uploaded", 403)


class _Exchange:
    """The body of a request, counted as it arrives, and the start of its answer."""

    def __init__(self, path: str, receive: Receive, send: Send, limits: Limits) -> None:
        self._path, self._receive, self._send, self._limits = path, receive, send, limits
        self._most = limits.request_bytes + 64 * 1024 * limits.files  # and the headers of its parts
        self._end = time.monotonic() + limits.seconds
        self._seen, self._complete, self._read = 0, False, bytearray()
        self._replay = False
        self.refusal: RefusedRequest | None = None
        self.status = 0

    def check_length(self, headers: Headers) -> None:
        """Refuse a body by its header, before it is read."""
        length = headers.get("content-length", "0")
        if not length.isdecimal() or len(length) > 18:
            raise RefusedRequest("The length of the body is not a number.", "bad_length", 400)
        if int(length) > self._most:
            raise self._too_large()

    async def read(self, most: int) -> bytes:
        """The body, which the application receives nevertheless."""
        while not self._complete:
            message = await self.receive()
            if message["type"] != "http.request":
                raise self.refusal or RefusedRequest("The request was cut off.", "cut_off", 400)
            self._read += message.get("body", b"")
            if len(self._read) > most:
                raise RefusedRequest(f"The event has more than {most:,} bytes.", "request_too_large", 413)
        self._replay = True
        return bytes(self._read)

    async def receive(self) -> Message:
        """The next part of the body; after a refusal the client is gone for the application."""
        if self._replay:
            self._replay = False
            return {"type": "http.request", "body": bytes(self._read), "more_body": False}
        if self.refusal is not None:
            return {"type": "http.disconnect"}
        if self._complete:
            return await self._receive()
        try:
            async with asyncio.timeout(max(0, self._end - time.monotonic())):
                message = await self._receive()
        except TimeoutError:
            text = f"The request did not arrive within {self._limits.seconds:g} seconds."
            self.refusal = RefusedRequest(text, "request_too_slow", 408)
            return {"type": "http.disconnect"}
        if message["type"] == "http.request":
            self._seen += len(message.get("body", b""))
            self._complete = not message.get("more_body", False)
            if self._seen > self._most:
                self.refusal = self._too_large()
                return {"type": "http.disconnect"}
        return message

    async def send(self, message: Message) -> None:
        """Pass the answer on with the headers that every answer has; nothing after a refusal."""
        if self.refusal is not None:
            return
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers.update(HEADERS)
            if not self._path.startswith((f"{PAGE}/assets/", f"{PAGE}/static/")):
                headers["cache-control"] = "no-store"  # images of patients stay in no browser's cache
        await self._send(message)

    async def refuse(self, error: RefusedRequest, scope: Scope) -> None:
        """Answer with what is wrong, unless an answer has begun."""
        self.refusal = None
        if not self.status:
            response = problem(error)
            if not self._complete:
                response.headers["connection"] = "close"  # the rest of the body is not read
            await response(scope, self._receive, self.send)

    def _too_large(self) -> RefusedRequest:
        text = f"The request is larger than {self._limits.request_mib:g} MiB, the most of this server."
        return RefusedRequest(text, "request_too_large", 413)


def _is_known(path: str) -> bool:
    if not path.startswith(PAGE):
        return path in OWN_PATHS
    rest = path.removeprefix(PAGE)
    return rest in PAGE_PATHS or rest.startswith(PAGE_FOLDERS)


def _label(path: str) -> str:
    """The path as measurements have it, of which there are few."""
    return path if path in OWN_PATHS else PAGE if path.startswith(PAGE) else "other"


def _paths_in(value: Any) -> list[str]:  # noqa: ANN401 - any JSON
    """Every `path` in an event of the page: Gradio reads files by it, and fetches what looks like an address."""
    found, rest = [], [value]
    while rest:
        one = rest.pop()
        if isinstance(one, dict):
            found += [path] if isinstance(path := one.get("path"), str) else []
            rest += one.values()
        elif isinstance(one, list):
            rest += one
    return found
