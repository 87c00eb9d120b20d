"""Training end to end against other ways to train the same network on the same images, in turn, on the CPU.

    python -m benchmarks.peers --images data/breast_cancer --timm-train pytorch-image-models/train.py

Each trains in a process of its own, with a number of loader processes that suits it: in the first turn all that are
tried run, and the fastest of them from then on. Counted are an epoch's training images by its seconds, from the second
epoch on; a turn's figure is the median of its epochs. Every program decodes and augments as it does by itself, so the
augmentations are alike in kind (crop or resize, flip, rotation or colour), not equal. A peer that is not there gets a
row that says so.
"""

import dataclasses
import importlib.util
import json
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.pieces import arguments, read
from benchmarks.results import ratio, report
from medcls.data.manifest import Manifest

ROOT = Path(__file__).resolve().parents[1]

# One line a step: the epoch, the step and how many there are, the last and the mean step.
TIMM_STEP = re.compile(r"Train: (\d+) \[\s*(\d+)/(\d+) .*?\(([\d.]+)s,\s+([\d.]+)/s\)")


class PeerFailed(Exception):
    """A peer's process ended without a figure; the message is for its row."""


@dataclasses.dataclass(frozen=True)
class Peer:
    """One way to train.

    Parameters
    ----------
    name : str
        For the table.
    commands : mapping of str to sequence of str
        What is tried, in words, to the command.
    rate : callable
        From what the process printed, its output and its errors, to images/s.
    missing : str
        Why it cannot be run here; empty where it can.
    """

    name: str
    commands: Mapping[str, Sequence[str]]
    rate: Callable[[str, str], float]
    missing: str = ""

    def run(self, tried: str, environment: Mapping[str, str]) -> float:
        """Images/s of one training.

        Raises
        ------
        PeerFailed
            It ended by an error, or told no figure.
        """
        done = subprocess.run(
            self.commands[tried], cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
            raise PeerFailed(f"failed: {last[0][:160]}")
        return self.rate(done.stdout, done.stderr)


def told(output: str, errors: str) -> float:
    """Images/s of one of our programs: see `benchmarks.peer_programs`."""
    measured = json.loads(output.splitlines()[-1])
    return measured["images"] / statistics.median(measured["seconds"][1:])


def timm_told(output: str, errors: str) -> float:
    """Images/s from the log of timm's training script: the mean over the steps of an epoch, full batches all of them.

    Raises
    ------
    PeerFailed
        The log has no such line of the second epoch or a later one.
    """
    steps = [match.groups() for match in TIMM_STEP.finditer(output + errors)]
    rates = [float(rate) for epoch, step, of, _, rate in steps if int(epoch) and int(step) + 1 == int(of)]
    if not rates:
        raise PeerFailed("not measured: its log tells no images/s of a second epoch")
    return statistics.median(rates)


def link_training(manifest: Manifest, folder: Path) -> None:
    """Links to the training images, in one folder a class: what all peers but medcls read."""
    training = manifest.rows.iloc[manifest.indices("train")]
    for number, (path, label) in enumerate(zip(training["path"], training["label"], strict=True)):
        link = folder / label / f"{number:06d}{Path(path).suffix.lower()}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to((manifest.root / path).resolve())


def peers(given: Any, manifest: Manifest, folder: Path) -> list[Peer]:  # noqa: ANN401 - argparse's own
    """What is compared, medcls first.

    Parameters
    ----------
    given : argparse.Namespace
        This program's arguments.
    manifest : Manifest
        The images.
    folder : Path
        Where `train` holds links to the training images.
    """
    common = [f"--batch={given.batch}", f"--size={given.size}", f"--epochs={given.epochs}"]
    images = f"--images={folder / 'train'}"

    def ours(program: str, *flags: str) -> list[str]:
        return [sys.executable, "-m", f"benchmarks.peer_programs.{program}", *common, *flags]

    def by_workers(program: str) -> dict[str, list[str]]:
        return {f"{n} workers": ours(program, images, f"--workers={n}") for n in (0, 2)}

    whole = [f"--images={given.images.resolve()}", f"--most={given.most}"]
    whole += [f"--positive={given.positive}"] if given.positive else []
    timm = "" if given.timm_train else "not measured: name timm's training script by --timm-train"
    if given.timm_train and not given.timm_train.is_file():
        timm = f"not measured: there is no file {given.timm_train}"
    script = [sys.executable, str(Path(given.timm_train or "").resolve()), str(folder)]
    script += ["--device=cpu", "--model=mobilenetv3_large_100", f"--num-classes={len(manifest.classes)}"]
    script += [f"--batch-size={given.batch}", f"--img-size={given.size}", f"--epochs={given.epochs}"]
    script += ["--warmup-epochs=0", "--val-split=", "--log-interval=1", f"--output={folder / 'timm'}"]
    # With no worker it does not run: it asks for ones that live on between epochs.
    workers = {f"{n} workers": f"--workers={n}" for n in (2, 4)}
    fastai = "" if importlib.util.find_spec("fastai") else "not measured: fastai is not installed"
    return [
        Peer("medcls", {"": ours("medcls_training", *whole)}, told),
        Peer("hand-written loop", by_workers("hand_written_loop"), told),
        Peer("plain Lightning loop", by_workers("lightning_loop"), told),
        Peer("timm", {tried: [*script, flag] for tried, flag in workers.items()}, timm_told, timm),
        Peer(
            "timm, channels_last",
            {tried: [*script, flag, "--channels-last"] for tried, flag in workers.items()},
            timm_told,
            timm,
        ),
        Peer("fastai, channels_last", by_workers("fastai_learner"), told, fastai),
    ]


@dataclasses.dataclass
class Measured:
    """What is known of a peer so far: images/s of each turn by what was tried, and what hindered it."""

    rates: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    reason: str = ""

    @property
    def best(self) -> str:
        """What was tried with the highest rate in the first turn."""
        return max(self.rates, key=lambda tried: self.rates[tried][0])


def measure(all_peers: Sequence[Peer], turns: int, environment: Mapping[str, str]) -> dict[str, Measured]:
    """Run them one after another, so many times."""
    found = {peer.name: Measured(reason=peer.missing) for peer in all_peers}
    for turn in range(turns):
        for peer in all_peers:
            known = found[peer.name]
            if known.reason:
                continue
            try:
                for tried in [known.best] if turn else peer.commands:
                    known.rates.setdefault(tried, []).append(peer.run(tried, environment))
            except PeerFailed as failure:
                known.reason = str(failure)
    return found


def rows_of(found: Mapping[str, Measured], subject: str = "medcls") -> list[dict[str, Any]]:
    """The table: a row for each peer, and under it how many times as fast the subject was in the same turns."""
    mine = found[subject]
    own = mine.rates[mine.best] if not mine.reason else []
    rows: list[dict[str, Any]] = [{"what": subject, **_figure(mine)}]
    for name, known in found.items():
        if name == subject:
            continue
        rows.append({"what": name, **_figure(known)})
        if own and not known.reason:
            # In seconds an image.
            pairs = [(1 / theirs, 1 / ours) for theirs, ours in zip(known.rates[known.best], own, strict=True)]
            rows.append({"what": subject, "against": name, **ratio(pairs)})
    return rows


def _figure(known: Measured) -> dict[str, Any]:
    """Images/s and with what, or the reason why there are none."""
    if known.reason:
        return {"note": known.reason}
    best = known.best
    others = ", ".join(f"{tried}: {rates[0]:.1f}" for tried, rates in known.rates.items() if tried != best)
    note = best + (f" (first turn: {known.rates[best][0]:.1f}; {others})" if others else "")
    return {"figure": statistics.median(known.rates[best]), "unit": "images/s", "note": note}


def main() -> None:
    """Train by all of them in turn; print and write images/s, and how many times as fast medcls is."""
    parser = arguments(__doc__, "peers")
    parser.add_argument("--epochs", type=int, default=3, help="of each training; the first is not counted")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--most", type=int, default=320, help="training images at most")
    parser.add_argument("--timm-train", type=Path, help="timm's train.py")
    given = parser.parse_args()
    if given.epochs < 2:
        parser.error("--epochs: at least 2, as the first is not counted")
    manifest = read(given.images, given.positive, given.most)
    training = len(manifest.indices("train"))
    with tempfile.TemporaryDirectory() as place:
        link_training(manifest, Path(place) / "train")
        environment = {"MEDCLS_CACHE": f"{place}/cache"}
        found = measure(peers(given, manifest, Path(place)), given.turns, environment)
    report(
        "Training end to end, by medcls and by others",
        {
            "network": "mobilenetv3_large",
            "images": training,
            "batch": given.batch,
            "steps an epoch": math.ceil(training / given.batch),
            "size": given.size,
            "device": "cpu",
            "threads": torch.get_num_threads(),
            "epochs": given.epochs - 1,
            "turns": given.turns,
        },
        rows_of(found),
        given.out,
    )


if __name__ == "__main__":
    main()
