"""The export command: one file that predicts what the run does, or none."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from entry_points import run_main
from made_sets import SMOKE, class_folders
from refusals import refused, refused_command

import medcls
from medcls import export, predict, train
from medcls.inference.onnx_file import Scores
from medcls.workflow import bundle


@pytest.fixture(scope="module")
def exported(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an ONNX export."""
    out = tmp_path_factory.mktemp("exported") / "out"
    run_main(export.main, f"run={finished}", f"hydra.run.dir={out}")
    return out


def copy_of(exported: Path) -> Callable[..., None]:
    """The graph of an earlier export, in place of a new one, which takes seconds."""

    def write_onnx(loaded: object, described: object, path: Path) -> None:
        shutil.copy(exported / "model.onnx", path)

    return write_onnx


@pytest.fixture
def written_before(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports are copies of the earlier one."""
    monkeypatch.setattr("medcls.inference.export.write_onnx", copy_of(exported))


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def record_of(out: Path) -> dict:
    return json.loads((out / "export.json").read_text(encoding="utf-8"))


def images_of(run: Path) -> Path:
    return Path(yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))["data"]["root"])


def predicts_as_evaluated(model: Path, run: Path, split: str = "test") -> None:
    """Probabilities, decisions and energies of an export are those in the run's table."""
    table = pd.read_csv(run / "predictions" / f"{split}.csv")
    loaded = medcls.load(model)
    found = loaded.predict([images_of(run) / path for path in table["path"]])
    assert len(found) == len(table)
    for name in loaded.classes:
        assert [one.probabilities[name] for one in found] == pytest.approx(table[f"prob_{name}"].tolist(), abs=1e-5)
    assert [one.ood for one in found] == pytest.approx(table["ood"].tolist(), abs=1e-4)


@pytest.mark.wording
def test_an_export_predicts_what_evaluate_wrote(finished, exported):
    record = record_of(exported)
    model = exported / "model.onnx"
    assert record["sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert record["verified"]["images_are"].startswith("val ")
    assert record["verified"]["probability_difference"] <= record["verified"]["tolerance"] == 1e-5
    assert record["verified"]["same_decisions"] == record["verified"]["images"] > 5
    assert [row["images"] for row in record["latency"]["median_of_batches"]] == [1, 32]
    assert all(row["eager_ms"] > 0 and row["exported_ms"] > 0 for row in record["latency"]["median_of_batches"])
    predicts_as_evaluated(model, finished)


def test_the_model_is_described_as_that_of_the_run(finished, exported):
    assert medcls.load(exported / "model.onnx").described() == medcls.load(finished).described()


def test_no_path_of_this_machine_is_in_the_file(finished, exported):
    data = (exported / "model.onnx").read_bytes()
    for place in (Path(medcls.__file__).parent, finished, images_of(finished), Path(sys.prefix), Path.home()):
        assert str(place).encode() not in data
    assert b".py" not in data and b"/site-packages" not in data


def test_predict_takes_an_export(finished, exported, tmp_path):
    images = images_of(finished)
    for name, run in (("file", exported / "model.onnx"), ("run", finished)):
        run_main(predict.main, f"run={run}", f"images={images}", f"output={tmp_path}/{name}.csv")
    first, second = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("file", "run"))
    assert first["path"].tolist() == second["path"].tolist() and len(first) == 60
    numbers = [name for name in first.columns if name.startswith("prob_")]
    assert numbers and np.abs(first[numbers] - second[numbers]).max(axis=None) <= 1e-5


def test_an_export_that_differs_is_not_left_behind(finished, written_before, monkeypatch):
    exact = Scores.__call__
    monkeypatch.setattr(Scores, "__call__", lambda self, pixels: exact(self, pixels) + np.float32([0, 0.001]))
    refused_command("export_differs", ("1e-05", "val"), export.main, f"run={finished}", "hydra.run.dir=out")
    assert not Path("out").exists()
    run_main(export.main, f"run={finished}", "tolerance=0.01", "hydra.run.dir=out")
    assert 1e-5 < record_of(Path("out"))["verified"]["probability_difference"] < 0.01


def test_where_the_images_are_gone_phantoms_verify(finished, written_before, capsys):
    settings = ("verify_on=10", "images=nowhere", "hydra.run.dir=out")
    run_main(export.main, f"run={finished}", *settings)
    verified = record_of(Path("out"))["verified"]
    assert verified["images_are"] == "phantoms" and verified["images"] >= 5
    assert "nowhere" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("bad_value", ("format=onx",)),
        ("bad_value", ("verify_on=0",)),
        ("bad_value", ("tolerance=a",)),
        ("bad_value", ("format=bundle", "zip=1")),
        ("bad_value", ("format=bundle", "licence='my own'")),
        ("idle_setting", ("auroc_tolerance=0.1",)),
        ("idle_setting", ("format=onnx_int8", "tolerance=0.1")),
        ("nothing_to_export", ("run=null",)),
        ("not_a_run", ("run=nowhere",)),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_loaded(finished, monkeypatch, kind, arguments):
    monkeypatch.setattr("medcls.export.export_run", lambda *_: pytest.fail("loaded"))
    run = () if any(one.startswith("run=") for one in arguments) else (f"run={finished}",)
    name = arguments[-1].split("=")[0]
    refused_command(kind, (name if name != "run" else "",), export.main, *run, *arguments)
    assert not Path("exports").exists()


@pytest.mark.slow
def test_a_program_of_torch_predicts_what_the_run_does(finished):
    import torch

    run_main(export.main, f"run={finished}", "format=torch_export", "hydra.run.dir=out")
    assert record_of(Path("out"))["verified"]["probability_difference"] <= 1e-5
    with zipfile.ZipFile("out/model.pt2") as archive:
        data = b"".join(archive.read(name) for name in archive.namelist())
    assert str(Path(medcls.__file__).parent).encode() not in data and str(finished).encode() not in data
    extra = {"medcls.json": ""}
    module = torch.export.load("out/model.pt2", extra_files=extra).module()
    model = medcls.load(finished)
    assert json.loads(extra["medcls.json"]) == model.described()
    pixels = np.stack([model.read(path) for path in sorted(images_of(finished).rglob("*.png"))[:3]])
    assert module(torch.from_numpy(pixels)).detach().numpy() == pytest.approx(model.score(pixels), abs=1e-4)


@pytest.mark.slow
def test_8_bits_are_kept_if_val_keeps_its_auroc(finished, monkeypatch):
    settings = (f"run={finished}", "format=onnx_int8", "calibration_images=20", "hydra.run.dir=out")
    run_main(export.main, *settings, "auroc_tolerance=0.2")
    record = record_of(Path("out"))
    assert record["int8"]["auroc_of_val"]["loss"] <= 0.2 and "20" in record["int8"]["calibrated_on"]
    model = medcls.load("out/model_int8.onnx")
    assert model.watermarks == (*medcls.load(finished).watermarks, "8-bit weights")
    # The scores of an export with its classes mistaken for each other have the AUROC reversed.
    exact = Scores.__call__
    monkeypatch.setattr(Scores, "__call__", lambda self, pixels: exact(self, pixels)[:, ::-1])
    shutil.rmtree("out")
    refused_command("export_differs", ("AUROC", "0.01"), export.main, *settings)
    assert not Path("out").exists()


@pytest.fixture(scope="module")
def bundled(finished: Path, exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a run."""
    out = tmp_path_factory.mktemp("bundled") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("medcls.inference.export.write_onnx", copy_of(exported))
        run_main(export.main, f"run={finished}", "format=bundle", "licence=cc-by-nc-4.0", f"hydra.run.dir={out}")
    return out / "bundle"


def test_a_bundle_is_complete_and_its_hashes_are_right(finished, bundled):
    names = {"README.md", "model.onnx", "model.safetensors", "report.html", "LICENCES.md", "environment.json"}
    assert {path.name for path in bundled.iterdir()} == {*names, "export.json", "SHA256SUMS"}
    done = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=bundled, check=False)
    assert done.returncode == 0
    predicts_as_evaluated(bundled / "model.onnx", finished)
    with refused("cannot_write", "LICENCES.md"):
        copy = Path(shutil.copytree(bundled, "copy"))
        (copy / "LICENCES.md").write_text("others", encoding="utf-8")
        bundle.check_bundle(copy, medcls.load(finished).checkpoint)


def test_the_weights_of_a_bundle_rebuild_the_network(finished, bundled):
    import torch
    from safetensors import safe_open
    from safetensors.torch import load_file

    from medcls.inference.load import weights_hash
    from medcls.models.zoo import timm_network

    state = load_file(bundled / "model.safetensors")
    with safe_open(bundled / "model.safetensors", "pt") as file:
        metadata = file.metadata()
    described, built = json.loads(metadata["medcls"]), json.loads(metadata["network"])
    assert described["checkpoint"] == weights_hash(state)
    settings = {name: value for name, value in built["network"].items() if name != "_target_"}
    network = timm_network(**settings)
    network.load_state_dict(state)
    with torch.no_grad():
        assert network.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 2)


@pytest.mark.wording
def test_the_card_of_a_bundle_is_read_by_hugging_face(finished, bundled):
    from huggingface_hub import ModelCard

    card = ModelCard((bundled / "README.md").read_text(encoding="utf-8"))
    assert card.data.license == "cc-by-nc-4.0" and card.data.pipeline_tag == "image-classification"
    measured = json.loads((finished / "metrics.json").read_text(encoding="utf-8"))["test"]["values"]
    results = {one.metric_type: one for one in card.data.eval_results}
    for theirs, ours in (("roc_auc", "auroc"), ("recall", "sensitivity"), ("specificity", "specificity")):
        assert results[theirs].metric_value == pytest.approx(measured[ours], abs=1e-6)
        assert re.search(r"\d to \d", results[theirs].metric_name)
    assert results["roc_auc"].dataset_split == "test"
    assert len(re.findall(r"^## ", card.text, re.MULTILINE)) > 10
    assert "cc-by-nc-4.0" in (bundled / "LICENCES.md").read_text(encoding="utf-8")


def test_a_bundle_names_no_image_and_no_place(finished, bundled):
    paths = pd.read_csv(finished / "manifest.csv")["path"].tolist()
    for file in bundled.iterdir():
        data = file.read_bytes()
        for name in [*paths, str(finished), str(images_of(finished)), str(bundled.parent), str(Path.home())]:
            assert name.encode() not in data, f"{file.name} names {name}"
    assert "<img" not in (bundled / "report.html").read_text(encoding="utf-8").replace('<img src="data:image/svg', "")


@pytest.mark.parametrize(
    "text", ["seen in patient0042_image1.png.", "of ('patient0042')", "in /data/clinic/scans", "patient0042"]
)
def test_a_text_that_names_one_is_not_bundled(text):
    rows = pd.DataFrame({"path": ["patient0042_image1.png"], "group": ["patient0042"]})
    with refused("names_in_bundle", "README.md") as raised:
        bundle.check_names_nothing({"README.md": text}, [rows], ["/data/clinic"])
    assert "0042" not in str(raised.value) and "/data" not in str(raised.value)
    bundle.check_names_nothing({"README.md": "patients, 42, patient"}, [rows], ["/data/clinic"])


@pytest.mark.slow
def test_a_zipped_bundle_unpacks_to_the_same(finished, written_before):
    run_main(export.main, f"run={finished}", "format=bundle", "zip=true", "hydra.run.dir=out")
    assert {path.name for path in Path("out").iterdir()} == {"bundle.zip", "export.json", "export.log"}
    shutil.unpack_archive("out/bundle.zip", "unpacked")
    bundle.check_bundle(Path("unpacked/bundle"), medcls.load(finished).checkpoint)


@pytest.mark.slow
def test_a_bundle_of_patients_hides_them(tmp_path):
    """With groups from the file names, which the report is asked to compare."""
    counts = {"well": 24, "ill": 24}
    class_folders(tmp_path / "images", counts, "Meier-Hans_{number:02d}.png")
    run_main(
        train.main, *SMOKE, "model=timm", "model.name=test_efficientnet", "data.image_size=32", "subgroups=[group]",
        f"data.root={tmp_path}/images", "positive_class=ill", r"data.group_pattern='Meier-Hans_\d'",
        f"hydra.run.dir={tmp_path}/run",
    )  # fmt: skip
    rows = pd.read_csv(tmp_path / "run" / "manifest.csv")
    assert rows["group"].str.contains("Meier").all()
    assert "Meier" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    run_main(export.main, f"run={tmp_path}/run", "format=bundle", f"hydra.run.dir={tmp_path}/out")
    for file in (tmp_path / "out" / "bundle").iterdir():
        assert b"Meier" not in file.read_bytes(), file.name
    page = (tmp_path / "out" / "bundle" / "report.html").read_text(encoding="utf-8")
    plots = [base64.b64decode(text) for text in re.findall(r"data:image/svg\+xml;base64,([\w+/=]+)", page)]
    assert len(plots) > 3 and not any(b"Meier" in plot for plot in plots)
