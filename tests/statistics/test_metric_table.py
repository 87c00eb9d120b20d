"""Every metric of the table against scikit-learn, with and without weights; and nothing else lists metrics."""

import ast
import inspect
import warnings
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics as sk
from interval_tables import intervals

import medcls
from medcls.statistics.intervals import FORMULAS
from medcls.statistics.metric_table import BY_IDENTIFIER, MACRO, METRICS, estimates, with_interval
from medcls.statistics.metrics import classification_metrics
from medcls.statistics.resampling import Ranking
from medcls.statistics.split import Split

PACKAGE = Path(medcls.__file__).parent


def ratios(labels, decisions, **settings):
    return sk.class_likelihood_ratios(labels, decisions, **settings)


def at(rate, held, share):
    """The highest of one rate where the other is at least so much, among all points of scikit-learn's curve."""

    def highest(labels, scores, sample_weight):
        false, true, _ = sk.roc_curve(labels, scores, sample_weight=sample_weight, drop_intermediate=False)
        rates = {"sensitivity": true, "specificity": 1 - false}
        return rates[rate][rates[held] >= share - 1e-12].max()

    return highest


# From the labels, the decisions or the scores, and `sample_weight`. Labels are 0 and 1 but for what is of all classes.
OF_DECISIONS = {
    "sensitivity": lambda y, d, **w: sk.recall_score(y, d, **w),
    "specificity": lambda y, d, **w: sk.recall_score(y, d, pos_label=0, **w),
    "precision": lambda y, d, **w: sk.precision_score(y, d, **w),
    "npv": lambda y, d, **w: sk.precision_score(y, d, pos_label=0, **w),
    "f1": lambda y, d, **w: sk.f1_score(y, d, **w),
    "f2": lambda y, d, **w: sk.fbeta_score(y, d, beta=2, **w),
    "accuracy": sk.accuracy_score,
    "balanced_accuracy": sk.balanced_accuracy_score,
    "majority_baseline": lambda y, d, **w: sk.accuracy_score(y, most_frequent(y, **w), **w),
    "mcc": sk.matthews_corrcoef,
    "kappa": sk.cohen_kappa_score,
    "quadratic_kappa": lambda y, d, **w: sk.cohen_kappa_score(y, d, weights="quadratic", **w),
    "positive_likelihood_ratio": lambda y, d, **w: ratios(y, d, **w)[0],
    "negative_likelihood_ratio": lambda y, d, **w: ratios(y, d, **w)[1],
    "prevalence": lambda y, d, **w: sk.accuracy_score(y, np.ones_like(y), **w),
}
OF_SCORES = {
    "auroc": sk.roc_auc_score,
    "auroc_up_to_fpr_0.1": lambda y, s, **w: sk.roc_auc_score(y, s, max_fpr=0.1, **w),
    "average_precision": sk.average_precision_score,
    "sensitivity_at_specificity_0.9": at("sensitivity", "specificity", 0.9),
    "sensitivity_at_specificity_0.95": at("sensitivity", "specificity", 0.95),
    "specificity_at_sensitivity_0.9": at("specificity", "sensitivity", 0.9),
    "specificity_at_sensitivity_0.95": at("specificity", "sensitivity", 0.95),
    "brier": sk.brier_score_loss,
    "scaled_brier": lambda y, s, **w: 1 - sk.brier_score_loss(y, s, **w) / sk.brier_score_loss(y, shares(y, **w), **w),
    "log_loss": sk.log_loss,
}


def most_frequent(labels, sample_weight):
    return np.full_like(labels, np.bincount(labels, weights=sample_weight).argmax())


def shares(labels, sample_weight):
    """The prevalence for every row: of two classes of the second."""
    of_each = np.bincount(labels, weights=sample_weight) / sample_weight.sum()
    return np.full(len(labels), of_each[1]) if len(of_each) == 2 else np.tile(of_each, (len(labels), 1))


def made(k, positive, *, n=90, seed=0):
    """A split with ties, and weights of rows: once each, and as often as three resamples drew them."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % k
    scores = np.exp(np.round(rng.normal(size=(n, k)) + np.eye(k)[labels], 1))
    scores /= scores.sum(axis=1, keepdims=True)
    classes = tuple(f"class {number}" for number in range(k))
    split = Split(labels, scores.argmax(axis=1), scores, np.arange(n), classes, positive, ordered=True)
    drawn = [np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(3)]
    return split, np.array([np.ones(n), *drawn], np.float64)


def expected(metric, split, k, weights):
    """What scikit-learn says of one class, or where it is None of all."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        labels, decisions, scores = split.labels, split.predicted, split.scores
        if k is not None:
            labels, decisions, scores = (labels == k).astype(int), (decisions == k).astype(int), scores[:, k]
        elif split.binary and metric.measures == "probabilities":
            labels, scores = (labels == split.positive).astype(int), scores[:, split.positive]
        if metric.identifier in OF_DECISIONS:
            return OF_DECISIONS[metric.identifier](labels, decisions, sample_weight=weights)
        return OF_SCORES[metric.identifier](labels, scores, sample_weight=weights)


