"""Files of a run that were changed, truncated, exchanged or damaged are refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from refusals import check, refused, refused_command

from medcls import compare, evaluate, train
from medcls.archives import find_damage
from medcls.cli.building import build_network
from medcls.cli.trained_runs import open_run
from medcls.data.manifest import fingerprint, read_rows
from medcls.errors import MedclsError
from medcls.evaluation.decision_rules import fit_decision_rules
from medcls.evaluation.predictions import from_logits, read_csv
from medcls.inference.load import load, weights_hash
from medcls.learning.checkpoints import AtomicCheckpointIO
from medcls.models.weights import read_state
from medcls.workflow.finished_runs import read_table


@pytest.fixture
def run(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def renamed(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(split=rows["split"].replace({"train": "test"}))


def relabelled(rows: pd.DataFrame) -> pd.DataFrame:
    one, other = sorted(set(rows["label"]))
    return rows.assign(label=rows["label"].map({one: other, other: one}))


def other_seed(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(split=rows["split"].sample(frac=1, random_state=1).tolist())


@pytest.mark.parametrize("change", [renamed, relabelled, other_seed, lambda rows: rows[:20], lambda rows: rows[:-1]])
def test_p15_a_manifest_that_was_changed_is_refused(run, change):
    rows = read_rows(run / "manifest.csv")
    assert (
        fingerprint(rows) == load(run / "checkpoints" / "best.ckpt", lambda d: build_network(d, trust=False)).manifest
    )
    change(rows).to_csv(run / "manifest.csv", index=False)
    with refused("of_another_run", "best.ckpt", fingerprint(rows), fingerprint(change(rows)), "manifest.csv"):
        open_run(str(run), settings())


def settings() -> DictConfig:
    """What `open_run` asks of a command line."""
    return OmegaConf.create({"trust": False, "images": None, "keep_memory": True})


def of_another_run(run: Path, name: str) -> None:
    """Put the checkpoint of a training with other settings, on the same images, in the place of one."""
    path = run / "checkpoints" / name
    content = torch.load(path, weights_only=True)
    content["medcls"]["run"] = "0123456789abcdef"
    torch.save(content, path)


@pytest.mark.slow
def test_p15_another_runs_checkpoint_or_manifest_is_refused_by_the_commands(run):
    of_another_run(run, "best.ckpt")
    (run / "report.html").unlink()
    before = contents(run)
    for main, argument in ((evaluate.main, "run"), (train.main, "resume")):
        refused_command("of_another_run", ("best.ckpt", "0123456789abcdef"), main, f"{argument}={run}")
    after = contents(run)
    for path in before:
        assert path.suffix == ".log" or path.name in ("config.yaml", "environment.json") or after[path] == before[path]


@pytest.mark.slow
def test_p15_a_training_does_not_go_on_from_another_runs_checkpoint(run):
    of_another_run(run, "last.ckpt")
    names = ("last.ckpt", "0123456789abcdef")
    refused_command("of_another_run", names, train.main, f"resume={run}", "trainer.max_epochs=4")


def test_p15_a_checkpoint_and_its_run_have_the_same_identity(finished):
    run = json.loads((finished / "environment.json").read_text(encoding="utf-8"))["run"]
    for name in ("best.ckpt", "last.ckpt"):
        _, described = read_state(finished / "checkpoints" / name)
        assert described["run"] == run and len(run) == 16


# ---------------------------------------------------------------- predictions


def changed(path: Path, change) -> None:
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    change(table).to_csv(path, index=False)


def swapped(table: pd.DataFrame) -> pd.DataFrame:
    one, other = [name for name in table if name.startswith("prob_")]
    return table.assign(**{one: table[other], other: table[one]})


def one_row(table: pd.DataFrame) -> pd.DataFrame:
    one, other = [name for name in table if name.startswith("prob_")]
    table = table.copy()
    table.loc[3, [one, other]] = ["0.25", "0.75"]
    return table


def one_logit(table: pd.DataFrame) -> pd.DataFrame:
    table = table.copy()
    name = next(name for name in table if name.startswith("logit_"))
    table.loc[3, name] = str(float(table.loc[3, name]) + 0.5)
    return table


@pytest.mark.parametrize("change", [swapped, one_row, one_logit])
def test_p15_probabilities_that_contradict_their_logits_are_refused(run, change):
    path = run / "predictions" / "test.csv"
    read_csv(path, "得病")
    changed(path, change)
    with refused("scores_disagree", "test.csv", ".png'", "medcls.evaluate"):
        read_csv(path, "得病")


@pytest.mark.parametrize("calibrate", ["temperature", "logistic", "none"])
def test_p15_whatever_calibrated_them_probabilities_agree_with_their_logits(finished, tmp_path, calibrate):
    draw = np.random.default_rng(0)
    for classes in (2, 5):
        names = tuple("abcde"[:classes])
        labels = draw.integers(0, classes, 200)
        logits = draw.normal(size=(200, classes)) * 30 + 20 * np.eye(classes)[labels]
        rows = pd.DataFrame({"path": [f"{n}.png" for n in range(200)], "label": [names[k] for k in labels]})
        rows = rows.assign(group="", split="val")
        table = from_logits(rows, np.arange(200), logits, names, "a" if classes == 2 else None, "0" * 16)
        for one in (
            table,
            fit_decision_rules(table, "fixed=0.5" if classes == 2 else "youden", calibrate=calibrate).calibrate(table),
        ):
            one.write_csv(tmp_path / "val.csv")
            assert read_csv(tmp_path / "val.csv", table.positive).rows.equals(one.rows)


@pytest.mark.parametrize(
    ("change", "numbers"),
    [
        (lambda table: table[:5], ("5 ", "12 ", "7 ")),
        (lambda table: table[:-1], ("11 ", "12 ", "1 ")),
        (lambda table: table.assign(label=table["label"].tolist()[::-1]), ("12 ", "label")),
        (lambda table: table.assign(path="x" + table["path"]), ("12 ",)),
    ],
)
def test_p15_a_predictions_table_that_was_truncated_or_changed_is_refused(run, change, numbers):
    changed(run / "predictions" / "test.csv", change)
    with refused("not_the_manifest", "test.csv", "manifest.csv", *numbers, "python -m medcls.evaluate"):
        read_table(run, "test", "得病")


def test_p15_truncated_predictions_are_refused_by_evaluate_and_compare(run, finished):
    for name in ("test", "val"):
        changed(run / "predictions" / f"{name}.csv", lambda table: table[:-2])
    for main, name, arguments in (
        (compare.main, "test.csv", (f"runs=[{finished},{run}]",)),
        (evaluate.main, "test.csv", (f"predictions={run}/predictions/test.csv", "positive_class='得病'")),
        (evaluate.main, "val.csv", (f"run={run}",)),
    ):
        refused_command("not_the_manifest", (name, "manifest.csv", " 2 "), main, *arguments)


# ---------------------------------------------------------------- checkpoints


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """A checkpoint of few bytes, of which each is as likely to be hit."""
    path = tmp_path_factory.mktemp("small") / "best.ckpt"
    draw = torch.Generator().manual_seed(0)
    state = {f"network.{name}.weight": torch.randn(6, 5, generator=draw) for name in "abc"}
    AtomicCheckpointIO().save_checkpoint({"state_dict": state, "medcls": {"classes": ["a", "b"]}, "epoch": 1}, path)
    return path


def test_p60_no_flipped_bit_of_a_checkpoint_is_read_as_other_weights(small, tmp_path):
    draw, content = np.random.default_rng(0), small.read_bytes()
    truth, path, refused = weights_hash(read_state(small)[0]), tmp_path / "best.ckpt", 0
    for place, bit in zip(draw.integers(0, len(content), 400).tolist(), draw.integers(0, 8, 400).tolist(), strict=True):
        damaged = bytearray(content)
        damaged[place] ^= 1 << bit
        path.write_bytes(damaged)
        for read in (read_state, AtomicCheckpointIO().load_checkpoint):
            try:
                found = read(path)
            except MedclsError as error:
                refused += 1
                check(error, "damaged_weights" if read is read_state else "damaged_checkpoint", str(path))
                assert "\n" not in str(error)
                continue
            state = (
                found[0]
                if isinstance(found, tuple)
                else {name.removeprefix("network."): tensor for name, tensor in found["state_dict"].items()}
            )
            assert weights_hash(state) == truth, "a flip in what is only padding"
    assert refused > 400


@pytest.mark.parametrize(
    ("left", "as_weights"),
    [
        (0.0, "not_weights"), (0.01, "damaged_weights"), (0.5, "damaged_weights"), (0.99, "damaged_weights"),
        ("zeros", "damaged_weights"), ("text", "not_weights"), ("header", "damaged_weights"),
    ],
)  # fmt: skip
def test_p60_every_damage_of_a_checkpoint_is_an_error(finished, tmp_path, left, as_weights):
    content = (finished / "checkpoints" / "last.ckpt").read_bytes()
    if left == "zeros":
        content = content[: len(content) // 2] + bytes(4096) + content[len(content) // 2 + 4096 :]
    elif left == "text":
        content = b"<html>Not found</html>"
    elif left == "header":
        content = b"XX" + content[2:]
    else:
        content = content[: int(len(content) * left)]
    path = tmp_path / "last.ckpt"
    path.write_bytes(content)
    assert find_damage(path)
    for read, kind in ((AtomicCheckpointIO().load_checkpoint, "damaged_checkpoint"), (read_state, as_weights)):
        with refused(kind, str(path)) as raised:
            read(path)
        assert "\n" not in str(raised.value)


def test_p60_a_damaged_checkpoint_is_reported_by_the_commands(run, capsys):
    for name in ("best.ckpt", "last.ckpt"):
        content = bytearray((run / "checkpoints" / name).read_bytes())
        content[len(content) // 2] ^= 1
        (run / "checkpoints" / name).write_bytes(content)
    for main, argument, kind, name in (
        (evaluate.main, "run", "damaged_weights", "best.ckpt"),
        (train.main, "resume", "damaged_checkpoint", "last.ckpt"),
    ):
        refused_command(kind, (name,), main, f"{argument}={run}")
        assert "Traceback" not in capsys.readouterr().err
