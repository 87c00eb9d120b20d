import re

import matplotlib
import numpy as np
import pytest
from made_study import assessment, predictions
from matplotlib.figure import Figure
from PIL import Image

from medcls.evaluation.decision_rules import DecisionRules, fit_decision_rules
from medcls.evaluation.subgroups import at_edges
from medcls.plots.drawing import REPORT_WIDTH, new_figure, save, styled
from medcls.report import run_plots as figures
from medcls.report.run_plots import draw

pytestmark = pytest.mark.usefixtures("drawn_figures")

THREE = ("covid", "normal", "tb")
OF_A_BINARY_TASK = ["confusion", "scores", "roc", "precision_recall", "reliability", "decision", "rejection"]
OF_SEVERAL_CLASSES = ["confusion", "roc", "precision_recall", "reliability", "rejection"]


def sexes(n):
    return np.array(["female", "male"])[np.arange(n) // 2 % 2]


@pytest.fixture(scope="module")
def binary():
    return assessment(predictions(n=120, sex=sexes(120)), bands={"sex": None})


@pytest.fixture(scope="module")
def several():
    fitted = fit_decision_rules(predictions("val", 120, classes=THREE))
    return assessment(predictions(n=120, classes=THREE, sex=sexes(120)), fitted, prevalence=None, bands={"sex": None})


@pytest.fixture
def unsaved(monkeypatch):
    """The figures that would be written, by name, without the time that writing takes."""
    kept = {}

    def keep(figure, path):
        kept[path.name] = figure
        return path.with_suffix(".png"), path.with_suffix(".svg")

    monkeypatch.setattr(figures, "save", keep)
    return kept


def names(drawn) -> list[str]:
    return [one.name for one in drawn]


def words(figure) -> str:
    shown = [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_visible()]
    return "\n".join(text.replace("\n", " ") for text in shown if text)


@pytest.mark.parametrize(("which", "expected"), [("binary", OF_A_BINARY_TASK), ("several", OF_SEVERAL_CLASSES)])
def test_each_task_gets_its_figures_in_the_order_to_be_read(which, expected, request, unsaved, tmp_path):
    one = request.getfixturevalue(which)
    drawn = draw(one, tmp_path, None)
    assert names(drawn) == [f"{name}_test" for name in [*expected, "subgroups_sex"]]
    assert list(unsaved) == names(drawn)
    assert [figure.svg for figure in drawn] == [tmp_path / f"{name}.svg" for name in names(drawn)]
    assert len({figure.title for figure in drawn}) == len(drawn)
    for figure in drawn:
        assert re.fullmatch(r"[A-Z][\w -]{2,40}", figure.title)
        assert re.fullmatch(r"[A-Z].{40,}\.", figure.text)
        assert not re.search(r"\b(nan|None)\b", figure.text)


@pytest.mark.parametrize("which", ["binary", "several"])
def test_the_stamp_and_the_caption_stand_on_every_figure(which, request, unsaved, tmp_path):
    one = request.getfixturevalue(which)
    draw(one, tmp_path, "SYNTHETIC")
    for name, figure in unsaved.items():
        assert "SYNTHETIC" in words(figure).split("\n"), name
        assert "n = 120 images" in words(figure), name
    draw(one, tmp_path, None)
    for name, figure in unsaved.items():
        assert "SYNTHETIC" not in words(figure), name


def test_only_those_asked_for_are_drawn_and_they_are_files(binary, tmp_path):
    drawn = draw(binary, tmp_path / "figures", None, only=("scores", "confusion"))
    assert names(drawn) == ["confusion_test", "scores_test"]
    for one in drawn:
        assert one.svg.read_text().startswith("<?xml")
        assert Image.open(one.svg.with_suffix(".png")).format == "PNG"
    assert len(list((tmp_path / "figures").iterdir())) == 4
    assert draw(binary, tmp_path / "none", None, only=()) == []
    assert not (tmp_path / "none").exists()


def test_figures_are_called_after_their_split(unsaved, tmp_path):
    drawn = draw(assessment(predictions("external", n=120)), tmp_path, None, only=("roc",))
    assert names(drawn) == ["roc_external"]
    nameless = assessment(predictions("", n=120))
    assert names(draw(nameless, tmp_path, None, only=("roc",))) == ["roc_predictions"]


def test_scores_are_drawn_as_they_were_calibrated_with_the_threshold_that_was_fitted(binary, unsaved, tmp_path):
    (drawn,) = draw(binary, tmp_path, None, only=("scores",))
    cases, others = unsaved["scores_test"].axes
    point = binary.decision_rules.operating_point
    assert binary.decision_rules.calibration is not None
    assert [set(axes.lines[0].get_xdata()) for axes in (cases, others)] == [{point.threshold}] * 2
    probability = binary.table.probabilities()[binary.table.labels() == 1, 1]
    heights = [bar.get_height() for bar in cases.patches]
    assert heights == np.histogram(probability, np.linspace(0, 1, 26))[0].tolist()
    assert "threshold" in drawn.text


def test_p44_without_a_threshold_none_is_spoken_of(unsaved, tmp_path):
    nothing = DecisionRules(None, None, None, {})
    one = assessment(predictions(n=120), nothing, prevalence=None)
    scores, confusion = (draw(one, tmp_path, None, only=(name,))[0] for name in ("scores", "confusion"))
    assert "threshold" not in scores.text
    assert "operating point" not in confusion.text
    assert [len(axes.lines) for axes in unsaved["scores_test"].axes] == [0, 0]


def test_the_decision_curve_marks_the_threshold(binary, unsaved, tmp_path):
    draw(binary, tmp_path, None, only=("decision",))
    told = words(unsaved["decision_test"])
    assert f"at {binary.decision_rules.operating_point.threshold:.3g}" in told
    # The number is that of the tables, not what lies between two points of the grid.
    benefit = binary.benefit
    assert f"net benefit {benefit['model']:.3f} ({benefit['low']:.3f} to {benefit['high']:.3f})" in told


def test_each_subgroup_column_has_a_figure_of_its_groups(unsaved, tmp_path):
    table = predictions(n=120, sex=sexes(120), age=(np.arange(120) % 80).astype(str))
    one = assessment(table, bands={"sex": None, "age": at_edges(40)})
    drawn = draw(one, tmp_path, None)[-2:]
    assert names(drawn) == ["subgroups_sex_test", "subgroups_age_test"]
    assert all("AUROC" in figure.title for figure in drawn)
    assert drawn[0].title.endswith("sex") and drawn[1].title.endswith("age")
    axes = unsaved["subgroups_sex_test"].axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["female", "male"]
    told = one.subgroups[0].table()
    expected = told.loc[told["metric"] == "auroc", "value"].tolist()
    dots = next(line for line in axes.lines if line.get_marker() == "o")
    assert list(dots.get_xdata()) == expected
    assert f"all rows: {one.metrics.values['auroc']:.3f}" in words(unsaved["subgroups_sex_test"])


def test_bands_are_those_of_the_seed(binary, unsaved, tmp_path):
    corners = []
    for seed in (0, 0, 1):
        draw(binary, tmp_path, None, seed=seed, only=("roc",))
        corners.append(unsaved["roc_test"].axes[0].collections[0].get_paths()[0].vertices)
    assert np.array_equal(corners[0], corners[1])
    assert not np.array_equal(corners[0], corners[2])


def test_saving_draws_once_a_file_what_matplotlib_itself_would_and_leaves_the_figure_as_it_was(tmp_path, monkeypatch):
    with styled([], "SYNTHETIC") as drawing:
        figure = new_figure(REPORT_WIDTH, 3.0)
        axes = figure.add_subplot()
        axes.set_ylabel("two\nlines")
        drawing.key(axes, [axes.plot([0, 1])[0]], ["a line"])
        drawing.finish(figure, "caption")
    engine, dpi, draw_all = figure.get_layout_engine(), figure.get_dpi(), Figure.draw
    with monkeypatch.context() as patched, matplotlib.rc_context({"figure.constrained_layout.use": True}):
        times = []
        patched.setattr(Figure, "draw", lambda *given: (times.append(1), draw_all(*given)))
        png, svg = save(figure, tmp_path / "saved")
    assert len(times) == 2
    assert svg.is_file()
    assert (figure.get_layout_engine(), figure.get_dpi()) == (engine, dpi)
    figure.savefig(tmp_path / "plain.png", dpi=150, bbox_inches="tight", pad_inches=0.12)
    with Image.open(tmp_path / "plain.png") as plain, Image.open(png) as saved:
        assert np.array_equal(np.asarray(saved), np.asarray(plain))
