import dataclasses
import itertools
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from refusals import refused
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from medcls.evaluation.calibration import curve_of, fit_temperature, reliability_table
from medcls.evaluation.decision_curve import decision_curve
from medcls.evaluation.predictions import Predictions, from_logits
from medcls.evaluation.referral import rejection_curve
from medcls.evaluation.thresholds import NOT_FITTED, OperatingPoint, fit_operating_point, not_fitted
from medcls.plots import curves, drawing
from medcls.statistics import bands, causes
from medcls.statistics.metrics import checked_split

pytestmark = pytest.mark.usefixtures("drawn_figures")

BINARY = ("benign", "malignant")
CAPTION = "test, n = 40 images"


def table(labels, cases_probability, classes=BINARY, groups=None) -> Predictions:
    """Predictions of a binary task with these probabilities of the second class."""
    labels, score = np.asarray(labels), np.asarray(cases_probability, np.float64)
    return of_probabilities(labels, np.stack([1 - score, score], axis=1), classes, groups)


def of_probabilities(labels, probabilities, classes, groups=None) -> Predictions:
    n = len(labels)
    rows = pd.DataFrame(
        {
            "path": [f"{i}.png" for i in range(n)],
            "label": [classes[k] for k in labels],
            "group": groups if groups is not None else [""] * n,
            "split": "val",
        }
    )
    logits = np.log(np.clip(probabilities, 1e-9, 1))
    return from_logits(rows, np.arange(n), logits, classes, classes[1] if len(classes) == 2 else None, "abc")


def made_up(n=40, seed=0, classes=BINARY, ties=False, pull=0.6) -> Predictions:
    draw = np.random.default_rng(seed)
    labels = np.arange(n) % len(classes)
    probabilities = draw.dirichlet(np.ones(len(classes)), n) + pull * np.eye(len(classes))[labels]
    probabilities /= probabilities.sum(1, keepdims=True)
    if ties and len(classes) == 2:
        return table(labels, np.round(probabilities[:, 1], 1), classes)
    return of_probabilities(labels, probabilities, classes)


def scores(some: Predictions):
    """Whether each row is a case, and its probability."""
    index = some.classes.index(some.positive)
    return (some.labels() == index).astype(int), some.probabilities()[:, index]


def plotted(some: Predictions, point=None, caption=CAPTION, watermark=None):
    return curves.PlottedScores(some.to_split(), caption, watermark, point)


def every_plot(some: Predictions, caption=CAPTION, watermark=None):
    """All figures that a report draws of one table."""
    point = None if some.positive is None else not_fitted(some)
    scores = plotted(some, point, caption, watermark)
    before, after = reliability_table(some), reliability_table(fit_temperature(some).apply(some))
    subgroups = pd.DataFrame(
        {"name": list(some.classes), "n": 9, "estimate": 0.8, "low": 0.6, "high": [np.nan] * len(some.classes)}
    )
    yield curves.plot_roc(scores, resamples=100)
    yield curves.plot_precision_recall(scores, resamples=100)
    yield curves.plot_reliability(before, after, some.positive, caption, watermark)
    yield curves.plot_rejection(rejection_curve(some), caption, watermark)
    yield curves.plot_forest(subgroups, f"AUROC of {some.classes[0]}", 0.7, caption, watermark)
    if some.positive is not None:
        yield curves.plot_scores(scores)
        yield curves.plot_decision_curve(decision_curve(some), some.positive, caption, watermark, threshold=0.5)


def words(figure) -> str:
    """Everything a reader can read, lines put together."""
    shown = [text.get_text() for text in figure.findobj(Text) if text.get_visible()]
    return "\n".join(text.replace("\n", " ") for text in shown if text)


def entries(figure) -> list[str]:
    """The key, entry by entry."""
    legend = next(axes.get_legend() for axes in figure.axes if axes.get_legend() is not None)
    return [text.get_text().replace("\n", " ") for text in legend.get_texts()]


def band(figure):
    """Lower and upper limit of the shaded band at each point of its grid."""
    corners = figure.axes[0].collections[0].get_paths()[0].vertices
    at = {x: corners[np.isclose(corners[:, 0], x), 1] for x in bands.GRID}
    return np.array([at[x].min() for x in bands.GRID]), np.array([at[x].max() for x in bands.GRID])


