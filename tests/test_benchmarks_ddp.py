"""The benchmark of several processes runs on small images, and writes the table that it prints."""

import json
import sys

import pytest

from benchmarks import ddp


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")
def test_ddp(folder, tmp_path, monkeypatch, own_cache):
    root, out = folder({"a": 30, "b": 30}), tmp_path / "out.json"
    given = ["--images", str(root), "--positive", "a", "--size", "32", "--batch", "8", "--out", str(out)]
    network = ["--setting", "model=timm", "--setting", "model.name=test_vit"]
    monkeypatch.setattr(sys, "argv", ["ddp", *given, *network, "--turns", "1", "--epochs", "4"])
    ddp.main()
    rows = {row["what"]: row for row in json.loads(out.read_text(encoding="utf-8"))["rows"]}
    one, two = rows["1 process(es)"], rows["2 process(es)"]
    assert two["ratio"] == pytest.approx(two["figure"] / one["figure"])
    assert two["efficiency"] == pytest.approx(two["ratio"] / 2)
    assert len(rows) == 3
