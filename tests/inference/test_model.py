"""A model without its framework: any image in, the prediction that evaluate writes out."""

import dataclasses
import io
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from made_files import deep_file, dicom_bytes, dicom_slice
from PIL import Image
from refusals import refused

import medcls
from medcls.evaluation.out_of_distribution import OodLimit
from medcls.evaluation.predictions import probabilities_of
from medcls.inference.model import Model, ModelDescription, Prediction
from medcls.preprocessing import Preprocessing

CLASSES = ("得病", "正常")


@pytest.fixture(scope="module")
def model(finished) -> Model:
    return medcls.load(finished)


def bare(**changed) -> Model:
    """A model without rules, whose logits are the mean of the pixels and its negative."""

    def score(pixels):
        mean = pixels.astype(np.float32).mean(axis=(1, 2, 3)) / 255
        return np.stack([mean, -mean], axis=1)

    settings = {"size": 8, "mean": (0.5,) * 3, "std": (0.2,) * 3} | changed
    return Model(ModelDescription("made", CLASSES, "得病", Preprocessing(**settings), None, (), "0" * 16), score)


@pytest.mark.parametrize("split", ["val", "test"])
def test_it_predicts_what_evaluate_writes(finished, model, split):
    table = pd.read_csv(finished / "predictions" / f"{split}.csv")
    root = finished.parent / "images"
    found = model.predict([root / path for path in table["path"]])
    for name in CLASSES:
        assert np.allclose([p.probabilities[name] for p in found], table[f"prob_{name}"], atol=1e-5)
    assert np.allclose([p.logits for p in found], table[[f"logit_{name}" for name in CLASSES]], atol=1e-5)
    assert np.allclose([p.ood for p in found], table["ood"], atol=1e-5)
    threshold = model.decision_rules.operating_point.threshold
    positive = table["prob_得病"] >= threshold
    assert [p.decision for p in found] == np.where(positive, "得病", "正常").tolist()
    # Of ten images of val no limit can be told.
    assert model.ood_limit is None and {p.out_of_distribution for p in found} == {None}
    least = model.decision_rules.conformal.least
    assert [set(p.prediction_set) for p in found] == [
        {name for name in CLASSES if p.probabilities[name] >= least} for p in found
    ]


def test_p56_a_prediction_is_typed(finished, model):
    found = model.predict(finished.parent / "images" / "得病" / "00.png")
    assert isinstance(found, Prediction)
    assert isinstance(found.index, int) and found.name == CLASSES[found.index]
    assert list(found.probabilities) == list(model.classes) and sum(found.probabilities.values()) == pytest.approx(1)
    assert found.decision in CLASSES and all(isinstance(value, float) for value in (found.ood, *found.logits))


def test_every_form_of_an_image_gives_the_same_pixels(finished, model):
    path = finished.parent / "images" / "正常" / "03.png"
    expected = model.read(path)
    with Image.open(path) as image:
        unread = model.read(image)
        loaded = model.read(image.copy())
        array = model.read(np.asarray(image))
    for other in (model.read(str(path)), model.read(path.read_bytes()), unread, loaded, array):
        assert np.array_equal(other, expected)


def test_16_bit_colour_of_an_unread_pillow_image_is_read_in_full(tmp_path):
    deep = np.random.default_rng(0).integers(0, 2**16, (12, 10, 3)).astype(np.uint16)
    path = tmp_path / "deep.png"
    path.write_bytes(deep_file(deep, "RGB PNG"))
    model = bare(bits=16, window="full")
    with Image.open(path) as image:
        assert np.array_equal(model.read(image), model.read(path))
    assert np.array_equal(model.read(deep), model.read(path))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bits", [8, 16])
def test_arrays_are_read_as_files_of_their_values(tmp_path, channels, bits):
    model = bare(mean=(0.5,) * channels, std=(0.2,) * channels, bits=bits)
    draw = np.random.default_rng(1)
    arrays = {
        "grey": draw.integers(0, 256, (9, 14)).astype(np.uint8),
        "colour": draw.integers(0, 256, (9, 14, 3)).astype(np.uint8),
        "deep": draw.integers(0, 2**16, (9, 14)).astype(np.uint16),
    }
    for name, values in arrays.items():
        Image.fromarray(values).save(tmp_path / f"{name}.png")
        assert np.array_equal(model.read(values), model.read(tmp_path / f"{name}.png")), name
        assert np.array_equal(model.read(Image.fromarray(values)), model.read(tmp_path / f"{name}.png")), name