def marker(figure):
    """Where the operating point stands."""
    line = next(line for line in figure.axes[0].lines if line.get_marker() in ("o", "D"))
    return float(line.get_xdata()[0]), float(line.get_ydata()[0])


# --- ROC


@pytest.mark.parametrize("ties", [False, True])
def test_the_area_under_the_roc_line_is_the_auroc_in_its_key(ties):
    some = made_up(60, ties=ties)
    figure = curves.plot_roc(plotted(some), resamples=10)
    false, true = figure.axes[0].lines[0].get_data()
    area = roc_auc_score(*scores(some))
    assert np.trapezoid(true, false) == pytest.approx(area, abs=1e-12)
    assert entries(figure)[0] == f"AUROC {area:.3f} malignant (30 of 60)".replace(" malignant", "  malignant")
    corners = set(zip(*roc_curve(*scores(some))[:2], strict=True))
    assert set(zip(false, true, strict=True)) <= corners


def test_roc_draws_the_named_class():
    some = made_up(seed=3)
    other = Predictions(some.rows, some.classes, "benign")
    first, second = (curves.plot_roc(plotted(one), resamples=10) for one in (some, other))
    assert "malignant (20 of 40)" in entries(first)[0]
    assert "benign (20 of 40)" in entries(second)[0]
    assert len(first.axes[0].lines) == 2, "one curve and the diagonal"


def test_p43_a_curve_of_hard_labels_is_refused():
    labels = np.arange(40) % 2
    called = np.where(np.arange(40) % 5 == 0, 1 - labels, labels)
    for draw in (curves.plot_roc, curves.plot_precision_recall):
        with refused("hard_labels"):
            draw(curves.PlottedScores(checked_split(labels, np.eye(2)[called], BINARY, "malignant"), CAPTION))


@pytest.mark.parametrize("draw", [curves.plot_roc, curves.plot_precision_recall])
def test_p50_classes_without_cases_are_named(draw):
    some = made_up(classes=("covid", "normal", "tb"))
    labels, probabilities = np.where(some.labels() == 2, 1, some.labels()), some.probabilities()
    figure = draw(curves.PlottedScores(checked_split(labels, probabilities, some.classes, None), CAPTION))
    assert re.search(r"undefined: .*\btb\b", words(figure))
    assert ["covid" in entry or "normal" in entry for entry in entries(figure)] == [True, True, False]
    cases = checked_split([1] * 40, made_up().probabilities(), BINARY, "malignant")
    shown = words(draw(curves.PlottedScores(cases, CAPTION)))
    assert re.search(r"undefined: .*malignant", shown)


