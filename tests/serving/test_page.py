"""The page: nothing from elsewhere, nothing of the machine, names escaped, and what it shows."""

import io
import json
import re
import secrets
import socket
import threading
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest
import uvicorn
from asked_server import AskedServer, png

from medcls.cli.serving import csv_format
from medcls.errors import MedclsError
from medcls.serving.limits import Limits
from medcls.serving.page import NO_TELEMETRY, mount_page, results_html, rows_of
from medcls.serving.server import address, listen
from medcls.serving.service import Answer

# Gradio's own, of pandas.
pytestmark = pytest.mark.filterwarnings("ignore:.*(downcasting|copy keyword)")


class LiveServer(AskedServer):
    """With the page, served by uvicorn in a thread: Gradio's queue belongs to the loop of its server."""

    def __init__(self, uploads: Path) -> None:
        super().__init__(Limits(file_mib=0.01), uploads=uploads, explain=lambda pixels, _: np.ones(pixels.shape[:2]))
        mount_page(self.app, self.service, uploads, csv_format(self.model))
        self._socket = listen("127.0.0.1", 0)
        self._server = uvicorn.Server(uvicorn.Config(self.guarded, log_config=None, timeout_graceful_shutdown=1))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)
        self._thread.start()
        self.client = httpx.Client(base_url=address(self._socket), timeout=30)

    def ask(self, talk):
        raise AssertionError("ask self.client: this server has a loop of its own")

    def get(self, path: str, **settings) -> httpx.Response:
        return self.client.get(path, **settings)

    def post(self, path: str = "/predict", **settings) -> httpx.Response:
        return self.client.post(path, **settings)

    def close(self) -> None:
        self.client.close()
        self._server.should_exit = True
        self._thread.join()
        self.service.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        for name in ("GRADIO_TEMP_DIR", *NO_TELEMETRY):
            patch.setenv(name, "set by mount_page")  # and set back at the end
        asked = []
        look_up = socket.getaddrinfo
        patch.setattr(
            socket, "getaddrinfo", lambda host, *more, **named: asked.append(host) or look_up(host, *more, **named)
        )
        live = LiveServer(tmp_path_factory.mktemp("uploads"))
        yield live
        live.close()
        assert set(asked) <= {"127.0.0.1"}, "no other machine's address is looked up"


def test_the_page_loads_nothing_from_elsewhere(server):
    page = server.get("/page/").text
    loaded = re.findall(r"""(?:src|href|action|srcset)\s*=\s*["']([^"']*)""", page)
    assert len(loaded) > 3
    assert not [link for link in loaded if re.match(r"(https?:)?//", link)]
    for path in ("/page/theme.css", "/page/config"):
        text = server.get(path).text
        assert "fonts.googleapis" not in text and not re.findall(r"url\(['\"]?https?:", text)


def test_the_address_of_the_server_leads_to_the_page(server):
    answer = server.get("/")
    assert answer.status_code == 307 and answer.headers["location"] == "/page/"


def test_gradio_sends_nothing_home(server):
    import gradio

    assert not gradio.analytics.analytics_enabled()
    config = server.get("/page/config").json()
    assert config["analytics_enabled"] is False
    assert not config.get("run_history") and not config["footer_links"]
    assert config["max_file_size"] == server.limits.file_bytes


def upload(server: LiveServer, *files: tuple[str, bytes]):
    return server.post("/page/gradio_api/upload", files=[("files", file) for file in files])


def run_event(server: LiveServer, paths: list[str], session: str) -> dict:
    """Send the event of the button, and return the last message that the page gets of it."""
    config = server.get("/page/config").json()
    number = next(one["id"] for one in config["dependencies"] if len(one["outputs"]) == 2 and one["inputs"])
    data = [[{"path": path, "meta": {"_type": "gradio.FileData"}} for path in paths]]
    event = {"data": data, "fn_index": number, "session_hash": session}
    joined = server.post("/page/gradio_api/queue/join", json=event)
    assert joined.status_code == 200, joined.text
    with server.client.stream("GET", "/page/gradio_api/queue/data", params={"session_hash": session}) as stream:
        for line in stream.iter_lines():
            if line.startswith("data: ") and (message := json.loads(line[6:]))["msg"] == "process_completed":
                return message
    raise AssertionError("the page got no result")


def classify(server: LiveServer, paths: list[str]) -> tuple[str, dict]:
    """What the button shows: its results, and the link to the table."""
    done = run_event(server, paths, secrets.token_hex(4))
    assert done["success"], done
    return done["output"]["data"]


