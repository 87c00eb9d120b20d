"""A learning curve from a sweep over `data.train_fraction`, drawn with intervals: what twice the images would bring.

    python -m medcls.train -m experiments=breast_cancer data.root=/my/BUSI data.folds=5 data.fold=0,1,2,3,4 \
        data.train_fraction=0.1,0.2,0.4,0.7,1 evaluate_test=true
    python -m benchmarks.learning_curve runs/sweep-...

Every fraction of a fold (or seed) is judged on the same test images. Writes learning_curve.csv, .svg and .md into the
folder of the sweep.
"""

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from scipy.optimize import curve_fit
from scipy.stats import multivariate_t

from medcls.evaluation.cross_validations import corrected_t
from medcls.plots.drawing import COLOURS, GREY, REPORT_WIDTH, new_figure, save, styled

# Exponents seen in practice lie between 0.1 and 1; outside these bounds the curve is a step or a line.
BOUNDS = ([0.0, 0.0, 0.05], [1.0, 1.0, 2.0])


@dataclasses.dataclass(frozen=True)
class Curve:
    """What was measured, and the law fitted to it.

    Parameters
    ----------
    sizes : float64 array (m,)
        Training images, ascending.
    values : float64 array (J, m)
        Of each fold or seed.
    held_out : float
        Test images over all others, which the corrected variance of a mean over folds needs.
    """

    sizes: np.ndarray
    values: np.ndarray
    held_out: float

    def table(self) -> pd.DataFrame:
        """Mean and 95% interval for each size: as of a mean of differences over folds (Nadeau and Bengio 2003)."""
        limits = [corrected_t(column, self.held_out)[0] for column in self.values.T]
        low, high = np.array(limits).T
        return pd.DataFrame({"images": self.sizes, "mean": self.values.mean(axis=0), "low": low, "high": high})

    def predict(self, sizes: Sequence[float], draws: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Give the fitted law at some sizes, and at the same those of other measurements that were as likely.

        The inverse power law of the error, `rest + scale n^-exponent`, by least squares weighted by each mean's
        standard error (Figueroa et al. 2012, "Predicting sample size required for classification performance", BMC
        Medical Informatics and Decision Making 12:8). Its uncertainty is that of the measured means: drawn together,
        with the covariance over folds, from the t distribution of `J - 1` degrees of freedom.

        Returns
        -------
        float64 arrays (k,) and (draws, k)
        """
        count = len(self.values)
        covariance = np.atleast_2d(np.cov(self.values, rowvar=False)) * (1 / count + self.held_out)
        # A size at which all folds agree by chance does not count without bound.
        errors = np.sqrt(np.maximum(covariance.diagonal(), 1e-6))
        means = self.values.mean(axis=0)
        drawn = multivariate_t(means, covariance, count - 1, allow_singular=True, seed=seed).rvs(draws)
        at = np.asarray(sizes, np.float64)
        fitted = [1 - _law(at / self.sizes[-1], *self._fit(1 - one, errors)) for one in (means, *drawn)]
        return fitted[0], np.array(fitted[1:])

    def _fit(self, wrong: np.ndarray, errors: np.ndarray) -> np.ndarray:
        start = [max(0.0, wrong[-1] / 2), min(1.0, max(1e-3, wrong[-1] / 2)), 0.5]
        return curve_fit(_law, self.sizes / self.sizes[-1], wrong, np.clip(start, *BOUNDS), errors, bounds=BOUNDS)[0]


def _law(size: np.ndarray, rest: float, scale: float, exponent: float) -> np.ndarray:
    """Error at a multiple of the largest size."""
    return rest + scale * size**-exponent


def read(sweep: Path, metric: str) -> Curve:
    """Read the runs of a sweep; each fold or seed must have each fraction."""
    rows, shares = [], []
    for config in sorted(sweep.glob("*/config.yaml")):
        run, settings = config.parent, yaml.safe_load(config.read_text(encoding="utf-8"))
        if not (run / "metrics.json").is_file():
            raise SystemExit(f"{run} has no metrics.json: finish it with python -m medcls.train resume={run}")
        metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        if "test" not in metrics:
            raise SystemExit(f"{run} was not evaluated on test: python -m medcls.evaluate run={run}")
        splits = pd.read_csv(run / "manifest.csv", dtype=str)["split"]
        repeat = (settings["seed"], settings["data"]["fold"])
        value = metrics["test"]["values"][metric]
        rows.append((repeat, settings["data"]["train_fraction"], int((splits == "train").sum()), value))
        shares.append((splits == "test").sum() / (splits != "test").sum())
    table = pd.DataFrame(rows, columns=["repeat", "fraction", "images", "value"])
    values = table.pivot(index="repeat", columns="fraction", values="value")
    if len(values) < 2 or values.shape[1] < 4 or values.isna().any(axis=None):
        raise SystemExit(
            f"{sweep} has {len(table)} runs: a curve needs 4 fractions or more, and the same 2 folds or seeds or more "
            "of each."
        )
    sizes = table.groupby("fraction")["images"].mean()
    return Curve(sizes.to_numpy(np.float64), values.to_numpy(np.float64), float(np.mean(shares)))


def interval(values: np.ndarray) -> str:
    """Write the middle 95% of what was drawn."""
    low, high = np.quantile(values, [0.025, 0.975])
    return f"{low:.3f} to {high:.3f}"


def sentence(curve: Curve, metric: str, draws: int) -> str:
    """Say what twice the images would bring."""
    fitted, drawn = curve.predict([curve.sizes[-1], 2 * curve.sizes[-1]], draws)
    gain = drawn[:, 1] - drawn[:, 0]
    return (
        f"With {curve.sizes[-1]:.0f} training images the fitted {metric} is {fitted[0]:.3f} ({interval(drawn[:, 0])}); "
        f"twice as many would bring {fitted[1]:.3f} ({interval(drawn[:, 1])}), a gain of {fitted[1] - fitted[0]:+.3f} "
        f"({interval(gain)}), if the law holds beyond what was measured. 95% intervals, from {len(curve.values)} folds "
        "or seeds."
    )


def draw(curve: Curve, metric: str, draws: int, path: Path) -> None:
    """Draw what was measured, the law, and its band up to twice the images."""
    at = np.geomspace(curve.sizes[0], 2 * curve.sizes[-1], 60)
    fitted, drawn = curve.predict(at, draws)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    table = curve.table()
    with styled([metric], None):
        figure = new_figure(REPORT_WIDTH, 3.6)
        axes = figure.subplots()
        axes.fill_between(at, low, high, color=COLOURS[0], alpha=0.15, linewidth=0)
        axes.plot(at, fitted, color=COLOURS[0], label="inverse power law, 95% band")
        beyond = table["mean"] - table["low"], table["high"] - table["mean"]
        axes.errorbar(table["images"], table["mean"], beyond, fmt="o", color=COLOURS[1], label="mean of runs, 95%")
        axes.axvline(curve.sizes[-1], color=GREY, linewidth=0.8, linestyle=":")
        axes.set(xscale="log", xlabel="training images", ylabel=metric, ylim=(max(0.0, low.min() - 0.05), 1.0))
        axes.legend(loc="lower right")
        save(figure, path)


def main() -> None:
    """Read a sweep; write its curve beside its runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path)
    parser.add_argument("--metric", default="auroc", help="between 0 and 1, higher is better")
    parser.add_argument("--draws", type=int, default=500, help="measurements as likely as the one made")
    given = parser.parse_args()
    curve = read(given.sweep, given.metric)
    curve.table().to_csv(given.sweep / "learning_curve.csv", index=False)
    draw(curve, given.metric, given.draws, given.sweep / "learning_curve.svg")
    text = sentence(curve, given.metric, given.draws)
    page = f"![Learning curve](learning_curve.svg)\n\n{text}\n"
    (given.sweep / "learning_curve.md").write_text(page, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
