"""The pictures of a run say what they show."""

import numpy as np
import pytest
from PIL import Image
from refusals import refused, rules

from medcls.data.module import ImageDataModule
from medcls.data.sources.folders import from_folders
from medcls.data.splits.split import split
from medcls.data.transforms import Augmentation
from medcls.plots import plots
from medcls.preprocessing import Preprocessing
from medcls.workflow import training_plots as pictures

pytestmark = pytest.mark.usefixtures("drawn_figures")


@pytest.fixture
def shown(folder, monkeypatch):
    """Draw the data's pictures under a resize policy; gives what `images_figure` was asked to show."""
    manifest = split(from_folders(folder({"a": 12, "b": 12, "c": 3 * 4}), label_map=None))
    asked = {}
    real = plots.plot_images

    def spy(images, titles, caption, watermark=None):
        asked.update(images=images, titles=titles, caption=caption, watermark=watermark)
        return real(images, titles, caption, watermark)

    monkeypatch.setattr(plots, "plot_images", spy)

    def draw(policy: str) -> dict:
        preprocessing = Preprocessing(size=32, mean=(0.5,) * 3, std=(0.5,) * 3, resize=policy)
        still = Augmentation(0, 0, 0, 1, 0, 0, 0)
        pictures.plot_data(ImageDataModule(manifest, preprocessing, still))
        return dict(asked)

    return draw


@pytest.mark.slow
def test_p19_the_resize_policy_is_a_named_choice_shown_in_the_preview(shown):
    outcomes = {policy: shown(policy) for policy in ("squash", "letterbox", "crop")}
    for policy, asked in outcomes.items():
        assert policy in asked["caption"]
        assert {image.shape for image in asked["images"]} == {(32, 32, 3)}
    # 24 x 20 pixels to a square: letterbox leaves black bars at the sides, the others fill the frame.
    assert all(image[:, 0].max() == 0 for image in outcomes["letterbox"]["images"])
    assert all(image[:, 0].max() > 0 for image in outcomes["squash"]["images"] + outcomes["crop"]["images"])
    with refused("bad_value", "preprocessing.resize", "'stretch'", "squash, letterbox, crop"):
        shown("stretch")


@pytest.mark.parametrize(("window", "says"), [((-160, 240), True), ((10_000, 50_000), False)])
def test_p13_a_window_in_which_nothing_lies_is_said(tmp_path, caplog, window, says):
    draw = np.random.default_rng(0)
    for label in "ab":
        (tmp_path / label).mkdir()
        for number in range(8):
            stored = draw.integers(20_000, 40_000, (12, 10)).astype(np.uint16)
            Image.fromarray(stored).save(tmp_path / label / f"{number}.png")
    manifest = split(from_folders(tmp_path, positive="a"))
    preprocessing = Preprocessing(size=16, mean=(0.5,) * 3, std=(0.5,) * 3, window=window)
    pictures.plot_data(ImageDataModule(manifest, preprocessing, Augmentation()))
    assert ("flat_images" in rules(caplog)) == says
    assert ("9 of 9" in caplog.text) == says
    assert ("data.window=[-160.0, 240.0]" in caplog.text) == says


def test_every_class_is_shown_under_its_own_name(shown):
    asked = shown("squash")
    assert set(asked["titles"]) == {"a", "b", "c"}
    # The classes of the test pictures differ in brightness, so a wrong title would be seen.
    means = {
        name: [i.mean() for i, t in zip(asked["images"], asked["titles"], strict=True) if t == name] for name in "abc"
    }
    assert max(means["a"]) < min(means["b"]) and max(means["b"]) < min(means["c"])


def test_classes_called_as_the_table_calls_its_columns_are_counted(folder, monkeypatch):
    manifest = split(from_folders(folder({"groups": 12, "images": 15, "split": 20})))
    asked = {}
    real = plots.plot_data

    def spy(counts, *rest):
        asked["counts"] = counts
        return real(counts, *rest)

    monkeypatch.setattr(plots, "plot_data", spy)
    preprocessing = Preprocessing(size=32, mean=(0.5,) * 3, std=(0.5,) * 3)
    pictures.plot_data(ImageDataModule(manifest, preprocessing, None))
    assert asked["counts"].sum().to_dict() == {"groups": 12, "images": 15, "split": 20}
    assert asked["counts"].index.tolist() == ["train", "val", "test"]


@pytest.mark.parametrize("broken_off", [False, True])
def test_figures_are_written_once_when_the_first_epoch_ends_however_it_ends(tmp_path, broken_off):
    figure = plots.plot_images([np.zeros((8, 8), np.uint8)], ["a"], "n = 1")
    callback = pictures.WritePlots({"training_images": figure}, tmp_path)
    assert not list(tmp_path.iterdir())
    if broken_off:
        callback.on_exception(None, None, KeyboardInterrupt())
    else:
        callback.on_train_epoch_end(None, None)
    written = tmp_path / "training_images.png"
    assert Image.open(written).width > 100 and written.with_suffix(".svg").is_file()
    written.unlink()
    callback.on_train_epoch_end(None, None)
    assert not written.exists()
