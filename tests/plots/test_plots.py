import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from refusals import refused

from medcls.evaluation.predictions import TOOK_PART, from_logits
from medcls.plots import curves, drawing, plots
from medcls.statistics.metrics import checked_split

pytestmark = pytest.mark.usefixtures("drawn_figures")

BINARY = ("benign", "malignant")
THREE = ("covid", "normal", "_odd $x$ name")
CAPTION = "test, n = 40 images"


def split(k, n=40, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % k
    scores = rng.random((n, k)) + np.eye(k)[labels]
    return labels, scores / scores.sum(1, keepdims=True)


def history(epochs=30, val_rise=0.0):
    epoch = np.arange(epochs)
    return pd.DataFrame(
        {
            "epoch": epoch,
            "train/loss": 0.7 * np.exp(-epoch / 6),
            "val/loss": 0.2 + 0.6 * np.exp(-epoch / 6) + val_rise * epoch,
            "train/accuracy": 1 - 0.4 * np.exp(-epoch / 6),
            "val/accuracy": 0.9 - 0.4 * np.exp(-epoch / 6),
            "val/auroc": 0.95 - 0.4 * np.exp(-epoch / 6),
            "lr-AdamW": 1e-3 * 0.9**epoch,
        }
    )


def words(figure):
    """Everything a reader can read, after the figure was drawn."""
    figure.canvas.draw()
    return "\n".join(text.get_text() for text in figure.findobj(Text) if text.get_visible() and text.get_text())


def every_plot(classes, watermark=None, caption=CAPTION):
    k = len(classes)
    labels, probabilities = split(k)
    positive = classes[-1] if k == 2 else None
    counts = pd.DataFrame(np.arange(1, 2 * k + 1).reshape(2, k), index=["train", "val"], columns=list(classes))
    pixels = {name: np.random.default_rng(0).integers(0, 256, 500) for name in classes}
    images = [np.zeros((8, 8, 3), np.uint8)] * k
    yield plots.plot_confusion(np.eye(k, dtype=int) * 5, classes, caption, watermark)
    scores = checked_split(labels, probabilities, classes, positive)
    yield curves.plot_roc(curves.PlottedScores(scores, caption, watermark))
    yield plots.plot_training(history(8), [(classes[0], 0, 8)], "val/auroc", 4, caption, watermark)
    yield plots.plot_images(images, classes, caption, watermark)
    yield plots.plot_data(counts, pixels, {n: v / 255 for n, v in pixels.items()}, classes, caption, watermark)


def test_every_figure_says_its_n_and_its_stamp_and_leaves_pyplot_alone():
    before, open_before = dict(matplotlib.rcParams), plt.get_fignums()
    for figure in every_plot(THREE, "SYNTHETIC"):
        assert isinstance(figure, Figure)
        shown = words(figure)
        assert CAPTION in shown
        assert "SYNTHETIC" in shown.split("\n")
    for figure in every_plot(THREE):
        assert "SYNTHETIC" not in words(figure)
    assert dict(matplotlib.rcParams) == before
    assert plt.get_fignums() == open_before


def test_a_figure_that_the_caller_has_open_stays_as_it_was():
    mine = plt.figure()
    axes = mine.add_subplot()
    axes.set_xlabel("mine")
    plots.plot_confusion(np.eye(2, dtype=int), BINARY, CAPTION)
    assert plt.gcf() is mine
    assert axes.get_xlabel() == "mine"
    plt.close(mine)


def test_p54_the_confusion_matrix_has_counts_shares_and_axis_names():
    figure = plots.plot_confusion(np.array([[30, 10], [1, 9]]), BINARY, CAPTION)
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Predicted class", "True class")
    assert [label.get_text() for label in axes.get_xticklabels()] == list(BINARY)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["benign\n(n = 40)", "malignant\n(n = 10)"]
    cells = {tuple(text.get_position()): text.get_text() for text in axes.texts}
    assert cells[(1, 0)] == "10\n(0.25)", "the row is the true class"
    assert cells[(0, 1)] == "1\n(0.10)"


def test_p54_a_class_without_a_case_is_said_to_have_none(recwarn):
    shown = words(plots.plot_confusion(np.array([[3, 1], [0, 0]]), BINARY, CAPTION))
    assert shown.count("0\n(no case)") == 2
    assert "(nan)" not in shown
    assert not [warning for warning in recwarn if issubclass(warning.category, RuntimeWarning)]


@pytest.mark.parametrize("matrix", [np.eye(3, dtype=int), np.eye(2), -np.eye(2, dtype=int)])
def test_what_is_no_confusion_matrix_is_refused(matrix):
    with refused("wrong_shape", "2 x 2", str(matrix.shape)):
        plots.plot_confusion(matrix, BINARY, CAPTION)


def test_p09_the_selection_split_is_written_into_the_figure():
    rows = pd.DataFrame({"path": ["a", "b"], "label": BINARY, "group": "", "split": "val"})
    table = from_logits(rows, [0, 1], [[1.0, 0.0], [0.0, 1.0]], BINARY, "malignant", "abc")
    shown = words(plots.plot_confusion(np.eye(2, dtype=int), BINARY, table.caption()))
    assert TOOK_PART["val"] in shown.replace("\n", " ")


def test_training_figure_shows_phases_gap_rate_and_best_epoch():
    phases = [("head only", 0, 5), ("all", 5, 30), ("never", 40, 50)]
    figure = plots.plot_training(history(), phases, "val/auroc", 17, CAPTION)
    shown = words(figure)
    for said in (
        "phase 1: head only, epochs 0 to 4",
        "phase 2: all, epochs 5 to 29",
        "gap between the two",
        "val/auroc (chose the checkpoint)",
        "best epoch 17",
        "lr-AdamW",
    ):
        assert said in shown
    assert "never" not in shown
    assert len(figure.axes) == 3


def test_the_training_figure_is_as_wide_as_a_page_shows_it_and_its_text_is_no_smaller_than_10_points():
    """At twice the width its text was four pixels high on a phone."""
    figure = plots.plot_training(history(), [("backbone " * 8, 0, 5), ("all", 5, 30)], "val/auroc", 17, CAPTION)
    figure.canvas.draw()
    assert figure.get_figwidth() == drawing.REPORT_WIDTH
    assert min(text.get_fontsize() for axes in figure.axes for text in axes.get_legend().get_texts()) >= 10
    assert all(axes.get_position().width > 0.7 for axes in figure.axes), (
        "no name in a legend takes room from the curves"
    )


def test_training_figure_takes_a_logger_table_with_gaps_and_no_rates():
    table = history(2).drop(columns=["lr-AdamW", "train/accuracy"])
    gappy = pd.concat([table[["epoch", "train/loss"]], table.drop(columns="train/loss")]).sort_values("epoch")
    figure = plots.plot_training(gappy, [], "val/loss", None, CAPTION)
    assert len(figure.axes) == 2
    assert len(figure.axes[0].lines[0].get_xdata()) == 2
    with refused("missing_column", "'epoch'"):
        plots.plot_training(table.drop(columns="epoch"), [], "val/loss", None, CAPTION)


def test_p37_losses_as_in_the_tutorial_raise_the_alarm_in_the_figure():
    table = history()
    table["train/loss"] = np.geomspace(0.7, 1e-8, 30)
    table["val/loss"] = np.concatenate([np.linspace(0.8, 0.5, 6), np.linspace(0.5, 2.7, 24)])
    alarm = plots.overfitting_warning(table)
    assert alarm.startswith("Overfitting")
    assert all(said in alarm for said in ("0.56", "epoch 4", "2.51"))
    shown = words(plots.plot_training(table, [], "val/auroc", 3, CAPTION))
    assert alarm in shown.replace("\n", " ")


def test_p37_memorised_images_raise_it_without_a_rise():
    table = history()
    table["train/loss"] = np.geomspace(0.7, 1e-6, 30)
    table["val/loss"] = np.linspace(2.7, 2.5, 30)
    assert "2.5" in plots.overfitting_warning(table)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({}, id="healthy"),
        pytest.param({"val/loss": [0.5] * 12 + [3.0] + [0.5] * 17}, id="one odd epoch"),
        pytest.param({"train/loss": [0.001] * 30, "val/loss": [0.02] * 30}, id="both tiny"),
        pytest.param({"train/loss": np.linspace(0.3, 0.9, 30), "val/loss": np.linspace(0.3, 2.0, 30)}, id="diverging"),
    ],
)
def test_p37_no_false_alarm(change):
    assert plots.overfitting_warning(history().assign(**change)) is None