def test_a_palette_with_transparency_and_a_turned_photo_are_read_as_files(tmp_path):
    model = bare()
    turned = Image.fromarray(np.random.default_rng(2).integers(0, 256, (6, 9, 3)).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    palette = turned.quantize(8)
    palette.info["transparency"] = 3
    palette.save(tmp_path / "palette.png", transparency=3)
    for name in ("turned.png", "palette.png"):
        with Image.open(tmp_path / name) as image:
            image.load()
            assert np.array_equal(model.read(image), model.read(tmp_path / name)), name


def test_dicom_is_read(tmp_path):
    model = bare(mean=(0.5,), std=(0.2,))
    path = tmp_path / "image.dcm"
    path.write_bytes(dicom_bytes(dicom_slice(np.arange(80, dtype=np.uint16).reshape(8, 10))))
    assert np.array_equal(model.read(path.read_bytes()), model.read(path))


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        ("no/such/image.png", "no_such_file"),
        (b"", "not_an_image"),
        (b"some text", "not_an_image"),
        (np.zeros((4, 4), np.float32), "unsupported_image"),
        (np.zeros((3, 4, 5), np.uint8), "unsupported_image"),
        (np.zeros((0, 4), np.uint8), "damaged_image"),
        (7, "not_an_image"),
    ],
)
def test_p58_each_fault_has_its_kind(image, kind):
    with refused(kind):
        bare().predict(image)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_the_limit_of_pixels_holds_for_every_form(monkeypatch):
    monkeypatch.setenv("MEDCLS_MOST_PIXELS", "100")
    pixels = np.zeros((11, 10), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "png")
    for image in (pixels, Image.fromarray(pixels), stream.getvalue()):
        with refused("too_many_pixels"):
            bare().predict(image)


def test_one_bad_image_of_a_list_is_refused_by_its_path(finished, model, tmp_path):
    (tmp_path / "bad.png").write_text("no image")
    with refused("not_an_image") as error:
        model.predict([finished.parent / "images" / "正常" / "00.png", tmp_path / "bad.png"])
    assert "bad.png" in str(error.value)


def test_batches_do_not_matter_and_none_is_fine(finished, model):
    paths = sorted((finished.parent / "images" / "正常").glob("*.png"))[:7]
    together = model.predict(paths)
    for path, found in zip(paths, together, strict=True):
        assert np.allclose(model.predict(path).logits, found.logits, atol=1e-5)
    assert model.predict([]) == []


def test_its_description_is_plain_and_complete(finished, model):
    plain = json.loads(json.dumps(model.described()))
    again = Model.from_described(plain, model._score)
    assert again.description == model.description
    path = finished.parent / "images" / "得病" / "01.png"
    assert again.predict(path) == model.predict(path)


def test_a_description_of_something_else_is_refused(model):
    with refused("damaged_description"):
        Model.from_described({"classes": ["a", "b"]}, model._score)
    with refused("newer_format"):
        Model.from_described(model.described() | {"format": 99}, model._score)


def test_pixels_of_another_shape_or_type_are_refused(model):
    size = (*model.preprocessing.size, 3)
    for pixels in (np.zeros(size, np.uint8), np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, *size), np.uint16)):
        with refused("wrong_shape"):
            model.score(pixels)


def test_logits_that_are_not_finite_are_refused():
    model = bare()
    broken = Model(model.description, lambda pixels: np.full((len(pixels), 2), np.nan, np.float32))
    with refused("not_finite"):
        broken.predict(np.zeros((4, 4), np.uint8))


def test_without_rules_nothing_is_decided():
    found = bare().predict(np.full((5, 5), 200, np.uint8))
    assert (found.decision, found.prediction_set, found.out_of_distribution) == (None, None, None)
    assert found.name == "得病" and list(found.probabilities.values()) == probabilities_of([found.logits])[0].tolist()


def test_images_above_the_limit_are_flagged(model):
    rules = dataclasses.replace(model.decision_rules, ood=OodLimit(-0.7, 0.05, "val", model.checkpoint, 40))
    flagging = Model(dataclasses.replace(model.description, decision_rules=rules), model._score)
    assert flagging.ood_limit == -0.7
    near, far = flagging.judge(np.array([[0.5, -0.5], [0.0, 0.0]]) + np.array([[0.0], [-0.4]]))
    assert (near.ood, near.out_of_distribution) == (pytest.approx(-np.log(np.exp(0.5) + np.exp(-0.5))), False)
    assert (far.ood, far.out_of_distribution) == (pytest.approx(0.4 - np.log(2)), True)


def test_models_are_read_without_torch():
    code = (
        "import sys, medcls.inference.model, medcls.cli.trained_models; "
        "print([m for m in ('torch', 'lightning', 'torchvision') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
