import dataclasses

import numpy as np
import pytest
from made_study import decision_rules, predictions
from refusals import refused

from medcls.evaluation.ensembles import mean_of
from medcls.evaluation.predictions import Predictions


def test_the_mean_is_of_the_networks_own_probabilities_row_by_row():
    one = predictions(n=60)
    other = predictions(n=60, signal=0.7)
    other = Predictions(other.rows.assign(label=one.rows["label"]).sample(frac=1, random_state=0), other.classes, "ill")
    mean = mean_of([decision_rules().calibrate(one), other], "two")
    expected = (one.rows.set_index("path")["prob_ill"] + other.rows.set_index("path")["prob_ill"]) / 2
    assert mean.rows["path"].tolist() == one.rows["path"].tolist()
    assert mean.rows["prob_ill"].to_numpy() == pytest.approx(expected.loc[one.rows["path"]].to_numpy())
    assert mean.checkpoint == "two" and not mean.has_logits


def test_energies_are_averaged_where_all_have_one():
    one, other = predictions(n=20), predictions(n=20)
    tables = [dataclasses.replace(t, rows=t.rows.assign(ood=v)) for t, v in ((one, 1.0), (other, 3.0))]
    assert np.allclose(mean_of(tables, "x").rows["ood"], 2.0)
    assert "ood" not in mean_of([one, other], "x").rows


def test_p33_members_must_be_of_the_same_images():
    with refused("different_images", "first member", "member 2"):
        mean_of([predictions(n=20), predictions("val", n=20)], "x")
    with refused("no_predictions"):
        mean_of([], "x")
