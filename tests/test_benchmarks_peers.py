"""Benchmarks of other programs: what is timed, missing peers, and each program at a tiny size."""

import json
import re
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import gpu, peers
from benchmarks.peer_programs import hand_written_loop, lightning_loop, medcls_training
from benchmarks.peers import Peer, PeerFailed
from benchmarks.results import ratio, report
from medcls.data.sources.folders import from_folders
from medcls.data.splits.split import split
from medcls.models.mobilenetv3 import mobilenetv3_large

# As timm's script logs them: two steps an epoch, the mean so far behind the last.
TIMM_LOG = """
Train: 0 [   0/2 ( 50%)]  Loss: 1.10 (1.10)  Time: 0.500s,   16.00/s  (0.500s,   16.00/s)  LR: 1.0e-02  Data: 0.1 (0.1)
Train: 0 [   1/2 (100%)]  Loss: 1.10 (1.10)  Time: 0.300s,   26.67/s  (0.400s,   20.00/s)  LR: 1.0e-02  Data: 0.1 (0.1)
Train: 1 [   0/2 ( 50%)]  Loss: 1.10 (1.10)  Time: 0.100s,   80.00/s  (0.100s,   80.00/s)  LR: 1.0e-02  Data: 0.1 (0.1)
Train: 1 [   1/2 (100%)]  Loss: 1.10 (1.10)  Time: 0.300s,   26.67/s  (0.200s,   40.00/s)  LR: 1.0e-02  Data: 0.1 (0.1)
"""


@pytest.fixture
def typed(monkeypatch):
    """Set a program's arguments; afterwards the number of threads, which programs choose, is what it was."""
    before = torch.get_num_threads()
    yield lambda *given: monkeypatch.setattr(sys, "argv", ["program", *map(str, given)])
    torch.set_num_threads(before)


def peer(name: str, *, missing: str = "", **seconds: float) -> Peer:
    """One that says it took so many seconds an image, by what is tried."""
    commands = {
        tried: [sys.executable, "-c", f'print(\'{{"seconds": [9, {each}], "images": 1}}\')']
        for tried, each in seconds.items()
    }
    return Peer(name, commands, peers.rate_of_program, missing)


def test_ratio_is_how_many_times_as_fast_the_second_is() -> None:
    assert ratio([(2.0, 1.0), (9.0, 3.0), (5.0, 1.0)]) == {"ratio": 3.0, "smallest": 2.0, "largest": 5.0}


def test_report_prints_a_table_and_writes_the_same(tmp_path, capsys) -> None:
    report("Title", {"size": 8}, [{"what": "slow", "figure": 1.5}, {"what": "gone", "note": "why"}], tmp_path / "a/b")
    assert json.loads((tmp_path / "a/b").read_text())["rows"] == [
        {"what": "slow", "figure": 1.5},
        {"what": "gone", "note": "why"},
    ]
    printed = capsys.readouterr().out
    assert "Title" in printed
    assert "size 8" in printed
    assert "nan" not in printed.lower()


def test_timm_is_read_from_the_end_of_each_epoch_but_the_first() -> None:
    assert peers.rate_of_timm("", TIMM_LOG) == 40.0
    with pytest.raises(PeerFailed, match="images/s"):
        peers.rate_of_timm("", "\n".join(TIMM_LOG.splitlines()[:4]))


def test_the_first_epoch_does_not_count() -> None:
    assert peers.rate_of_program('noise\n{"seconds": [100, 2, 4, 3], "images": 6}\n', "") == 2.0


def test_all_that_is_tried_runs_once_and_then_the_fastest() -> None:
    found = peers.measure([peer("one", slow=0.5, fast=0.25)], 3, {})["one"]
    assert found.best == "fast"
    assert {tried: len(rates) for tried, rates in found.rates.items()} == {"slow": 1, "fast": 3}


def test_a_peer_that_is_missing_or_fails_has_a_row_without_a_value() -> None:
    why = "no such weights"
    fails = Peer("fails", {"": [sys.executable, "-c", f"raise SystemExit({why!r})"]}, peers.rate_of_program)
    found = peers.measure([peer("medcls", one=0.1), peer("gone", missing="not installed"), fails], 2, {})
    rows = {row["what"]: row for row in peers.rows_of(found)}
    assert rows["gone"] == {"what": "gone", "note": "not installed"}
    assert set(rows["fails"]) == {"what", "note"} and rows["fails"]["note"].endswith(why)
    assert rows["medcls"]["figure"] == pytest.approx(10)


def test_the_ratio_to_medcls_is_below_each_peer() -> None:
    found = peers.measure([peer("medcls", one=0.1), peer("other", one=0.3)], 2, {})
    (against,) = (row for row in peers.rows_of(found) if "against" in row)
    assert against["against"] == "other"
    assert against["ratio"] == pytest.approx(3)


