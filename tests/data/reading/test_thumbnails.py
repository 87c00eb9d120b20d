import base64
import io

import numpy as np
from PIL import Image
from refusals import refused

from medcls.data.reading.thumbnails import thumbnail
from medcls.preprocessing import Decoding


def opened(source):
    kind, data = source.split(",", 1)
    assert kind == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_a_picture_becomes_small_and_keeps_its_aspect(tmp_path):
    Image.fromarray(np.full((400, 200, 3), (200, 30, 30), np.uint8)).save(tmp_path / "red.png")
    source, width, height = thumbnail(tmp_path / "red.png", Decoding())
    assert (width, height) == (80, 160) == opened(source).size
    red, green, _ = np.asarray(opened(source)).reshape(-1, 3).mean(axis=0)
    assert red > 180 and green < 60


def test_a_small_picture_stays_as_it_is_and_grey_becomes_colour(tmp_path):
    Image.fromarray(np.full((9, 12), 77, np.uint8)).save(tmp_path / "grey.png")
    source, width, height = thumbnail(tmp_path / "grey.png", Decoding(channels=1, bits=16))
    assert (width, height) == (12, 9) and opened(source).mode == "RGB"


def test_what_cannot_be_read_says_why(tmp_path):
    (tmp_path / "no.png").write_bytes(b"nothing")
    with refused("not_an_image", "no.png"):
        thumbnail(tmp_path / "no.png", Decoding())
