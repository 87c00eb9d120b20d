"""`/predict` answers each image with its own prediction, and whatever else is sent with a sentence."""

import asyncio
import contextlib
import json
import tempfile
from collections import Counter
from pathlib import Path

import pytest
import schemathesis
from asked_server import AskedServer, png
from hostile_files import HOSTILE_NAMES, INFLATED, dicom, hostile_files
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.specs.openapi.checks import positive_data_acceptance
from served_model import MeanColour, served_model

from medcls.serving.limits import Limits

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore::UserWarning:pydicom")

LIMITS = Limits(file_mib=2, request_mib=10, files=5, megapixels=20)


@pytest.fixture(scope="module")
def server():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDCLS_MOST_PIXELS", str(LIMITS.pixels))
        patch.setattr("medcls.data.reading.dicom.MOST_BYTES", INFLATED)
        asked = AskedServer(LIMITS)
        yield asked
        asked.service.close()


def test_p56_an_answer_is_what_python_predicts(server):
    answer = server.predict(("a.png", png(200, 30)))
    assert answer.status_code == 200
    found, expected = answer.json(), server.model.predict(png(200, 30))
    (image,) = found["images"]
    for name in ("name", "index", "decision", "out_of_distribution"):
        assert image[name] == getattr(expected, name)
    assert image["probabilities"] == pytest.approx(expected.probabilities, abs=1e-12)
    assert image["prediction_set"] == list(expected.prediction_set)
    assert image["ood"] == pytest.approx(expected.ood)
    assert found["classes"] == list(server.model.classes) and found["threshold"] == 0.75
    assert found["watermarks"] == ["SYNTHETIC"] and found["checkpoint"] == "abc" and found["notice"]


def test_dicom_is_read_too(server):
    assert server.predict(("1.2.3", dicom())).json()["images"][0]["error"] is None


def test_p59_each_of_several_files_has_its_row(server):
    answer = server.predict(("a.png", png(10)), ("a.png", b"text"), ("b.png", png(250)))
    assert answer.status_code == 200
    first, second, third = answer.json()["images"]
    assert [one["file"] for one in (first, second, third)] == ["a.png", "a.png", "b.png"]
    assert first["probabilities"] == pytest.approx(server.model.predict(png(10)).probabilities)
    assert third["probabilities"] == pytest.approx(server.model.predict(png(250)).probabilities)
    assert second["error"]["kind"] == "not_an_image"
    assert {value for key, value in second.items() if key not in ("file", "error")} == {None}


def check_refused(answer, *statuses: int) -> dict:
    """A 4xx with a sentence, which shows nothing of the program or the machine."""
    assert 400 <= answer.status_code < 500, answer.text
    assert not statuses or answer.status_code in statuses, answer.text
    found = answer.json()
    assert set(found) == {"detail", "kind"}
    assert found["detail"].endswith(".") and " " in found["detail"]
    assert found["kind"].replace("_", "").isalpha()
    for revealed in ("Traceback", 'File "', ".py", "site-packages", "Secret", str(Path.home()), tempfile.gettempdir()):
        assert revealed not in answer.text
    return found


@pytest.fixture(scope="module")
def hostile() -> dict[str, bytes]:
    files = hostile_files()
    assert len(files) >= 40
    return files


def test_p58_hostile_files_get_a_sentence_and_the_next_image_is_predicted(server, hostile):
    for what, data in hostile.items():
        for name in ("image.png", "image.dcm"):
            found = check_refused(server.predict((name, data)), 413, 422)
            assert name in found["detail"], what
    assert server.predict(*[("a.png", hostile[what]) for what in ("text", "noise", "half a PNG")]).status_code == 422
    assert server.predict(("a.png", png(77))).json()["images"][0]["error"] is None


def test_hostile_files_beside_a_good_one_do_not_harm_it(server, hostile):
    expected = server.model.predict(png(90)).probabilities
    names = iter(hostile)
    for what in names:
        found = server.predict(("a.png", hostile[what]), ("good.png", png(90))).json()["images"]
        assert found[0]["error"] and found[1]["probabilities"] == pytest.approx(expected)


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=range(len(HOSTILE_NAMES)))
def test_a_name_is_repeated_and_never_used(server, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = server.predict((name, png(50)))
    assert answer.status_code == 200
    shown = answer.json()["images"][0]["file"]
    assert shown == (HOSTILE_NAMES[name] or shown)
    assert "/" not in shown and "\\" not in shown.replace("\\u202e", "") and len(shown) <= 100 and shown.isprintable()
    assert list(tmp_path.iterdir()) == []


FORM = {"Content-Type": "multipart/form-data; boundary=b"}
PART = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({}, 415),
        ({"content": b"x"}, 415),
        ({"json": {"files": ["a"]}}, 415),
        ({"data": {"files": "a"}}, 415),
        ({"content": b"x", "headers": {"Content-Type": "image/png"}}, 415),
        ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 400),
        ({"content": b"", "headers": FORM}, 422),
        ({"content": b"no part at all", "headers": FORM}, 400),
        ({"content": b"--b\r\n\r\n\r\n--b--\r\n", "headers": FORM}, 400),
        ({"content": PART + b"cut off", "headers": FORM}, 422),
        ({"content": PART.replace(b'name="files"; ', b"") + b"x\r\n--b--\r\n", "headers": FORM}, 400),
        ({"content": b"--b\r\n" + b"X-Long: " + b"a" * 100_000 + b"\r\n\r\n\r\n--b--\r\n", "headers": FORM}, 400),
        ({"files": [("file", ("a.png", png()))]}, 422),
        ({"files": [("files", ("a.png", png())), ("other", ("b.png", png()))]}, 422),
        ({"files": [("files", ("a.png", png()))], "data": {"run": "other"}}, 422),
        ({"files": [("files", (None, b"no name, so no file"))]}, 422),
        ({"files": [("files", ("a.png", png()))] * 6}, 400),
        ({"files": [("files", (None, b"x"))] * 30}, 400),
        ({"files": [("files", ("a.png", bytes(2 * 2**20 + 1)))]}, 413),
        ({"files": [("files", ("a.png", bytes(2**21)))] * 6}, 413),
        ({"content": bytes(11 * 2**20), "headers": FORM}, 413),
        ({"files": [("files", (None, bytes(2**21)))]}, 400),
    ],
    ids=range(22),
)
def test_a_form_that_is_none_gets_a_sentence(server, sent, status):
    check_refused(server.post(**sent), status)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
