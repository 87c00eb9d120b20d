"""Who may ask, how much may be sent, and what a browser may load."""

import asyncio
import base64
import json
import logging

import pytest
from asked_server import AskedServer, png

from medcls.serving.guard import MOST_EVENT_BYTES
from medcls.serving.limits import Limits


@pytest.fixture(scope="module")
def server():
    asked = AskedServer(limits=Limits(request_mib=0.1, files=2, seconds=0.5))
    yield asked
    asked.service.close()


@pytest.fixture(scope="module")
def locked():
    asked = AskedServer(password="pass:wörd")
    yield asked
    asked.service.close()


def basic(text: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


@pytest.mark.parametrize("path", ["/predict", "/metrics", "/openapi.json", "/page/", "/page/gradio_api/upload"])
@pytest.mark.parametrize(
    "headers", [{}, basic("me:wrong"), basic("pass:wörd"), {"Authorization": "Basic ??"}, {"Authorization": "Bearer x"}]
)
def test_nothing_is_seen_without_the_password(locked, path, headers):
    answer = locked.get(path, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic")
    assert answer.json()["kind"] == "no_password"


def test_any_user_with_the_password_is_let_in_and_health_needs_none(locked):
    assert locked.get("/metrics", headers=basic("anyone:pass:wörd")).status_code == 200
    assert locked.get("/health").status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:7860", "", "[::2]"])
def test_another_name_of_the_server_is_refused(server, host):
    answer = server.get("/health", headers={"Host": host})
    assert (answer.status_code, answer.json()["kind"]) == (421, "unknown_host")


@pytest.mark.parametrize("host", ["localhost", "localhost:7860", "127.0.0.1:7860", "[::1]:7860", "LOCALHOST"])
def test_this_machine_is_known_by_its_names(server, host):
    assert server.get("/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/docs", "/redoc", "/admin", "/../etc/passwd", "/pagefault", "/page/gradio_api/proxy=http://evil.example/",
        "/page/monitoring", "/page/gradio_api/vibe-edit", "/page/gradio_api/process_recording", "/page/login",
        "/page/gradio_api/run/predict", "/page/gradio_api/call/predict", "/page/gradio_api/runs",
        "/page/custom_component/x", "/page/gradio_api/stream/x",
    ],
)  # fmt: skip
def test_other_paths_do_not_exist(server, path):
    answer = server.get(path)
    assert (answer.status_code, answer.json()["kind"]) == (404, "not_found")


def test_every_answer_keeps_browsers_from_loading_and_keeping_anything(server, locked):
    for answer in (server.get("/health"), server.get("/docs"), locked.get("/metrics"), server.predict(("a", png()))):
        policy = answer.headers["content-security-policy"]
        sources = {word for part in policy.split(";") for word in part.split()[1:]}
        assert sources <= {"'self'", "'none'", "'unsafe-inline'", "'unsafe-eval'", "data:", "blob:"}
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "server" not in answer.headers


def test_a_body_is_refused_by_its_length_before_it_is_read(server):
    read = []

    async def body():
        read.append(1)
        yield b"x"

    answer = server.post(content=body(), headers={"Content-Length": str(10**9)})
    assert (answer.status_code, answer.json()["kind"]) == (413, "request_too_large")
    assert not read


@pytest.mark.parametrize("length", ["-1", "1e3", "9" * 30, "²"])
def test_a_length_that_is_no_number_is_refused(server, length):
    answer = server.post(content=b"x", headers=[(b"content-length", length.encode("latin-1"))])
    assert (answer.status_code, answer.json()["kind"]) == (400, "bad_length")


def test_a_body_without_a_length_is_refused_while_it_arrives(server):
    sent = 0

    async def body():
        nonlocal sent
        yield b'--b\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
        for _ in range(1000):
            sent += 1
            yield bytes(10_000)

    answer = server.post(content=body(), headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert (answer.status_code, answer.json()["kind"]) == (413, "request_too_large")
    assert sent < 100


def test_a_body_that_does_not_arrive_in_time_is_refused(server):
    async def body():
        yield b'--b\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
        await asyncio.sleep(30)

    answer = server.post(content=body(), headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert (answer.status_code, answer.json()["kind"]) == (408, "request_too_slow")


@pytest.mark.parametrize(
    ("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)]
)
def test_a_page_of_another_site_sends_nothing(server, site, status):
    sent = {"files": [("files", ("a.png", png()))], "headers": {"Sec-Fetch-Site": site}}
    assert server.post(**sent).status_code == status
    assert server.get("/health", headers={"Sec-Fetch-Site": site}).status_code == 200


EVENT = "/page/gradio_api/queue/join"


@pytest.fixture(scope="module")
def paged(tmp_path_factory):
    asked = AskedServer(uploads=tmp_path_factory.mktemp("uploads"))
    yield asked
    asked.service.close()


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd", "http://evil.example/a.png", "https://127.0.0.1:1/a", "file:///etc/passwd",
        "UPLOADS/../../secret", "UPLOADS", "", "relative.png", "UPLOADS\0/a",
    ],
)  # fmt: skip
def test_an_event_of_the_page_names_uploaded_files_only(paged, path):
    path = path.replace("UPLOADS", str(paged.guarded._access.uploads))
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    for data in ([file], [[[file]]], {"deep": [{"er": file}]}):
        answer = paged.post(EVENT, json={"data": data, "fn_index": 0, "session_hash": "x"})
        assert (answer.status_code, answer.json()["kind"]) == (403, "not_uploaded")


def test_a_link_out_of_the_folder_is_not_an_upload(paged, tmp_path):
    link = paged.guarded._access.uploads / "link.png"
    link.symlink_to(tmp_path / "secret")
    answer = paged.post(EVENT, json={"data": [{"path": str(link)}]})
    assert answer.json()["kind"] == "not_uploaded"


@pytest.mark.parametrize(
    ("body", "status"), [(b"{", 400), (b"\xff", 400), (b"[" * 10**5, 400), (b" " * (MOST_EVENT_BYTES + 1), 413)]
)
def test_an_event_that_is_no_event_is_refused(paged, body, status):
    assert paged.post(EVENT, content=body).status_code == status


def test_uploads_do_not_fill_the_disk(paged, monkeypatch):
    upload = "/page/gradio_api/upload"
    (paged.guarded._access.uploads / "kept.png").write_bytes(bytes(3000))
    assert paged.post(upload).status_code == 404  # no page is mounted here
    monkeypatch.setattr(paged.guarded, "_limits", Limits(request_mib=0.0002))
    answer = paged.post(upload)
    assert (answer.status_code, answer.json()["kind"]) == (429, "server_full")


def test_an_event_reaches_the_page_as_it_was_sent(paged):
    received = []

    async def application(scope, receive, send):
        message = await receive()
        received.append((message["body"], message["more_body"]))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    event = {"data": [{"path": str(paged.guarded._access.uploads / "a" / "b.png")}]}
    before, paged.guarded._app = paged.guarded._app, application
    try:
        assert paged.post(EVENT, json=event).status_code == 200
    finally:
        paged.guarded._app = before
    ((body, more),) = received
    assert json.loads(body) == event and not more


def test_a_fault_is_logged_and_not_shown(server, monkeypatch, caplog):
    monkeypatch.setattr(server.service, "classify", lambda *_, **__: 1 / 0)
    monkeypatch.setattr(logging.getLogger("medcls"), "propagate", True)
    answer = server.predict(("a.png", png()))
    assert (answer.status_code, answer.json()["kind"]) == (500, "server_fault")
    assert "ZeroDivision" not in answer.text and "Traceback" not in answer.text and ".py" not in answer.text
    assert any(record.exc_info for record in caplog.records)


def test_web_sockets_are_not_answered(server):
    async def connect():
        sent = []

        async def send(message):
            sent.append(message)

        await server.guarded({"type": "websocket", "path": "/page/"}, None, send)
        return sent

    assert asyncio.run(connect()) == []