def test_p37_noise_on_a_small_val_split_raises_no_alarm():
    alarms = 0
    for seed in range(50):
        noise = np.random.default_rng(seed).lognormal(0, 0.15, 30)
        alarms += plots.overfitting_warning(history().assign(**{"val/loss": 0.35 * noise})) is not None
    assert alarms <= 1


def test_p37_needs_five_epochs_and_both_losses():
    table = history(30, val_rise=0.2)
    table["train/loss"] = np.geomspace(0.7, 1e-8, 30)
    assert plots.overfitting_warning(table) is not None
    assert plots.overfitting_warning(table.head(4)) is None
    assert plots.overfitting_warning(table.drop(columns="val/loss")) is None


def test_images_are_refused_when_they_are_no_8_bit_images():
    for images, titles, kind in (
        ([np.zeros((4, 4, 3))], ["a"], "wrong_shape"),
        ([np.zeros((3, 4, 4), np.uint8)], ["a"], "wrong_shape"),
        ([np.zeros((4, 4), np.uint8)], [], "images_without_titles"),
        ([], [], "images_without_titles"),
    ):
        with refused(kind):
            plots.plot_images(images, titles, CAPTION)


def test_data_figure_names_a_class_that_is_missing():
    counts = pd.DataFrame([[1, 2]], index=["train"], columns=list(BINARY))
    pixels = {name: np.arange(9) for name in BINARY}
    shown = words(plots.plot_data(counts, pixels, pixels, BINARY, CAPTION))
    assert "train (n = 3)" in shown
    with refused("missing_class", "after", "malignant"):
        plots.plot_data(counts, pixels, {"benign": np.arange(9)}, BINARY, CAPTION)


