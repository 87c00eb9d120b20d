import json

import pytest
from refusals import refused

from medcls.runs import records
from medcls.runs.records import Audit, Configuration, Environment, InitialWeights, StoredMetrics

ENVIRONMENT = {"packages": {"torch": "2.11"}, "python": "3.11", "platform": "Linux", "device": "CPU", "cuda": None}


def written(path, content):
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_a_record_has_what_its_file_has_and_no_more(tmp_path):
    path = written(tmp_path / "environment.json", ENVIRONMENT)
    assert records.read(path, Environment) == Environment({"torch": "2.11"}, "3.11", "Linux", "CPU", run="")
    written(path, ENVIRONMENT | {"run": "abc"})
    assert records.read(path, Environment).run == "abc"
    assert records.read(tmp_path / "weights.json", InitialWeights) is None


@pytest.mark.parametrize(
    ("kind", "content", "missing"),
    [
        (Environment, {name: value for name, value in ENVIRONMENT.items() if name != "device"}, "device"),
        (Environment, [], "packages"),
        (InitialWeights, {"source": None}, "sha256"),
        (Audit, {"data": {}, "findings": []}, "data, findings"),
        (Audit, {"data": {}}, "data, findings"),
        (StoredMetrics, {}, "checkpoint"),
    ],
)
def test_a_record_without_what_is_needed_names_it(tmp_path, kind, content, missing):
    with refused("damaged_file", str(tmp_path / "record.json"), missing):
        records.read(written(tmp_path / "record.json", content), kind)


def test_settings_are_found_by_their_dotted_names():
    config = Configuration({"seed": 3, "data": {"fold": 1, "root": "/x", "where": {}}, "positive_class": 1})
    assert config.setting("data.fold") == 1
    assert config.setting("data.none.of.this") is config.setting("seed.deeper") is None
    assert config.flat() == {"seed": 3, "data.fold": 1, "data.root": "/x", "data.where": {}, "positive_class": 1}
    assert (config.seed, config.positive_class, str(config.images)) == (3, "1", "/x")
    alike = config.without_fold_and_seed()
    assert alike.seed is alike.setting("data.fold") is None and alike.setting("data.root") == "/x"
    assert config.without_fold().seed == config.seed == 3