def test_images_are_uploaded_classified_and_the_table_is_downloaded(server):
    paths = upload(server, ("a.png", png(250)), ("b.png", b"text"), ("c.png", png(0, 255))).json()
    for path in paths:
        assert server.guarded._access.uploads in Path(path).parents
    results, table = classify(server, paths)
    assert results.count("<article") == 3 and results.count('src="data:image/jpeg;base64,') == 6
    assert "malignant" in results and "0.750" in results
    assert "http" not in results
    answer = server.get(f"/page/gradio_api/file={table['value']['path']}")
    rows = pd.read_csv(io.StringIO(answer.text), keep_default_na=False).set_index("path")
    assert list(rows.index) == ["a.png", "b.png", "c.png"]
    assert rows.loc["b.png", "error_kind"] == "not_an_image"
    expected = server.model.predict(png(250))
    assert float(rows.loc["a.png", "prob_malignant"]) == pytest.approx(expected.probabilities["malignant"])
    assert rows.loc["a.png", "decision"] == expected.decision
    assert set(rows["stamp"]) == {"SYNTHETIC"} and set(rows["checkpoint"]) == {"abc"}
    assert server.measurements.text().count(b'path="/page/classify",status="200"') > 0


def test_no_image_is_a_sentence_on_the_page(server):
    results, _ = classify(server, [])
    assert "<article" not in results and 'role="alert"' in results


def test_an_upload_that_is_gone_is_a_sentence_on_the_page(server):
    (path,) = upload(server, ("gone.png", png(3))).json()
    Path(path).unlink()
    text = json.dumps(run_event(server, [path], "gone"))
    assert "Traceback" not in text and "FileNotFoundError" not in text and path not in text


def test_an_oversized_upload_is_refused(server):
    answer = upload(server, ("a.png", bytes(20_000)))
    assert answer.status_code == 413
    assert not [path for path in server.guarded._access.uploads.rglob("*.png") if path.stat().st_size > 15_000]


@pytest.mark.parametrize(
    "name", ["../../../evil.png", "/etc/evil.png", "..\\evil.png", "a" * 250 + ".png", "..", "<b>.png"]
)
def test_a_name_leads_out_of_no_folder(server, name):
    answer = upload(server, (name, png(9)))
    assert answer.status_code < 500
    if answer.status_code == 200:
        (path,) = answer.json()
        assert server.guarded._access.uploads in Path(path).resolve().parents
        assert Path(path).read_bytes() == png(9)


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "/proc/self/environ", "http://127.0.0.1:9/", "https://evil.example/a.png", "../../pyproject.toml"],
)
def test_no_other_file_is_served(server, path):
    answer = server.get(f"/page/gradio_api/file={path}")
    assert answer.status_code in (403, 404), answer.text
    assert "root:" not in answer.text


def test_no_file_of_the_program_is_served(server):
    own = Path(__file__)
    for path in (own, own.parents[2] / "pyproject.toml", Path.cwd() / "pyproject.toml"):
        assert server.get(f"/page/gradio_api/file={path}").status_code in (403, 404)


def test_names_are_escaped():
    answers = [
        Answer("<script>alert(1)</script>.png", error=MedclsError("<b>wrong</b>.", "not_an_image")),
        Answer('"onload="x.png', error=MedclsError("no.", "not_an_image")),
    ]
    server = AskedServer()
    server.service.close()
    made = results_html(answers, server.model)
    assert "<script" not in made and "<b>" not in made and '"onload=' not in made
    assert "<img" in results_html([], server.model, problem="<img>").replace("&lt;", "<")
    assert "<img" not in results_html([], server.model, problem="<img>")


def test_p57_an_image_unlike_the_others_is_named_so_and_an_unsure_answer_too():
    server = AskedServer()
    server.service.close()
    image = np.zeros((4, 4, 3), np.uint8)
    made = {
        name: results_html([Answer("a.png", server.model.predict(data), image=image)], server.model)
        for name, data in {"sure": png(250, 250), "unlike": png(0, 0), "unsure": png(0, 200)}.items()
    }
    assert [name for name, page in made.items() if 'class="warning"' in page] == ["unlike"]
    assert [name for name, page in made.items() if 'class="unsure"' in page] == ["unsure"]


def test_a_row_keeps_the_kind_of_an_error():
    (row,) = rows_of([Answer("a.png", error=MedclsError("It is too large.", "file_too_large"))])
    assert (row.path, row.error.kind, row.error.reason) == ("a.png", "file_too_large", "It is too large")
