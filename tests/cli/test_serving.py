"""The settings of a server are checked before anything large is loaded."""

import re
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from refusals import logged, refused

from medcls.cli import serving, shipped
from medcls.errors import MedclsError
from medcls.serving.limits import Limits


def composed(*overrides: str):
    with initialize_config_dir(str(shipped.configurations() / "conf"), version_base="1.3"):
        return compose("serve", list(overrides))


def test_the_shipped_settings_are_the_defaults_and_listen_on_this_machine_alone(monkeypatch):
    monkeypatch.delenv("MEDCLS_PASSWORD", raising=False)
    settings = serving.read_settings(composed("run=RUN"))
    assert settings.limits == Limits()
    assert (settings.host, settings.password, settings.page) == ("127.0.0.1", None, True)


def test_the_password_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("MEDCLS_PASSWORD", "0123")
    assert serving.read_settings(composed("run=RUN")).password == "0123"


@pytest.mark.parametrize(
    ("override", "kind", "name"),
    [
        ("run=null", "nothing_to_serve", "run=RUN"),
        ("port=-1", "bad_value", "port"),
        ("port=70000", "bad_value", "port"),
        ("port=http", "bad_value", "port"),
        ("page=maybe", "bad_value", "page"),
        ("heat_maps=1", "bad_value", "heat_maps"),
        ("password=''", "bad_value", "password"),
        ("limits.files=0", "bad_value", "limits.files"),
        ("limits.seconds=soon", "bad_value", "limits.seconds"),
    ],
)
def test_wrong_settings_are_refused(override, kind, name):
    with refused(kind, name):
        serving.read_settings(composed("run=RUN", override))


def test_every_setting_of_the_page_of_documentation_is_one(monkeypatch):
    page = Path(__file__).parents[2] / "docs" / "serve.md"
    typed = re.findall(r"^\| `([a-z_.]+=[^`]*)` \|", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(typed) >= 10
    for setting in typed:
        serving.read_settings(composed("run=RUN", setting))


@pytest.mark.parametrize("package", ["fastapi", "uvicorn", "prometheus_client"])
def test_a_missing_package_is_named_with_its_extra(monkeypatch, package):
    for name in [name for name in sys.modules if name.startswith("medcls.serving")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with refused("missing_extra", "medcls[demo]", "medcls[serve]"):
        serving.read_settings(composed("run=RUN"))


def test_the_page_names_its_extra(monkeypatch, tmp_path):
    from medcls.serving import page

    for name in ("GRADIO_TEMP_DIR", *page.NO_TELEMETRY):
        monkeypatch.setenv(name, "")
    monkeypatch.setitem(sys.modules, "gradio", None)
    with refused("missing_extra", "medcls[demo]", "page=false"):
        page.mount_page(None, None, tmp_path, str)


def test_a_run_is_loaded_with_its_heat_maps(finished):
    model, explain = serving.load_model(composed(f"run={finished}"))
    pixels = model.read(finished.parent / "images" / "得病" / "00.png")
    heat_map = explain(pixels, 0)
    assert heat_map.shape == pixels.shape[:2] and 0 <= heat_map.min() <= heat_map.max() <= 1
    assert serving.load_model(composed(f"run={finished}", "heat_maps=false"))[1] is None
    reference = serving.reference_of(str(finished), model)
    assert len(reference.scores) == len(reference.ood) > 0


@pytest.mark.parametrize("error", [MedclsError("It has no map.", "no_map"), RuntimeError("of a library")])
def test_a_network_that_cannot_be_explained_is_served_without_heat_maps(finished, monkeypatch, caplog, error):
    def fail(*_):
        raise error

    monkeypatch.setattr("medcls.inference.explain.explain", fail)
    model, explain = serving.load_model(composed(f"run={finished}"))
    assert model is not None and explain is None
    assert logged(caplog, "no_heat_maps")


def test_without_predictions_of_val_there_is_no_drift_and_a_warning(finished, tmp_path, caplog):
    model, _ = serving.load_model(composed(f"run={finished}", "heat_maps=false"))
    assert serving.reference_of(str(tmp_path), model) is None
    assert logged(caplog, "no_drift")
