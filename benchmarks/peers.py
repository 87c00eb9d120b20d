"""Training end to end, compared with other programs that train the same network on the same images, on the CPU.

    python -m benchmarks.peers --images data/breast_cancer --timm-train pytorch-image-models/train.py

Each trains in a separate process, with its fastest number of worker processes: in the first turn several are tried,
then only the fastest. The rate is an epoch's training images per second, from the second epoch on; a turn's rate is the
median of its epochs. Each program decodes and augments in its own way, so the augmentations are similar (crop or
resize, flip, rotation or colour), not equal. A peer that is not installed gets a row that says so.
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

# One line for each step: the epoch, the step and their number, the last and the mean time.
TIMM_STEP = re.compile(r"Train: (\d+) \[\s*(\d+)/(\d+) .*?\(([\d.]+)s,\s+([\d.]+)/s\)")


class PeerFailed(Exception):
    """A peer's process ended without a result; the message is for its row."""


@dataclasses.dataclass(frozen=True)
class Peer:
    """One way to train.

    Parameters
    ----------
    name : str
        For the table.
    commands : mapping of str to sequence of str
        The commands to try, by description.
    rate : callable
        From the output and the errors of the process to images/s.
    missing : str
        Why it cannot run here; empty if it can.
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
            It failed, or printed no result.
        """
        done = subprocess.run(
            self.commands[tried], cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
            raise PeerFailed(f"failed: {last[0][:160]}")
        return self.rate(done.stdout, done.stderr)


def rate_of_program(output: str, errors: str) -> float:
    """Images/s from the output of a program of `benchmarks.peer_programs`."""
    measured = json.loads(output.splitlines()[-1])
    return measured["images"] / statistics.median(measured["seconds"][1:])


def rate_of_timm(output: str, errors: str) -> float:
    """Images/s from the log of timm's training script: the mean over the steps of an epoch, full batches all of them.

    Raises
    ------
    PeerFailed
        The log has no such line of the second epoch or a later one.
    """
    steps = [match.groups() for match in TIMM_STEP.finditer(output + errors)]
    rates = [float(rate) for epoch, step, of, _, rate in steps if int(epoch) and int(step) + 1 == int(of)]
    if not rates:
        raise PeerFailed("not measured: its log has no images/s of a second epoch")
    return statistics.median(rates)


def link_training(manifest: Manifest, folder: Path) -> None:
    """Make links to the training images, in one folder for each class, for all peers except medcls."""
    training = manifest.rows.iloc[manifest.indices("train")]
    for number, (path, label) in enumerate(zip(training["path"], training["label"], strict=True)):
        link = folder / label / f"{number:06d}{Path(path).suffix.lower()}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to((manifest.root / path).resolve())


def peers(given: Any, manifest: Manifest, folder: Path) -> list[Peer]:  # noqa: ANN401 - argparse's own
    """The programs to compare, medcls first.

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

    all_images = [f"--images={given.images.resolve()}", f"--most={given.most}"]
    all_images += [f"--positive={given.positive}"] if given.positive else []
    timm = "" if given.timm_train else "not measured: name timm's training script by --timm-train"
    if given.timm_train and not given.timm_train.is_file():
        timm = f"not measured: there is no file {given.timm_train}"
    script = [sys.executable, str(Path(given.timm_train or "").resolve()), str(folder)]
    script += ["--device=cpu", "--model=mobilenetv3_large_100", f"--num-classes={len(manifest.classes)}"]
    script += [f"--batch-size={given.batch}", f"--img-size={given.size}", f"--epochs={given.epochs}"]
    script += ["--warmup-epochs=0", "--val-split=", "--log-interval=1", f"--output={folder / 'timm'}"]
    # It does not run without workers, because it uses persistent ones.
    workers = {f"{n} workers": f"--workers={n}" for n in (2, 4)}
    fastai = "" if importlib.util.find_spec("fastai") else "not measured: fastai is not installed"
    return [
        Peer("medcls", {"": ours("medcls_training", *all_images)}, rate_of_program),
        Peer("hand-written loop", by_workers("hand_written_loop"), rate_of_program),
        Peer("plain Lightning loop", by_workers("lightning_loop"), rate_of_program),
        Peer("timm", {tried: [*script, flag] for tried, flag in workers.items()}, rate_of_timm, timm),
        Peer(
            "timm, channels_last",
            {tried: [*script, flag, "--channels-last"] for tried, flag in workers.items()},
            rate_of_timm,
            timm,
        ),
        Peer("fastai, channels_last", by_workers("fastai_learner"), rate_of_program, fastai),
    ]


@dataclasses.dataclass
class Measured:
    """Results of a peer: images/s of each turn by command, and why it failed."""

    rates: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    reason: str = ""

    @property
    def best(self) -> str:
        """The command with the highest rate in the first turn."""
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
    rows: list[dict[str, Any]] = [{"what": subject, **_rate_or_reason(mine)}]
    for name, known in found.items():
        if name == subject:
            continue
        rows.append({"what": name, **_rate_or_reason(known)})
        if own and not known.reason:
            # In seconds an image.
            pairs = [(1 / theirs, 1 / ours) for theirs, ours in zip(known.rates[known.best], own, strict=True)]
            rows.append({"what": subject, "against": name, **ratio(pairs)})
    return rows


def _rate_or_reason(known: Measured) -> dict[str, Any]:
    """Images/s and the command, or the reason why there are none."""
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
