import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
from html_pages import read
from made_report import BARE, BINARY, page_and_card, predictions

from medcls.evaluation.assessment import assess
from medcls.evaluation.predictions import from_logits
from medcls.report.example_images import SHOWN, examples
from medcls.report.pages.names import Names
from medcls.report.pages.parts import Thumbnail


def test_errors_are_the_surest_first_and_the_least_certain_lie_at_the_threshold(headline):
    errors, unsure = examples(headline, BARE, Names({}), images=True)
    table, threshold = headline.table, headline.metrics.threshold
    scores = pd.Series(table.probabilities()[:, 1], index=table.rows["path"])
    wrong = (scores >= threshold) != (table.rows["label"] == "malignant").to_numpy()
    distance = (scores - threshold).abs()
    assert [one.name for one in errors] == list(distance[wrong].sort_values(ascending=False).index[:SHOWN])
    assert [one.name for one in unsure] == list(distance.sort_values().index[:SHOWN])
    assert re.fullmatch(
        r"(benign, \w+ malignant|malignant, \w+ benign): .* of class malignant [\d.]+", errors[0].caption
    )


def test_with_several_classes_the_called_one_says_how_sure(several):
    errors, unsure = examples(several, BARE, Names({}), images=True)
    largest = pd.Series(several.table.probabilities().max(axis=1), index=several.table.rows["path"])
    right = several.table.probabilities().argmax(axis=1) == several.table.labels()
    assert errors[0].name == largest[~right].idxmax()
    assert unsure[0].name == largest.idxmin()


def test_a_picture_that_cannot_be_shown_says_why(headline, sources):
    broken = dataclasses.replace(sources, thumbnail=lambda path: Thumbnail(reason="damaged"))
    assert "damaged" in read(page_and_card(headline, sources=broken)[0]).text


def asked_for(page_sources, headline, **settings):
    """The page, and for which images and classes it asked for heat maps."""
    asked = []

    def heat_map(path, name):
        asked.append((path, name))
        return Thumbnail("data:image/jpeg;base64,AA==", 9, 9, text="LOWER-LEFT")

    page, _ = page_and_card(headline, sources=dataclasses.replace(page_sources, heat_map=heat_map), **settings)
    return page, asked


def test_the_heat_map_of_an_error_is_that_of_the_predicted_class(headline, sources):
    errors, _ = examples(headline, BARE, Names({}), images=True)
    page, asked = asked_for(sources, headline)
    predicted = [re.search(r"predicted \W?(\w+)", one.caption).group(1) for one in errors]
    assert asked == list(zip([one.name for one in errors], predicted, strict=True))
    described = [values["alt"] for tag, values in read(page).tags if tag == "img" and "LOWER-LEFT" in values["alt"]]
    assert len(described) == len(errors)
    assert "linear-gradient" in page


@pytest.mark.parametrize("settings", [{"images": False}, {"paths": False}], ids=str)
def test_heat_maps_are_hidden_with_the_images_and_not_with_the_names(headline, sources, settings):
    page, asked = asked_for(sources, headline, **settings)
    assert bool(asked) is ("LOWER-LEFT" in page) is settings.get("images", True)
    assert "secret_" not in page or settings.get("paths", True)


def test_without_a_network_or_its_heat_map_the_section_says_so(headline, sources):
    none = read(page_and_card(headline, sources=dataclasses.replace(sources, heat_map=None))[0]).text
    assert "Heat maps: not provided." in none
    why = dataclasses.replace(sources, heat_map=lambda path, name: Thumbnail(reason="NO-MAP"))
    assert read(page_and_card(headline, sources=why)[0]).text.count("NO-MAP") == 1


@pytest.mark.wording
def test_no_error_is_said_to_be_none(decision_rules):
    table = predictions()
    logits = np.where(np.eye(2)[table.labels()] > 0, 4.0, -4.0) + np.random.default_rng(0).normal(size=(len(table), 2))
    perfect = from_logits(
        table.rows[["path", "label", "group", "split"]], range(len(table)), logits, BINARY, "malignant", "c0ffee"
    )
    page, _ = page_and_card(assess(perfect, decision_rules, resamples=100))
    assert "None: every image was classified correctly." in read(page).text
