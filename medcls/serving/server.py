"""Listen, and serve until the process is interrupted."""

import ipaddress
import socket

import uvicorn
from starlette.types import ASGIApp

from medcls.errors import MedclsError

SECONDS_TO_END = 3
"""For requests in progress when the process is interrupted."""

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
"""Names of this machine in addresses that a browser shows."""


def listen(host: str, port: int) -> socket.socket:
    """Open the port before anything large is loaded.

    Raises
    ------
    MedclsError
        The port is in use or not allowed, or the address is not one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind((host, port))
        opened.listen(128)
    except OSError as error:
        opened.close()
        raise MedclsError(
            f"Nothing can listen on host={host} port={port}: {error.strerror}. Give another port, or port=0 for any "
            "that is free.",
            kind="port_not_free",
        ) from error
    return opened


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine reach an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def address(opened: socket.socket) -> str:
    """The address to open in a browser."""
    host, port = opened.getsockname()[:2]
    host = "localhost" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host  # noqa: S104
    return f"http://{host}:{port}/"


def serve(app: ASGIApp, opened: socket.socket) -> None:
    """Serve until the process is interrupted.

    Raises
    ------
    KeyboardInterrupt
        Ctrl-C, or SIGTERM as the caller handles it.
    """
    config = uvicorn.Config(
        app,
        # File names and addresses of clients are in no log.
        log_config=None, access_log=False, server_header=False, ws="none", proxy_headers=False,
        timeout_graceful_shutdown=SECONDS_TO_END,
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[opened])
