"""docs/python.md runs as it is written, and so does the notebook, which shows what is stored in it."""

import importlib.util
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from commands import FENCE, TOP

import medcls
from medcls import api

DOCS = TOP / "docs"
TINY = {"model.name": "test_efficientnet", "data.image_size": 32, "data.batch_size": 8, "data.workers": 0}


def notebook_page() -> ModuleType:
    spec = importlib.util.spec_from_file_location("notebook_page", DOCS / "notebook_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stored() -> dict[str, Any]:
    return json.loads((DOCS / "notebook.ipynb").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_the_python_of_the_page_runs(picture: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for number, (name, level) in enumerate((("malignant", 160), ("benign", 90))):
        for patient in range(12):
            for image in (1, 2):
                path = tmp_path / "images" / name / f"patient{number * 12 + patient + 1}_{image}.png"
                picture(path, seed=1000 * number + 10 * patient + image, level=level)
    for number, (name, level) in enumerate((("malignant", 160), ("other", 90))):
        for image in range(8):
            picture(tmp_path / "site" / name / f"{image}.png", seed=9000 + 100 * number + image, level=level)

    run = api._run

    def tiny(task: Callable[..., Any], name: str, given: Mapping[str, Any], settings: Mapping[str, Any]) -> Any:
        if name == "train":
            given = {**given, "model": "timm"}
            settings = {**settings, **TINY, "trainer.max_epochs": 1, "resamples": 100}
        return run(task, name, given, settings)

    monkeypatch.setattr(api, "_run", tiny)
    blocks = [code for language, code in FENCE.findall((DOCS / "python.md").read_text("utf-8")) if language == "python"]
    assert len(blocks) > 5
    names: dict[str, Any] = {}
    for block in blocks:
        code = block.replace("/my/images", f"{tmp_path}/images").replace("/other/site", f"{tmp_path}/site")
        exec(compile(code, "python.md", "exec"), names)
    assert names["val"].path != names["run"].path and len(names["audit"].findings) > 10
    assert isinstance(names["best"], medcls.Run) and set(names["best"].metrics["split"]) == {"test", "val"}


@pytest.mark.slow
def test_the_notebook_runs_and_shows_what_is_stored(tmp_path: Path):
    def shown(notebook: Mapping[str, Any]) -> list[list[str]]:
        return [
            [kind for output in cell.get("outputs", ()) for kind in sorted(output.get("data", [output["output_type"]]))]
            for cell in notebook["cells"]
        ]

    executed = notebook_page().executed(tmp_path)
    assert shown(executed) == shown(stored())
    assert str(tmp_path) not in json.dumps(executed)


def test_the_notebook_is_stored_with_what_it_shows_and_no_path_of_a_machine():
    cells = [cell for cell in stored()["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    # All but the import print or show something.
    assert [bool(cell["outputs"]) for cell in cells] == [False] + [True] * (len(cells) - 1)
    text = json.dumps(stored())
    assert "/tmp/" not in text and "/home/" not in text and "SYNTHETIC" in text


def test_the_page_of_a_notebook_shows_text_code_and_outputs():
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "text"]},
        {
            "cell_type": "code",
            "source": "run",
            "outputs": [
                {"output_type": "stream", "name": "stdout", "text": ["\x1b[31mred\x1b[0m\n"]},
                {
                    "output_type": "execute_result",
                    "data": {"text/plain": "Run", "text/html": "<p>\n\n    <b>1</b>\n</p>"},
                },
                {"output_type": "display_data", "data": {"text/plain": "plain"}},
                {"output_type": "error", "traceback": ["Wrong"]},
            ],
        },
    ]
    page = notebook_page().to_markdown({"cells": cells})
    assert page == (
        "# Title\ntext\n\n```python\nrun\n```\n\n```text\nred\n```\n\n"
        '<div class="notebook">\n<p>\n<b>1</b>\n</p>\n</div>\n\n```text\nplain\n```\n\n```text\nWrong\n```\n'
    )