def test_only_post_predicts(server, method):
    answer = server.ask(lambda client: client.request(method, "/predict"))
    assert answer.status_code == 405 and answer.headers["allow"] == "POST"
    assert method == "HEAD" or answer.json()["kind"] == "wrong_method"


def test_the_description_holds_what_the_server_does_and_needs_no_other_server(server):
    described = server.get("/openapi.json").json()
    assert set(described["paths"]) == {"/predict", "/health", "/metrics"}
    form = described["paths"]["/predict"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["properties"]["files"]["maxItems"] == LIMITS.files
    assert {"200", "400", "413", "415", "422", "429", "503"} <= set(described["paths"]["/predict"]["post"]["responses"])
    assert "http" not in json.dumps(described)
    for path in ("/docs", "/redoc", "/docs/oauth2-redirect"):
        assert server.get(path).status_code == 404


def test_health_and_metrics(server):
    assert server.get("/health").json()["status"] == "ok"
    server.predict(("a.png", png()))
    text = server.get("/metrics")
    assert text.headers["content-type"].startswith("text/plain")
    assert 'medcls_requests_total{path="/predict",status="200"}' in text.text
    assert "passwd" not in text.text  # no name of a file or path of a client


async def crowd(client, clients: int, requests: int) -> list[tuple[float, float, int]]:
    """Each client sends images of its own, one after the other; what it asked, what it was answered, in which order."""

    async def one(number: int) -> list[tuple[float, dict]]:
        answers = []
        for k in range(requests):
            level = 255 * (number * requests + k) / (clients * requests)
            answer = await client.post("/predict", files=[("files", (f"{number}-{k}.png", png(level)))])
            assert answer.status_code == 200
            (image,) = answer.json()["images"]
            assert image["file"] == f"{number}-{k}.png"
            answers.append((level, image["probabilities"]["malignant"]))
        return answers

    return [pair for pairs in await asyncio.gather(*map(one, range(clients))) for pair in pairs]


def check_crowd(clients: int, requests: int) -> MeanColour:
    score = MeanColour(seconds=0.002)
    server = AskedServer(model=served_model(score))
    try:
        answered = server.ask(lambda client: crowd(client, clients, requests))
    finally:
        server.service.close()
    assert len(answered) == clients * requests
    reference = served_model()
    expected = [
        prediction.probabilities["malignant"] for prediction in reference.predict([png(x) for x, _ in answered])
    ]
    assert len(set(expected)) > 0.9 * len(expected)  # so that a mixed-up answer would be seen
    assert [p for _, p in answered] == pytest.approx(expected, abs=1e-6)
    return score


def test_twenty_clients_at_once_each_get_the_answer_of_their_image_in_batches():
    score = check_crowd(clients=20, requests=4)
    assert sum(score.batches) == 80
    assert max(score.batches) > 1 and len(score.batches) < 60


@pytest.mark.slow
def test_twenty_clients_with_fifty_requests_lose_and_mix_up_none():
    assert sum(check_crowd(clients=20, requests=50).batches) == 1000


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_schemathesis_finds_no_answer_beyond_the_description(server):
    schema = schemathesis.openapi.from_asgi("/openapi.json", server.guarded, headers={"Host": "localhost"})
    asked = Counter()
    for found in schema.get_all_operations():
        operation = found.ok()
        for mode in schemathesis.GenerationMode:

            @given(case=operation.as_strategy(mode))
            @settings(max_examples=80, deadline=None, database=None, suppress_health_check=list(HealthCheck))
            def check(case):
                answer = case.call(headers={"Host": "localhost"})
                asked[case.path, answer.status_code] += 1
                # By the description any bytes are a file, and few of them are an image.
                case.validate_response(answer, excluded_checks=[positive_data_acceptance])

            with contextlib.suppress(Unsatisfiable):  # what takes no parameter has no wrong ones
                check()
    assert {path for path, _ in asked} == {"/predict", "/health", "/metrics"}
    assert sum(count for (path, _), count in asked.items() if path == "/predict") > 100
