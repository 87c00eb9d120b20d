"""`python -m medcls.explain`: a heat map beside each image, and a table that says of what."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from entry_points import run_main
from PIL import Image
from refusals import refused_command, rules

from medcls import explain
from medcls.workflow import explaining

CLASSES = ("得病", "正常")


@pytest.fixture
def images(finished) -> Path:
    return finished.parent / "images"


@pytest.fixture
def few(images, tmp_path) -> Path:
    """Four images in two folders, two of which differ in their extension only, and two that are none."""
    for number, name in enumerate(("a/one.png", "a/two.png", "b/one.png")):
        (tmp_path / "few" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(images / CLASSES[number % 2] / f"0{number}.png", tmp_path / "few" / name)
    with Image.open(images / CLASSES[0] / "05.png") as opened:
        opened.convert("RGB").save(tmp_path / "few" / "a" / "one.jpg")
    (tmp_path / "few" / "broken.png").write_bytes(b"nothing")
    return tmp_path / "few"


def explained(out: Path, *settings: str) -> pd.DataFrame:
    run_main(explain.main, *settings, f"hydra.run.dir={out}")
    return pd.read_csv(out / "heat_maps.csv", keep_default_na=False)


@pytest.mark.usefixtures("drawn_figures")
def test_each_image_has_a_heat_map_beside_it_and_a_row(finished, few, tmp_path, caplog):
    out = tmp_path / "out"
    table = explained(out, f"run={finished}", f"images={few}").set_index("path")
    assert [str(Path(path).relative_to(few)) for path in table.index] == [
        "a/one.jpg", "a/one.png", "a/two.png", "b/one.png", "broken.png",
    ]  # fmt: skip
    assert table["heat_map"].tolist() == [
        "heat_maps/a/one.jpg.png", "heat_maps/a/one.png.png", "heat_maps/a/two.png", "heat_maps/b/one.png", "",
    ]  # fmt: skip
    drawn = {str(path.relative_to(out)) for path in out.rglob("*.png")}
    assert drawn == set(table["heat_map"]) - {""}
    assert all(Image.open(out / name).size[0] > 400 for name in drawn)
    assert table["error_kind"].tolist() == [""] * 4 + ["not_an_image"]
    assert "unreadable_images" in rules(caplog)
    good = table[table["error_kind"] == ""]
    assert (good["class"] == good["predicted"]).all() and set(good["class"]) <= set(CLASSES)
    # The last map of these tiny images with more than one field.
    assert set(good["layers"]) == {"blocks.4.0.bn1"} and set(good["rows"].astype(int)) == {2}
    assert set(good["method"]) == {"grad_cam"}
    assert (out / "explain.log").is_file()


def test_the_class_and_its_probability_are_those_of_the_run(finished, images, tmp_path):
    evaluated = pd.read_csv(finished / "predictions" / "test.csv").iloc[:2]
    listed = tmp_path / "listed.csv"
    listed.write_text("path\n" + "\n".join(str(images / path) for path in evaluated["path"]), encoding="utf-8")
    for number, name in enumerate(CLASSES):
        table = explained(tmp_path / f"out{number}", f"run={finished}", f"images={listed}", f"class_name={name}")
        assert set(table["class"]) == {name}
        np.testing.assert_allclose(table["probability"].astype(float), evaluated[f"prob_{name}"], atol=1e-5)


def test_occlusion_and_another_layer(finished, images, tmp_path):
    one = f"images={images}/得病/00.png"
    table = explained(tmp_path / "a", f"run={finished}", one, "method=occlusion", "window=0.25")
    assert table.iloc[0][["method", "layers", "rows", "columns"]].tolist() == ["occlusion", "", 8, 8]
    table = explained(tmp_path / "b", f"run={finished}", one, "layer=blocks.1")
    assert table.iloc[0]["layers"] == "blocks.1" and table.iloc[0]["rows"] > 2


@pytest.mark.parametrize(
    ("kind", "named", "settings"),
    [
        ("missing_setting", ("images",), ["images=null"]),
        ("missing_setting", ("run",), ["run=null"]),
        ("needs_a_run", ("model.onnx",), ["run=model.onnx"]),
        ("no_such_file", ("nowhere",), ["images=nowhere"]),
        ("not_a_run", ("nowhere",), ["run=nowhere"]),
        ("idle_setting", ("window",), ["window=0.2"]),
        ("idle_setting", ("layer",), ["layer=bn2", "method=occlusion"]),
        ("bad_value", ("method",), ["method=saliency"]),
        ("bad_value", ("window",), ["window=2", "method=occlusion"]),
        ("unknown_class", ("得病",), ["class_name=病"]),
        ("unknown_layer", ("bn2",), ["layer=bn3"]),
        ("no_map", ("classifier",), ["layer=classifier"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_makes_no_sense_is_refused_and_leaves_no_folder(finished, images, tmp_path, kind, named, settings):
    given = {"run": f"run={finished}", "images": f"images={images}/得病/00.png"}
    given |= {setting.split("=")[0]: setting for setting in settings}
    out = tmp_path / "out"
    refused_command(kind, named, explain.main, *given.values(), f"hydra.run.dir={out}")
    assert not out.exists()


def test_heat_maps_are_not_drawn_among_the_images_or_over_others(finished, few, tmp_path):
    one = [f"run={finished}", f"images={few}"]
    refused_command("run_folder_among_images", ("images=",), explain.main, *one, f"hydra.run.dir={few}/out")
    assert not (few / "out").exists()
    explained(tmp_path / "out", *one)
    refused_command("folder_taken", (), explain.main, *one, f"hydra.run.dir={tmp_path}/out")


def test_what_was_drawn_before_an_interruption_has_its_rows(finished, few, tmp_path, monkeypatch):
    real, drawn = explaining.explain_file, []

    def stops(*arguments):
        if len(drawn) == 2:
            raise KeyboardInterrupt
        drawn.append(real(*arguments))
        return drawn[-1]

    monkeypatch.setattr(explaining, "explain_file", stops)
    monkeypatch.setattr("sys.argv", ["explain", f"run={finished}", f"images={few}", f"hydra.run.dir={tmp_path}/out"])
    with pytest.raises(SystemExit) as end:
        explain.main()
    assert end.value.code == 130
    assert pd.read_csv(tmp_path / "out" / "heat_maps.csv")["path"].tolist() == [row["path"] for row in drawn]
