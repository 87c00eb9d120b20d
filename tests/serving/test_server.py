"""The port is opened before anything is loaded, and served until the process is interrupted."""

import logging
import os
import signal
import threading

import httpx
import pytest
from refusals import refused

from medcls.errors import MedclsError
from medcls.serving.server import address, is_loopback, listen, serve


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("10.0.0.1", False), ("example.org", False)],
)  # fmt: skip
def test_loopback_is_this_machine_alone(host, loopback):
    assert is_loopback(host) is loopback


def test_the_address_can_be_opened():
    for host, shown in (("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "localhost")):
        with listen(host, 0) as opened:
            assert address(opened) == f"http://{shown}:{opened.getsockname()[1]}/"


def test_an_address_or_a_port_that_is_not_free_is_named():
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with refused("port_not_free", "host=127.0.0.1", f"port={port}"):
            listen("127.0.0.1", port)
    with listen("127.0.0.1", port) as again:
        assert again.getsockname()[1] == port, "a port that was closed is free at once"
    with refused("port_not_free", "host=203.0.113.1"):  # of no machine (RFC 5737)
        listen("203.0.113.1", 0)


def test_an_address_of_version_6_is_shown_in_brackets():
    try:
        opened = listen("::1", 0)
    except MedclsError:
        pytest.skip("this machine has no IPv6")
    with opened:
        assert address(opened) == f"http://[::1]:{opened.getsockname()[1]}/"


async def show(scope, _, send) -> None:
    """Answer with the address of the client and the headers."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": repr(scope["client"]).encode()})


def test_requests_are_answered_until_the_process_is_interrupted(caplog, request):
    caplog.set_level(logging.INFO, "uvicorn.access")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    answers = []

    def ask(url: str) -> None:
        try:
            answers.append(httpx.get(url, headers={"X-Forwarded-For": "198.51.100.7"}, timeout=10))
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    with listen("127.0.0.1", 0) as opened:
        client = threading.Thread(target=ask, args=(address(opened),))
        client.start()  # the port is open, so that the request waits for the server
        with pytest.raises(KeyboardInterrupt):
            serve(show, opened)
        client.join()
    (answer,) = answers
    assert answer.status_code == 200 and "127.0.0.1" in answer.text, "a client cannot say that it is another"
    assert "server" not in answer.headers
    assert not [record for record in caplog.records if record.name == "uvicorn.access"]