def test_peers_get_the_training_images_and_no_others(folder, tmp_path) -> None:
    manifest = split(from_folders(folder({"a": 30, "b": 21}), positive="a"))
    peers.link_training(manifest, tmp_path / "train")
    training = manifest.rows.iloc[manifest.indices("train")]
    linked = {(link.parent.name, link.resolve()) for link in (tmp_path / "train").rglob("*.png")}
    assert linked == {
        (label, (manifest.root / path).resolve())
        for path, label in zip(training["path"], training["label"], strict=True)
    }


def test_without_timm_and_fastai_the_others_can_still_be_run(folder, tmp_path, typed, monkeypatch) -> None:
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda name: None)
    manifest = split(from_folders(folder({"a": 30, "b": 21}), positive="a"))
    given = peers.arguments("", "x").parse_args([])
    vars(given).update(epochs=2, most=10, timm_train=None)
    missing = {one.name: one.missing for one in peers.peers(given, manifest, tmp_path)}
    assert "--timm-train" in missing["timm"]
    assert {name for name, why in missing.items() if why} == {"timm", "timm, channels_last", "fastai, channels_last"}
    given.timm_train = Path("nowhere/train.py")
    assert "nowhere/train.py" in next(p for p in peers.peers(given, manifest, tmp_path) if p.name == "timm").missing


@pytest.mark.parametrize("program", [peers, gpu])
def test_one_epoch_is_too_few(program, typed, capsys) -> None:
    typed("--epochs", 1)
    with pytest.raises(SystemExit):
        program.main()
    assert "--epochs" in capsys.readouterr().err


@pytest.mark.parametrize("program", [hand_written_loop, lightning_loop])
def test_loops_over_files_print_each_epoch(program, folder, typed, capsys) -> None:
    typed("--images", folder({"a": 6, "b": 6}), "--size", 32, "--batch", 4, "--epochs", 2)
    program.main()
    measured = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert measured["images"] == 12
    assert len(measured["seconds"]) == 2
    assert min(measured["seconds"]) > 0


def test_medcls_trains_on_the_images_that_the_others_get(folder, typed, capsys) -> None:
    images = folder({"a": 24, "b": 20})
    typed("--images", images, "--positive", "a", "--most", 16, "--size", 32, "--batch", 8, "--epochs", 2)
    medcls_training.main()
    measured = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert measured["images"] == len(peers.read(images, "a", 16).indices("train"))
    assert len(measured["seconds"]) == 2


def test_without_cuda_the_table_is_not_measured(typed, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    typed("--batches", 32, 64, "--out", tmp_path / "gpu.json")
    gpu.main()
    rows = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    assert {(row["network"], row["batch"]) for row in rows} == {(name, b) for name in gpu.NETWORKS for b in (32, 64)}
    assert all("CUDA" in row["figure"] for row in rows)


@pytest.mark.slow
def test_the_gpu_benchmark_runs_on_a_cpu(folder, typed, tmp_path, capsys) -> None:
    images = folder({"a": 24, "b": 20})
    small = ("--size", 32, "--epochs", 2, "--workers", 0, "--matmul", 64, "--copy-mib", 1, "--precision", "32-true")
    networks = ("--networks", "mobilenetv3_large", "--batches", 12, 512)
    typed("--device", "cpu", "--images", images, "--positive", "a", *small, *networks, "--out", tmp_path / "gpu.json")
    gpu.main()
    rows = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    of = {(row["what"], row.get("against")): row for row in rows if row["batch"] == 12}
    for what in (gpu.ALONE, gpu.PIPELINE):
        assert of[what, None]["figure"] > 0
        assert of[gpu.END_TO_END, what]["ratio"] > 0
    assert sum(row["unit"].startswith("% of") for row in rows if "unit" in row) == 2
    (too_large,) = (row for row in rows if row["batch"] == 512)
    assert "figure" not in too_large and int(re.findall(r"\d+", too_large["note"])[0]) < 2 * 512


def test_memory_that_runs_out_is_a_row(folder, typed, tmp_path, monkeypatch, capsys) -> None:
    def full(*given: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(gpu, "measure", full)
    images = folder({"a": 24, "b": 20})
    typed("--device", "cpu", "--images", images, "--positive", "a", "--networks", "efficientnet_b0", "--batches", 4,
            "--matmul", 64, "--copy-mib", 1, "--out", tmp_path / "gpu.json")  # fmt: skip
    gpu.main()
    row = json.loads((tmp_path / "gpu.json").read_text())["rows"][0]
    assert "memory" in row["note"] and "figure" not in row


def test_operations_are_those_of_the_paper() -> None:
    # Howard et al. 2019, table 3: 219 million multiply-adds. Without squeeze-and-excite's products and activations.
    assert gpu.operations(mobilenetv3_large(1000), 224) == pytest.approx(3 * 2 * 219e6, rel=0.02)


def test_bytes_are_what_operations_read_and_write() -> None:
    a, b = torch.zeros(10), torch.zeros(10)
    with gpu.Traffic() as traffic:
        (a + b).view(2, 5)
        torch.empty(1000)
    assert traffic.bytes == 3 * 10 * 4