@pytest.mark.parametrize(("k", "positive"), [(2, 0), (2, 1), (4, None)])
@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.identifier)
def test_every_metric_is_scikit_learns_with_any_weights(metric, k, positive):
    split, weights = made(k, positive)
    whole = split.count(weights)
    views = [(one, one.k) for one in whole.one_vs_rest if "class" in metric.scopes]
    views += [(whole, None)] if "all" in metric.scopes else []
    assert views
    for view, of in views:
        found = metric.function(view)
        assert found.shape == (len(weights),)
        for value, row in zip(found, weights, strict=True):
            assert value == pytest.approx(expected(metric, split, of, row), rel=1e-9), (metric.identifier, of)
        low, high = metric.bounds(split, "" if of is None else split.classes[of])
        assert (found >= low).all() and (found <= high).all()


def test_every_metric_has_a_counterpart_and_every_counterpart_a_metric():
    assert sorted([*OF_DECISIONS, *OF_SCORES]) == sorted(BY_IDENTIFIER)
    assert len(BY_IDENTIFIER) == len(METRICS)


@pytest.mark.parametrize("share", [0.05, 0.1, 0.3, 0.9])
def test_the_area_up_to_a_share_of_false_positives_is_scikit_learns_among_ties(share):
    for seed in range(50):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(4, 60))
        labels, weights = np.arange(n) % 2, rng.integers(0, 4, n).astype(np.float64)
        weights[:2] += 1
        scores = np.round(rng.normal(size=n) + labels, int(rng.integers(0, 3)))
        area = Ranking.by_score(labels, scores).count(weights[None]).areas_up_to(share)[0]
        least = share**2 / 2
        standardised = (1 + (area - least) / (share - least)) / 2
        drawn = weights > 0
        known = sk.roc_auc_score(labels[drawn], scores[drawn], max_fpr=share, sample_weight=weights[drawn])
        assert standardised == pytest.approx(known, abs=1e-12)


@pytest.mark.parametrize(("k", "positive"), [(2, 0), (4, None)])
def test_whole_rows_drawn_twice_are_rows_of_weight_two(k, positive):
    """What `estimates` gives under the weights of a resample is what the metrics say of the rows drawn."""
    split, weights = made(k, positive)
    keys = [(metric.identifier, name) for metric, name in with_interval(split)]
    for values, row in zip(estimates(split, weights), weights, strict=True):
        rows = np.repeat(np.arange(len(row)), row.astype(int))
        drawn = classification_metrics(
            split.labels[rows], split.scores[rows], split.classes,
            None if positive is None else split.classes[positive], ordered=True,
        )  # fmt: skip
        for (identifier, name), value in zip(keys, values, strict=True):
            known = drawn.per_class.get(name, drawn.values)
            if identifier in known:
                assert value == pytest.approx(known[identifier], rel=1e-9), (identifier, name)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.identifier)
def test_an_entry_says_all_that_is_shown_of_it(metric):
    assert metric.name and metric.explanation.endswith(".") and metric.title[0].isupper()
    assert metric.explanation.format(of="x")
    assert metric.range[0] < metric.range[1]
    assert (metric.better == "neither") == (metric.measures == "images") == (metric.interval == "none")
    assert not metric.ordered or metric.scopes == ("all",)
    assert "mean" not in metric.scopes or "class" in metric.scopes
    fallbacks = ("bootstrap", "none", "MCC", "kappa", "held specificity", "held sensitivity")
    assert metric.interval in {*FORMULAS, *fallbacks}
    assert metric.compared != "permutation" or metric.row_values is not None


@pytest.mark.parametrize(("k", "positive"), [(2, 1), (3, None)])
def test_what_is_undefined_has_a_reason_and_what_is_defined_has_none(k, positive):
    """Of one class, of one decision, and of both."""
    classes = tuple("abc"[:k])
    rng = np.random.default_rng(1)
    for labels in (np.zeros(8, int), np.arange(8) % 2, np.arange(8) % k):
        for scores in (np.full((8, k), 1 / k), rng.dirichlet(np.ones(k), 8)):
            named = None if positive is None else classes[positive]
            found = classification_metrics(labels, scores, classes, named, ordered=True)
            for name, value in found.values.items():
                assert np.isnan(value) == (name in found.reasons), name
            table = intervals(labels, scores, classes, named, resamples=5, ordered=True)
            for row in table.to_dict("records"):
                if np.isnan(row["estimate"]) and row["class"] in ("", MACRO, named) and row["metric"] in found.values:
                    assert row["note"] == found.reasons[row["metric"]]


def literals(tree):
    """Tuples, sets and lists, and the keys of dicts, but for types."""
    types = {id(node.slice) for node in ast.walk(tree) if isinstance(node, ast.Subscript)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Tuple | ast.Set | ast.List) and id(node) not in types:
            yield node, node.elts
        elif isinstance(node, ast.Dict):
            yield node, node.keys


def test_nothing_else_lists_metrics():
    """What belongs to a metric stands in its entry; who needs some of them asks the table."""
    table = inspect.getsourcefile(type(METRICS[0]))
    sources = [path for path in PACKAGE.rglob("*.py") if str(path) != table]
    assert len(sources) > 100
    for path in sources:
        for node, elements in literals(ast.parse(path.read_text(encoding="utf-8"))):
            listed = [one for one in elements if isinstance(one, ast.Constant) and one.value in BY_IDENTIFIER]
            if len(listed) >= 3 and len(listed) == len(elements):
                raise AssertionError(f"{path}:{node.lineno} lists metrics: {ast.unparse(node)}")
