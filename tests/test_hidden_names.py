"""With `report.paths=hidden` no page names a patient, however short or numeric the name is."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from entry_points import run_main

from medcls import evaluate


def table(path: Path, groups: list[str]) -> Path:
    """Predictions of as many patients as there are names, 80 images each; the last fares badly."""
    draw = np.random.default_rng(0)
    n = 80 * len(groups)
    labels, of = np.arange(n) % 2, np.repeat(np.arange(len(groups)), 80)
    sure = np.where(of == len(groups) - 1, -2.0, 3.0)
    scores = 1 / (1 + np.exp(-sure * (labels - 0.5) - draw.normal(0, 1, n)))
    rows = pd.DataFrame({"path": [f"{k:04d}.png" for k in range(n)], "label": np.where(labels == 1, "ill", "well")})
    rows = rows.assign(group=np.array(groups)[of], split="test", prob_ill=scores, prob_well=1 - scores)
    rows.to_csv(path, index=False)
    return path


@pytest.mark.parametrize(
    "groups",
    [
        ["8801", "QY", "p_3"],
        *(
            pytest.param(alike, marks=pytest.mark.slow)
            for alike in (["8801", "8802", "8803"], ["QX", "QY", "QZ"], ["patient_1", "patient_2", "p_3"])
        ),
    ],
)
def test_no_page_and_no_plot_names_a_patient(tmp_path: Path, figures: Callable[[], None], groups: list[str]):
    settings = ("positive_class=ill", "subgroups=[group]", "resamples=100")
    file = table(tmp_path / "theirs.csv", groups)
    for how in ("shown", "hidden"):
        if how == "hidden":
            figures()
        run_main(
            evaluate.main, f"predictions={file}", *settings, f"report.paths={how}", f"hydra.run.dir={tmp_path}/{how}"
        )
        pages = [tmp_path / how / "report.html", tmp_path / how / "report.md", *(tmp_path / how).rglob("*.svg")]
        texts = {path.name: path.read_text(encoding="utf-8") for path in pages}
        named = {
            name for name, text in texts.items() if any(f">{group}" in text or f" {group}" in text for group in groups)
        }
        if how == "hidden":
            assert named == set()
            assert "group 3" in texts["report.html"] and "group 3" in texts["report.md"]
        else:
            assert {"report.html", "report.md"} <= named
