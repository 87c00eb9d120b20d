"""Every network that is offered, and every way to resize: checkpoint, table and file give the same."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from entry_points import run_main
from made_sets import SMOKE, class_folders
from test_networks import CASES, PLAIN_SGD, SMALLEST

import medcls
from medcls import export, train
from medcls.preprocessing import RESIZE_POLICIES


def case(number: int, model: str, name: str | None, policy: str | None = None) -> object:
    policy = RESIZE_POLICIES[number % len(RESIZE_POLICIES)] if policy is None else policy
    return pytest.param(model, name, policy, id=f"{name or model}-{policy}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "name", "policy"),
    [
        # Every network with one way to resize, in turn; the smallest with each.
        *(case(number, *which) for number, which in enumerate(CASES)),
        *(case(0, "timm", "test_efficientnet", policy) for policy in RESIZE_POLICIES),
    ],
)
def test_checkpoint_table_and_file_give_the_same_probabilities(tmp_path, model, name, policy):
    """Images are taller than wide, so that each way to resize gives other pixels."""
    images = class_folders(tmp_path / "images", {"well": 12, "ill": 12})
    which = [f"model={model}", *([] if name is None else [f"model.name={name}"])]
    size = SMALLEST.get(name or model, 32)
    run_main(
        train.main, *SMOKE, *PLAIN_SGD, *which, f"data.image_size={size}", f"model.preprocessing.resize={policy}",
        f"data.root={images}", "positive_class=ill", f"hydra.run.dir={tmp_path}/run",
    )  # fmt: skip
    run_main(export.main, f"run={tmp_path}/run", f"hydra.run.dir={tmp_path}/out")
    table = pd.read_csv(tmp_path / "run" / "predictions" / "test.csv")
    paths = [images / path for path in table["path"]]
    evaluated = table[["prob_ill", "prob_well"]].to_numpy()
    for source in (tmp_path / "run", tmp_path / "out" / "model.onnx"):
        loaded = medcls.load(source)
        assert loaded.preprocessing.resize == policy
        found = np.array([[one.probabilities[key] for key in ("ill", "well")] for one in loaded.predict(paths)])
        assert np.abs(found - evaluated).max() <= 1e-5, Path(source).name
