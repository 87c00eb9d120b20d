"""A server within the test's process, and a client that asks it."""

import asyncio
import io
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image
from served_model import served_model

from medcls.inference.model import Model
from medcls.serving.endpoint import endpoint
from medcls.serving.guard import Access, Guard
from medcls.serving.limits import Limits
from medcls.serving.measurements import Measurements
from medcls.serving.server import LOOPBACK
from medcls.serving.service import Explain, Service

ADDRESS = "http://localhost"


class AskedServer:
    """A guarded endpoint.

    Parameters
    ----------
    limits : Limits, optional
    model : Model, optional
    password : str, optional
    explain : callable, optional
    uploads : Path
        Need not exist where no page is mounted.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        model: Model | None = None,
        password: str | None = None,
        explain: Explain | None = None,
        uploads: Path = Path("/nonexistent"),
    ) -> None:
        self.model, self.limits = model or served_model(), limits or Limits()
        self.measurements = Measurements(self.model)
        self.service = Service(self.model, self.limits, self.measurements, explain)
        self.app = endpoint(self.service)
        self.guarded = Guard(self.app, Access(password, LOOPBACK, uploads), self.limits, self.measurements)

    def ask(self, talk: Callable[[httpx.AsyncClient], Coroutine[Any, Any, Any]]) -> Any:
        """Run a conversation with the server to its end."""

        async def conversation() -> Any:
            transport = httpx.ASGITransport(self.guarded)
            async with httpx.AsyncClient(transport=transport, base_url=ADDRESS, timeout=60) as client:
                return await talk(client)

        return asyncio.run(conversation())

    def get(self, path: str, **settings: Any) -> httpx.Response:
        return self.ask(lambda client: client.get(path, **settings))

    def post(self, path: str = "/predict", **settings: Any) -> httpx.Response:
        return self.ask(lambda client: client.post(path, **settings))

    def predict(self, *files: tuple[str, bytes]) -> httpx.Response:
        return self.post(files=[("files", file) for file in files])


def png(red: float = 128, blue: float = 0, size: int = 16) -> bytes:
    """A PNG of one colour. Fractions of a level are spread over the rows, so that its mean has them."""
    levels = np.zeros((size, size, 3), np.uint8)
    spread = (np.arange(size) + 0.5) / size
    for channel, level in ((0, red), (2, blue)):
        levels[..., channel] = np.floor(level + spread)[:, None].clip(0, 255)
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "PNG")
    return buffer.getvalue()