def test_several_classes_have_a_line_each_and_no_band():
    some = made_up(60, classes=("covid", "normal", "tb"))
    figure = curves.plot_roc(plotted(some))
    assert not figure.axes[0].collections
    for k, line in enumerate(figure.axes[0].lines[:3]):
        area = roc_auc_score(some.labels() == k, some.probabilities()[:, k])
        assert np.trapezoid(line.get_ydata(), line.get_xdata()) == pytest.approx(area, abs=1e-12)
    assert len({(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines}) == 4


# --- bands


@pytest.mark.parametrize(
    ("draw", "of"),
    [(curves.plot_roc, bands.sensitivity_band), (curves.plot_precision_recall, bands.precision_band)],
)
def test_the_band_drawn_is_the_one_computed(draw, of):
    some = made_up(80, seed=4)
    patients = [f"patient {row // 2}" for row in range(80)]
    grouped = dataclasses.replace(some, rows=some.rows.assign(group=patients))
    one = grouped.to_split().count().one_vs_rest[0]
    figure = draw(plotted(grouped), resamples=50, seed=3)
    for drawn, computed in zip(band(figure), of(one, 50, 3), strict=True):
        assert drawn == pytest.approx(computed)
    assert any("95%" in entry and "40 groups" in entry for entry in entries(figure))
    assert "80 images" in words(draw(plotted(some), resamples=10))


def test_one_group_has_no_band_and_says_so():
    some = made_up()
    figure = curves.plot_roc(plotted(dataclasses.replace(some, rows=some.rows.assign(group="one patient"))))
    assert any(causes.ONE_GROUP in entry for entry in entries(figure))
    assert not figure.axes[0].collections


# --- the operating point


def test_the_operating_point_stands_where_its_threshold_leads():
    some = made_up(200, seed=6)
    point = fit_operating_point(some, "sensitivity>=0.9", resamples=50)
    case, score = scores(some)
    called = score >= point.threshold
    sensitivity, specificity, precision = called[case == 1].mean(), (~called)[case == 0].mean(), case[called].mean()
    roc = curves.plot_roc(plotted(some, point), resamples=10)
    assert marker(roc) == pytest.approx((1 - specificity, sensitivity))
    said = f"sensitivity {sensitivity:.2f}, specificity {specificity:.2f}"
    assert any(said in entry and entry.endswith(point.label()) for entry in entries(roc))
    recall = curves.plot_precision_recall(plotted(some, point), resamples=10)
    assert marker(recall) == pytest.approx((sensitivity, precision))
    assert f"sensitivity {sensitivity:.2f}, precision {precision:.2f}" in words(recall)


def test_a_row_at_the_threshold_is_called():
    some = table([0, 0, 1, 1], [0.1, 0.5, 0.5, 0.9])
    figure = curves.plot_roc(plotted(some, OperatingPoint("fixed", 0.5, "malignant")))
    assert marker(figure) == (0.5, 1.0)


def test_p44_a_threshold_that_nobody_fitted_is_said_to_be_so_and_drawn_hollow():
    some = made_up()
    figure = curves.plot_roc(plotted(some, not_fitted(some)), resamples=10)
    assert f"0.5 ({NOT_FITTED})" in words(figure)
    line = next(line for line in figure.axes[0].lines if line.get_marker() == "o")
    assert line.get_markerfacecolor() == "white"


@pytest.mark.parametrize("draw", [curves.plot_roc, curves.plot_precision_recall])
def test_p45_thresholds_of_0_and_1_are_marked(draw):
    some = made_up()
    everything = OperatingPoint("fixed=0", 0.0, "malignant")
    nothing = OperatingPoint("fixed=1", 1.0, "malignant")
    assert "sensitivity 1.00" in words(draw(plotted(some, everything), resamples=10))
    assert "sensitivity 0.00" in words(draw(plotted(some, nothing), resamples=10))


def test_p48_an_operating_point_of_another_class_is_refused():
    some = made_up()
    with refused("different_positive_class", "'benign'", "'malignant'"):
        curves.plot_roc(plotted(some, OperatingPoint("fixed", 0.5, "benign")))
    several = made_up(classes=("covid", "normal", "tb"))
    with refused("different_positive_class", "'tb'"):
        curves.plot_roc(plotted(several, OperatingPoint("fixed", 0.5, "tb")))


# --- precision and recall


@pytest.mark.parametrize("ties", [False, True])
def test_the_area_under_the_precision_steps_is_the_average_precision(ties):
    some = made_up(61, seed=9, ties=ties)
    figure = curves.plot_precision_recall(plotted(some), resamples=10)
    recall, precision = figure.axes[0].lines[0].get_data()
    area = average_precision_score(*scores(some))
    assert np.trapezoid(precision, recall) == pytest.approx(area, abs=1e-12)
    assert f"Average precision {area:.3f}" in entries(figure)[0]
    moves = np.diff(np.stack([recall, precision]))
    assert (np.abs(moves).min(axis=0) < 1e-12).all(), "along one axis at a time"
    assert f"the prevalence, {30 / 61:.3f}" in words(figure)
    assert any(line.get_linestyle() == "--" and set(line.get_ydata()) == {30 / 61} for line in figure.axes[0].lines)


# --- scores


def test_scores_are_counted_by_true_class_with_the_threshold_in_both():
    some = table([0, 0, 0, 1, 1], [0.01, 0.03, 0.5, 0.99, 1.0])
    figure = curves.plot_scores(plotted(some, not_fitted(some)))
    of_cases, of_others = ([bar.get_height() for bar in axes.patches] for axes in figure.axes)
    assert of_cases == [0] * 24 + [2]
    assert of_others == [2] + [0] * 11 + [1] + [0] * 12
    assert [axes.get_title() for axes in figure.axes] == ["malignant, n = 2", "benign, n = 3"]
    assert [set(axes.lines[0].get_xdata()) for axes in figure.axes] == [{0.5}] * 2
    (entry,) = entries(figure)
    assert "malignant" in entry and entry.endswith(f"0.5 ({NOT_FITTED})")
    with refused("not_binary"):
        curves.plot_scores(plotted(made_up(classes=("covid", "normal", "tb"))))


# --- reliability


def test_reliability_draws_what_the_tables_and_the_curves_say():
    some = made_up(200, seed=7)
    calibrated = fit_temperature(some).apply(some)
    before, after = reliability_table(some), reliability_table(calibrated)
    smooth = {"curve_before": curve_of(some), "curve": curve_of(calibrated)}
    figure = curves.plot_reliability(before, after, "malignant", CAPTION, **smooth)
    upper, lower = figure.axes
    light, line, points = upper.lines[1], upper.lines[2], upper.lines[3]
    for drawn, curve in ((light, smooth["curve_before"]), (line, smooth["curve"])):
        assert drawn.get_xydata() == pytest.approx(np.column_stack([curve.predicted, curve.observed]))
    band = upper.collections[0].get_paths()[0].vertices
    assert smooth["curve"].low.min() == pytest.approx(band[:, 1].min())
    assert smooth["curve"].high.max() == pytest.approx(band[:, 1].max())
    assert points.get_xydata() == pytest.approx(after[["predicted", "observed"]].to_numpy())
    limits = np.array([segment[:, 1] for segment in upper.collections[1].get_segments()])
    assert limits == pytest.approx(after[["low", "high"]].to_numpy())
    assert [bar.get_height() for bar in lower.patches] == after["n"].tolist()
    assert lower.get_yscale() == "linear"
    assert "malignant" in lower.get_xlabel() and upper.get_ylabel() == "Observed share"
    told = f"(ICI {smooth['curve'].ici:.3f}, E50 {smooth['curve'].e50:.3f}, E90 {smooth['curve'].e90:.3f})"
    _, first, second, of_band, in_bins = entries(figure)
    assert first.startswith("before") and second.startswith("after") and second.endswith(told)
    assert "95%" in of_band and "Wilson" in in_bins


def test_a_curve_that_there_is_not_is_named():
    flat = table([0, 1] * 20, [0.3] * 40)
    figure = curves.plot_reliability(None, reliability_table(flat), "malignant", CAPTION, curve=curve_of(flat))
    assert any(causes.SAME_PROBABILITY in entry for entry in entries(figure))


def test_reliability_of_several_classes_and_of_one_table_alone():
    some = made_up(60, classes=("covid", "normal", "tb"))
    figure = curves.plot_reliability(reliability_table(some), None, None, CAPTION)
    assert "Confidence" in figure.axes[1].get_xlabel()
    assert figure.axes[0].get_ylabel() != "Observed share"
    assert "after calibration" not in words(figure)
    assert sum(bar.get_height() for bar in figure.axes[1].patches) == 60
    with refused("nothing_to_draw"):
        curves.plot_reliability(None, None, "malignant", CAPTION)


@pytest.mark.filterwarnings("error::UserWarning")
def test_reliability_of_no_rows_says_so():
    nothing = reliability_table(table([0, 1], [0.2, 0.6])).head(0)
    figure = curves.plot_reliability(None, nothing, "malignant", CAPTION)
    figure.canvas.draw()
    assert len(figure.axes[0].texts) == 1 and not figure.axes[0].collections


# --- decision curve


def test_the_decision_curve_is_drawn_as_computed_and_cut_where_treating_all_runs_away():
    some = made_up(120, seed=8)
    curve = decision_curve(some)
    figure = curves.plot_decision_curve(curve, "malignant", CAPTION, threshold=0.3)
    axes = figure.axes[0]
    assert axes.lines[0].get_xydata() == pytest.approx(curve[["threshold", "model"]].to_numpy())
    assert axes.lines[1].get_xydata() == pytest.approx(curve[["threshold", "treat_all"]].to_numpy())
    assert set(axes.lines[2].get_ydata()) == {0}
    (band,) = axes.collections
    drawn = {tuple(point) for point in band.get_paths()[0].vertices.tolist()}
    for name in ("low", "high"):
        assert set(curve[["threshold", name]].itertuples(index=False, name=None)) <= drawn
    assert any("95% band" in entry for entry in entries(figure))
    assert curve["treat_all"].min() < -40
    bottom, top = axes.get_ylim()
    assert -0.5 < bottom < 0 < curve["model"].max() < top < 1
    benefit = float(curve.loc[np.isclose(curve["threshold"], 0.3), "model"].iloc[0])
    assert marker(figure) == pytest.approx((0.3, benefit))
    (row,) = curve[np.isclose(curve["threshold"], 0.3)].to_dict("records")
    limits = f"{benefit:.3f} ({row['low']:.3f} to {row['high']:.3f})"
    assert any(entry.endswith(f"{limits} at 0.3") for entry in entries(figure))


def test_p45_an_operating_point_beyond_the_decision_curve_is_said_and_not_drawn():
    figure = curves.plot_decision_curve(decision_curve(made_up()), "malignant", CAPTION, threshold=0.0)
    assert re.search(r"operating point, 0,", words(figure))
    assert len(figure.axes[0].lines) == 3


# --- rejection


def test_rejection_draws_each_share_and_lightly_where_few_images_are_left():
    some = made_up(160, seed=10)
    curve = rejection_curve(some)
    figure = curves.plot_rejection(curve, CAPTION)
    lines = figure.axes[0].lines
    for place, (column, behind) in enumerate(
        (("accuracy", "kept"), ("sensitivity", "cases"), ("specificity", "others"))
    ):
        firm, light = lines[2 * place], lines[2 * place + 1]
        enough = curve[curve[behind] >= 30]
        assert firm.get_xdata()[-1] == enough["share"].iloc[-1]
        drawn = np.interp(enough["share"], *firm.get_data())
        assert drawn == pytest.approx(enough[column].to_numpy(), abs=0.01)
        assert light.get_xdata()[0] == enough["share"].iloc[-1], "the two parts meet"
        assert (light.get_linestyle(), light.get_alpha()) == (":", 0.5)
    assert entries(figure)[0].startswith(f"accuracy, {curve['accuracy'].iloc[0]:.3f} ")
    assert "30 images" in entries(figure)[-1]


def test_rejection_of_several_classes_has_the_accuracy_alone():
    figure = curves.plot_rejection(rejection_curve(made_up(90, classes=("covid", "normal", "tb"))), CAPTION)
    assert len(figure.axes[0].lines) == 2
    assert "sensitivity" not in words(figure)


def test_rejection_without_others_says_that_there_are_none():
    figure = curves.plot_rejection(rejection_curve(table([1] * 40, np.linspace(0.1, 0.9, 40))), CAPTION)
    assert any(entry.startswith("specificity: ") for entry in entries(figure))
    assert not re.search(r"\bnan\b", words(figure))


# --- forest


def test_the_forest_has_a_row_a_subgroup_from_the_top_down():
    rows = pd.DataFrame(
        {
            "name": ["female", "male", "(missing)"],
            "n": [120, 99, 3],
            "estimate": [0.91, 0.88, np.nan],
            "low": [0.85, 0.8, np.nan],
            "high": [0.95, 0.93, np.nan],
        }
    )
    figure = curves.plot_forest(rows, "AUROC (ill)", 0.9, CAPTION)
    axes = figure.axes[0]
    assert axes.get_xlabel() == "AUROC (ill)"
    assert [label.get_text() for label in axes.get_yticklabels()] == rows["name"].tolist()
    assert axes.get_ylim()[0] > axes.get_ylim()[1], "the first row is at the top"
    for row, line in enumerate(axes.lines[:2]):
        assert line.get_xydata() == pytest.approx(np.array([[rows["low"][row], row], [rows["high"][row], row]]))
    dots = next(line for line in axes.lines if line.get_marker() == "o")
    assert dots.get_xydata()[:2] == pytest.approx(np.array([[0.91, 0], [0.88, 1]]))
    assert [text.get_text() for text in axes.texts] == ["n = 120", "n = 99", "n = 3\nundefined"]
    assert "all rows: 0.900" in entries(figure)
    with refused("nothing_to_draw", "AUROC"):
        curves.plot_forest(rows.head(0), "AUROC", 0.9, CAPTION)


# --- whatever the rows and the names


ODD = {
    "three rows": table([0, 1, 1], [0.2, 0.6, 0.5]),
    "one class": table([1] * 20, np.linspace(0.05, 0.95, 20)),
    "equal scores": table([0, 1] * 10, [0.3] * 20),
    "odd names": made_up(classes=("<script>alert(1)</script>", "_cost $5$ or $x^ {\\bf y}")),
    "long names": made_up(classes=("benign " * 30, "adenocarcinoma_of_the_" * 10)),
    "Chinese": made_up(classes=("正常" * 30, "得病")),
    "many classes": made_up(200, classes=tuple(f"class {k} of twenty" for k in range(20))),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("name", ODD)
def test_every_figure_is_drawn_and_nothing_lies_upon_anything(name):
    for figure in every_plot(ODD[name], watermark="SYNTHETIC"):
        figure.canvas.draw()
        shown = words(figure)
        assert CAPTION in shown
        assert "SYNTHETIC" in shown
        assert not re.search(r"\bnan\b", shown)
        for axes in figure.axes:
            assert axes.get_ylabel() or axes.get_yticklabels()
        assert figure.axes[-1].get_xlabel()
        bottom = figure.axes[-1]
        if bottom.get_legend() is None:  # no curve, nothing to explain
            continue
        key, caption = bottom.get_legend().get_window_extent(), figure._supxlabel.get_window_extent()
        assert not key.overlaps(caption)
        assert not key.overlaps(bottom.xaxis.label.get_window_extent())
        assert key.x1 <= figure.bbox.x1 + 1
        assert min(axes.get_window_extent().width for axes in figure.axes) > 0.4 * figure.bbox.width


def test_names_are_text_and_no_markup_in_the_files(tmp_path):
    for number, figure in enumerate(itertools.islice(every_plot(ODD["odd names"]), 2)):
        _, svg = drawing.save(figure, tmp_path / str(number))
        assert "<script>" not in svg.read_text()
        assert r"_cost \$5\$ or \$x^ {\bf y}" in entries(figure)[0]


def test_thinning_keeps_corners_and_peaks_and_leaves_out_what_lies_on_the_way():
    x = np.array([0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0001, 3.0, 4.0])
    y = np.array([0.0, 0.5, 1.0, 1.4, 2.0, 0.5, 0.5, 0.5001, np.nan, 0.7])
    assert np.stack(curves._thinned(x, y)).T.tolist() == [[0, 0], [1, 1], [1, 2], [1, 0.5], [2, 0.5], [4, 0.7]]
    nothing = curves._thinned(np.array([]), np.array([]))
    assert [len(values) for values in nothing] == [0, 0]


@pytest.mark.slow
def test_a_hundred_thousand_rows_make_no_larger_a_file_and_the_same_line(tmp_path):
    n = 100_000
    draw = np.random.default_rng(0)
    labels = (draw.random(n) < 0.3).astype(int)
    some = table(labels, 1 / (1 + np.exp(-draw.normal(3 * labels - 1.5, 1.5))))
    case, score = scores(some)
    for number, figure in enumerate(every_plot(some)):
        _, svg = drawing.save(figure, tmp_path / str(number))
        assert svg.stat().st_size < 150_000
        assert max(len(line.get_xdata()) for axes in figure.axes for line in axes.lines) < 650
        if number == 0:
            false, true, _ = roc_curve(case, score)
            # Where the line is steep what counts is the distance to the side.
            drawn_false, drawn_true = figure.axes[0].lines[0].get_data()
            up, across = np.interp(false, drawn_false, drawn_true), np.interp(true, drawn_true, drawn_false)
            assert np.minimum(np.abs(up - true), np.abs(across - false)).max() < 1 / 200
            low, high = band(figure)
            assert (high - low).max() < 0.05
