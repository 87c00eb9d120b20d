"""Whether a change costs accuracy: this checkout against another, trained with the same seeds on the same images.

    git worktree add ../former COMMIT
    python -m benchmarks.seeds --other ../former -- data=breast_cancer data.root=/my/BUSI

Arguments after `--` are passed to both as settings of `medcls.train`. The test images of each run must be the same.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import yaml

from benchmarks.pieces import OUT
from benchmarks.results import report, seconds
from medcls.evaluation.predictions import Predictions, read_csv
from medcls.statistics.intervals import intervals
from medcls.statistics.metric_table import MACRO


def train(checkout: Path, settings: Sequence[str], seed: int, folder: Path) -> tuple[Predictions, float]:
    """One run in a separate process: its test predictions, and how long it took."""
    command = [sys.executable, "-m", "medcls.train", *settings, f"seed={seed}", f"hydra.run.dir={folder}"]
    environment = os.environ | {"MEDCLS_STATE": str(folder.parent / "state")}
    took = seconds(lambda: subprocess.run(command, check=True, cwd=checkout, env=environment, stdout=subprocess.PIPE))
    positive = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))["positive_class"]
    return read_csv(folder / "predictions" / "test.csv", positive), took


def auroc(table: Predictions) -> tuple[float, float, float]:
    """AUROC with its 95% interval; the mean over classes if there are more than two."""
    interval = intervals(table.to_split(), resamples=1000)["auroc", table.positive or MACRO]
    return interval.estimate, interval.low, interval.high


def main() -> None:
    """Train both with each seed; print and write their AUROC and the differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--other", type=Path, required=True, help="another checkout")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=OUT / "seeds.json")
    parser.add_argument("settings", nargs="*", help="of medcls.train")
    given = parser.parse_args()
    here, there = Path.cwd(), given.other.absolute()
    rows, gains, times = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for seed in given.seeds:
            found = {}
            for name, checkout in (("other", there), ("this", here)):
                table, took = train(checkout, given.settings, seed, Path(folder) / f"{name}{seed}")
                found[name] = (table, took)
                value, low, high = auroc(table)
                rows.append(
                    {"what": f"{name} checkout, seed {seed}", "AUROC": value, "low": low, "high": high, "seconds": took}
                )
                print(pd.DataFrame(rows[-1:]).to_string(index=False, header=len(rows) == 1), flush=True)
            if found["other"][0].rows["path"].tolist() != found["this"][0].rows["path"].tolist():
                raise SystemExit(f"seed {seed}: the two checkouts have different test images, and cannot be compared")
            gains.append(rows[-1]["AUROC"] - rows[-2]["AUROC"])
            times.append(rows[-2]["seconds"] / rows[-1]["seconds"])
    rows.append({"what": "this less other, mean of seeds", "AUROC": statistics.mean(gains)})
    rows.append({"what": "this less other, least and most", "low": min(gains), "high": max(gains)})
    rows.append({"what": "other's time by this one's, median", "seconds": statistics.median(times)})
    report("The same seeds in two checkouts", {"settings": " ".join(given.settings)}, rows, given.out)


if __name__ == "__main__":
    main()
