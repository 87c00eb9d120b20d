import dataclasses
import json

import pytest
from made_study import predictions
from refusals import refused

from medcls.evaluation.comparing import SHOWN_IN_FULL, Question
from medcls.evaluation.model_comparison import CHOSE_THE_BEST, ComparedModel, compare_models, known_from
from medcls.evaluation.thresholds import OperatingPoint

QUESTION = Question(("auroc", "accuracy"), resamples=50)


def model(name, signal, noise=0, **changes):
    """The same images for each; a greater signal ranks them better."""
    good, other = predictions(n=200, seed=1, signal=signal), predictions(n=200, seed=1)
    rows = good.rows.assign(label=other.rows["label"], checkpoint=f"hash of {name}")
    table = dataclasses.replace(good, rows=rows)
    point = OperatingPoint("youden", 0.4, "ill", "val", n=90)
    return ComparedModel(name, f"runs/{name}", table, point, **changes)


def test_two_are_compared_in_the_order_given():
    found = compare_models([model("weak", 0.3), model("strong", 2.5)], QUESTION)
    assert found.names == ("weak", "strong") and found.kind == "classifiers"
    assert [row.verdict for row in found.pairs.itertuples()] == ["worse", "worse"] and len(found.conclusions) == 2
    plain = found.to_plain()
    json.dumps(plain, allow_nan=False)
    assert [one["checkpoint"] for one in plain["classifiers"]] == ["hash of weak", "hash of strong"]
    assert {row["metric"] for row in plain["classifiers"][0]["figures"]} == {"auroc", "accuracy"}
    assert plain["split"] == "test" and "freedom" not in plain["comparisons"][0]


def test_three_are_ranked_by_the_first_metric_and_choosing_the_best_is_a_caveat():
    found = compare_models([model("weak", 0.3), model("strong", 2.5), model("middle", 1.0)], QUESTION)
    assert found.names == ("strong", "middle", "weak")
    assert CHOSE_THE_BEST in found.notes and len(found.pairs) == 6


def test_of_many_only_the_pairs_with_the_best_are_shown():
    found = compare_models([model(f"m{k}", 0.5 + 0.1 * k) for k in range(SHOWN_IN_FULL + 1)], Question(resamples=20))
    assert len(found.shown) == SHOWN_IN_FULL < len(found.pairs) and set(found.shown["a"]) == {found.names[0]}


def test_a_model_that_learned_from_near_duplicates_is_a_caution():
    leaking = model("leaking", 1.0, leak="2 of 200 images have a near duplicate in training")
    (caution,) = compare_models([model("clean", 0.9), leaking], QUESTION).cautions
    assert "leaking" in caution and "2 of 200" in caution


def test_other_images_are_refused():
    one, other = model("one", 1.0), model("other", 1.0)
    fewer = dataclasses.replace(other, table=dataclasses.replace(other.table, rows=other.table.rows.iloc[:100]))
    with refused("different_images", "one", "other"):
        compare_models([one, fewer], QUESTION)
    renamed = dataclasses.replace(other.table, rows=other.table.rows.assign(split="val"))
    with refused("different_splits", "val"):
        compare_models([one, dataclasses.replace(other, table=renamed)], QUESTION)


def test_a_table_of_another_tool_takes_groups_and_split_from_a_run():
    own = model("own", 1.0).table
    bare = dataclasses.replace(own, rows=own.rows.assign(group="", split=""))
    known = known_from(bare, own)
    assert known.split == own.split and known.rows["group"].tolist() == own.rows["group"].tolist()
    assert known_from(own, bare).rows["group"].tolist() == own.rows["group"].tolist()


@pytest.mark.parametrize("settings", ["seed=1", "model=large"])
def test_runs_that_differ_in_the_seed_alone_are_noted(settings):
    pair = [model("a", 1.0, settings="seed=0"), model("b", 1.1, settings=settings)]
    assert any("seed" in note for note in compare_models(pair, QUESTION).notes) is (settings == "seed=1")
