"""The best trial of a search, and how optimistic its metric is where no setting matters."""

import numpy as np
import pytest

from medcls.evaluation.search import Search, Trial


def search(values: list[float | None], maximise: bool = True, **more) -> Search:
    trials = tuple(
        Trial(number, "failed" if value is None else "complete", value, {"optimizer.lr": f"0.{number + 1}"})
        for number, value in enumerate(values)
    )
    return Search("val/auroc", maximise, trials, **more)


def test_the_best_is_the_first_of_the_largest_or_of_the_smallest():
    assert search([0.5, None, 0.9, 0.9, 0.1]).best.number == 2
    assert search([0.5, None, 0.9, 0.1, 0.1], maximise=False).best.number == 3
    assert [trial.number for trial in search([0.5, None, 0.9, 0.1]).ranked] == [2, 0, 3]
    assert search([None, None]).best is None


def test_failed_trials_are_counted_and_not_chosen_from():
    found = search([0.5, None, 0.9], standard_error=0.1)
    assert "2 complete" in found.counts() and "1 failed" in found.counts()
    assert "2" in found.warning() and found.excess == pytest.approx(0.0589, abs=1e-3)
    assert search([0.5, 0.7]).excess is None
    table = found.table()
    assert table["state"].tolist() == ["complete", "failed", "complete"]
    assert table["optimizer.lr"].tolist() == ["0.1", "0.2", "0.3"]


def test_the_warning_has_the_number_that_the_best_was_chosen_from_even_if_it_is_one():
    assert " 20 " in search([0.5 + n / 100 for n in range(20)]).warning()
    assert "val" in search([0.5]).warning() and "test" in search([0.5]).warning()


def test_on_null_data_the_best_of_val_is_above_chance_by_what_is_reported_and_test_is_not():
    """Trials that know nothing, each with scores of its own: the excess is reached, and is all that there is."""
    draw = np.random.default_rng(0)
    error = np.sqrt(101 / (12 * 50 * 50))  # of AUROC without information (Mann-Whitney)
    above, of_test = [], []
    for _ in range(200):
        val, (test,) = aurocs_of_noise(draw, 20), aurocs_of_noise(draw, 1)
        found = search(val.tolist(), standard_error=float(error))
        above.append(found.best.value - 0.5)
        of_test.append(test - 0.5)
    assert found.excess > 0.1
    assert np.mean(above) == pytest.approx(found.excess, rel=0.05)
    assert abs(np.mean(of_test)) < 0.015


def aurocs_of_noise(draw: np.random.Generator, number: int) -> np.ndarray:
    """AUROCs of random scores of 50 positive and 50 negative images."""
    positive, negative = draw.random((2, number, 50))
    return (positive[:, :, None] > negative[:, None, :]).mean(axis=(1, 2))