def test_whole_numbers_are_binned_alike():
    counts, _ = np.histogram(np.arange(256), plots._edges(np.arange(256.0)))
    assert set(counts) == {4}
    assert len(plots._edges(np.array([3.0, 3.0]))) >= 2
    assert len(plots._edges(np.array([]))) == 2


def test_save_writes_png_and_svg_that_are_equal_each_time(tmp_path):
    figure = plots.plot_confusion(np.eye(2, dtype=int), BINARY, CAPTION, "SYNTHETIC")
    png, svg = drawing.save(figure, tmp_path / "deep" / "confusion.v1")
    assert (png.name, svg.name) == ("confusion.v1.png", "confusion.v1.svg")
    with Image.open(png) as image:
        assert min(image.size) > 400
    first = svg.read_bytes()
    again = plots.plot_confusion(np.eye(2, dtype=int), BINARY, CAPTION, "SYNTHETIC")
    assert drawing.save(again, tmp_path / "deep" / "confusion.v1.png")[1].read_bytes() == first
    assert sorted(entry.name for entry in (tmp_path / "deep").iterdir()) == ["confusion.v1.png", "confusion.v1.svg"]


def test_save_leaves_nothing_half_written(tmp_path, monkeypatch):
    figure = plots.plot_confusion(np.eye(2, dtype=int), BINARY, CAPTION)

    def full_disk(self, path, **kwargs):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full_disk)
    with pytest.raises(OSError, match="No space"):
        drawing.save(figure, tmp_path / "confusion")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_names_that_matplotlib_would_misread_are_shown_as_they_are(tmp_path):
    names = ("_hidden", "cost $5$ or $x^", "<script>alert(1)</script>", "two\nlines", "a" * 300)
    for number, figure in enumerate(every_plot(names)):
        shown = words(figure)
        drawing.save(figure, tmp_path / str(number))
        assert "a" * 200 not in shown, "long names are shortened"
    figure = curves.plot_roc(curves.PlottedScores(checked_split(*split(5), names, None), CAPTION))
    entries = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert "_hidden" in entries[0]
    assert r"cost \$5\$ or \$x^" in entries[1]  # matplotlib draws \$ as a plain dollar sign
    assert "two lines" in entries[3]
    assert "<script>" not in (tmp_path / "1.svg").read_text()
