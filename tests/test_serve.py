"""`python -m medcls.serve` from its start to its end, as a process of its own."""

import io
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from refusals import refused_command

import medcls
from medcls import serve


@pytest.fixture(scope="module")
def served(finished, tmp_path_factory) -> Iterator[tuple[httpx.Client, subprocess.Popen, Path]]:
    """A client, the process, and the folder that its temporary files are in."""
    here = tmp_path_factory.mktemp("served")
    temporary = here / "tmp"
    temporary.mkdir()
    command = [sys.executable, "-m", "medcls.serve", f"run={finished}", "port=0", "limits.megapixels=5"]
    environment = os.environ | {"TMPDIR": str(temporary), "MEDCLS_PASSWORD": "secret", "OMP_NUM_THREADS": "1"}
    with (here / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=here, env=environment)
    try:
        end = time.monotonic() + 120
        while "http://" not in (text := (here / "log").read_text(encoding="utf-8")):
            assert process.poll() is None and time.monotonic() < end, text
            time.sleep(0.2)
        base = "http://" + text.split("http://")[1].split()[0]
        with httpx.Client(base_url=base, auth=("anyone", "secret"), timeout=60) as client:
            yield client, process, temporary
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_served_run_answers_as_python_does_and_leaves_nothing(served, finished):
    client, process, temporary = served
    assert client.get("/health").json()["status"] == "ok"
    assert httpx.get(client.base_url.join("/metrics")).status_code == 401
    (private,) = temporary.glob("medcls-serve-*")
    assert private.stat().st_mode & 0o777 == 0o700
    images = sorted((finished.parent / "images").rglob("*.png"))
    model = medcls.load(finished)
    expected = {path: model.predict(path) for path in images}

    def one_client(number: int) -> int:
        with httpx.Client(base_url=client.base_url, auth=client.auth, timeout=60) as own:
            for k in range(50):
                path = images[(7 * number + k) % len(images)]
                answer = own.post("/predict", files={"files": (f"{number}-{k}.png", path.read_bytes())})
                assert answer.status_code == 200, answer.text
                (found,) = answer.json()["images"]
                assert found["file"] == f"{number}-{k}.png"
                assert found["probabilities"] == pytest.approx(expected[path].probabilities, abs=1e-5)
                assert found["decision"] == expected[path].decision
        return 50

    with ThreadPoolExecutor(20) as pool:
        assert sum(pool.map(one_client, range(20))) == 1000
    text = client.get("/metrics").text
    assert 'medcls_images_total{outcome="predicted"} 1000.0' in text
    assert "medcls_score_drift_statistic 0." in text and "medcls_ood_drift_statistic 0." in text
    page = client.get("/page/")
    assert page.status_code == 200 and "medcls" in page.text
    uploaded = client.post("/page/gradio_api/upload", files={"files": ("a.png", images[0].read_bytes())}).json()
    assert Path(uploaded[0]).read_bytes() == images[0].read_bytes() and private in Path(uploaded[0]).parents
    from PIL import Image

    large = io.BytesIO()
    Image.new("1", (3000, 2000)).save(large, "PNG")
    assert client.post("/predict", files={"files": ("a.png", large.getvalue())}).json()["kind"] == "too_many_pixels"
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143
    assert list(temporary.iterdir()) == []


def test_a_port_that_is_taken_is_named_before_anything_is_loaded(finished, monkeypatch):
    monkeypatch.delenv("MEDCLS_MOST_PIXELS", raising=False)
    monkeypatch.setenv("MEDCLS_MOST_PIXELS", "1")  # and set back at the end
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused_command("port_not_free", (f"port={port}",), serve.main, f"run={finished}", f"port={port}")


def test_a_run_that_is_none_is_refused_and_the_port_is_free_again(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDCLS_MOST_PIXELS", "1")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    refused_command("not_a_run", (str(tmp_path),), serve.main, f"run={tmp_path}", f"port={port}")
    with socket.create_server(("127.0.0.1", port)):
        pass
