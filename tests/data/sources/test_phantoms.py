"""Phantoms: made whole or not at all, the same to the byte, marked as what they are, and without a shortcut."""

import hashlib
import json
import multiprocessing
import os
import re
import shutil
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from refusals import refused
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from medcls.data.sources import phantoms
from medcls.data.sources.phantoms import (
    GROUP_PATTERN,
    MARKER_NAME,
    PHANTOM_WATERMARK,
    ensure_phantoms,
    holds_phantoms,
)


def digests(root: Path) -> dict[str, str]:
    return {
        p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in root.rglob("*")
        if p.is_file()
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped set, looked at but never touched."""
    root = tmp_path_factory.mktemp("phantoms") / "new" / "breast_cancer"
    start = time.process_time()
    ensure_phantoms(root)
    # 20 s on 2 cores, with room for a busy machine.
    assert time.process_time() - start < 60
    return root


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small set, made once and copied for each test."""
    root = tmp_path_factory.mktemp("few") / "breast_cancer"
    ensure_phantoms(root, images=12, seed=5)
    return root


@pytest.fixture
def few(tmp_path: Path, kept: Path) -> Path:
    return shutil.copytree(kept, tmp_path / "breast_cancer")


@pytest.mark.slow
def test_layout_counts_and_patients(made: Path) -> None:
    files = sorted(made.glob("*/*"))
    assert Counter(p.parent.name for p in files) == {"benign": 336, "malignant": 162, "normal": 102}
    assert {p.name for p in made.iterdir()} == {"benign", "malignant", "normal", MARKER_NAME}
    by_patient: dict[str, list[Path]] = {}
    for path in files:
        assert re.fullmatch(r"patient\d{4}_image[123]\.png", path.name)
        match = re.search(GROUP_PATTERN, path.relative_to(made).as_posix())
        assert match is not None
        by_patient.setdefault(match.group(), []).append(path)
    assert all(len({p.parent for p in paths}) == 1 for paths in by_patient.values()), "a patient in two classes"
    assert Counter(len(paths) for paths in by_patient.values()).keys() == {1, 2, 3}
    # No class has its own range of numbers.
    numbers = {
        label: np.mean([int(p.name[7:11]) for p in files if p.parent.name == label]) for label in phantoms.SHARES
    }
    assert max(numbers.values()) - min(numbers.values()) < 0.2 * len(by_patient)
    for path in files[::50]:
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "L", (256, 256))
    pictures = {hashlib.sha256(p.read_bytes()).digest() for p in files}
    assert len(pictures) == 600, "two views of one patient must differ"


@pytest.mark.slow
def test_nothing_else_is_left_beside_it(made: Path) -> None:
    assert [p.name for p in made.parent.iterdir()] == ["breast_cancer"]


@pytest.mark.slow
def test_the_same_to_the_byte_whatever_the_threads(tmp_path: Path) -> None:
    for name, threads in (("one", 1), ("four", 4)):
        ensure_phantoms(tmp_path / name, images=14, seed=3, threads=threads)
    assert digests(tmp_path / "one") == digests(tmp_path / "four")
    ensure_phantoms(tmp_path / "other", images=14, seed=4)
    assert not set(digests(tmp_path / "one").values()) & set(digests(tmp_path / "other").values())


def test_marker_says_what_it_is(few: Path) -> None:
    assert holds_phantoms(few)
    marker = json.loads((few / MARKER_NAME).read_text())
    assert (marker["seed"], marker["version"], marker["stamp"]) == (5, phantoms.VERSION, PHANTOM_WATERMARK)
    on_disk = digests(few)
    del on_disk[MARKER_NAME]
    assert on_disk == {name: digest for name, (_, digest) in marker["files"].items()}


def test_a_folder_that_exists_is_left_alone(tmp_path: Path, few: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    ensure_phantoms(mine, images=12)
    assert list(mine.iterdir()) == []
    assert not holds_phantoms(mine)
    assert not holds_phantoms(tmp_path / "missing")
    before = digests(few)
    ensure_phantoms(few, images=20, seed=9)
    assert digests(few) == before


def test_strange_missing_and_changed_files_are_all_listed(few: Path) -> None:
    files = sorted(few.glob("benign/*.png"))
    (few / "malignant" / "real patient.png").write_bytes(b"x")
    (few / "new class").mkdir()
    (few / "new class" / "real.jpg").write_bytes(b"x")
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes() + b"\0")
    lines = (
        "unexpected: malignant/real patient.png",
        "unexpected: new class/real.jpg",
        f"missing: benign/{files[0].name}",
        f"changed: benign/{files[1].name}",
    )
    with refused("phantoms_changed", str(few), *lines):
        holds_phantoms(few)


def test_what_systems_leave_behind_is_not_strange(few: Path) -> None:
    for name in (".DS_Store", "benign/Thumbs.db", "benign/._patient0001_image1.png"):
        (few / name).write_bytes(b"x")
    assert holds_phantoms(few)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"files": [1]}'])
def test_a_damaged_marker_is_an_error_not_a_real_data_set(few: Path, text: str) -> None:
    (few / MARKER_NAME).write_text(text)
    with refused("damaged_phantoms", MARKER_NAME, str(few)):
        holds_phantoms(few)


def _start_together(barrier: multiprocessing.synchronize.Barrier, root: Path) -> None:
    barrier.wait()
    ensure_phantoms(root, images=16, seed=1, threads=1)


@pytest.mark.slow
def test_two_processes_end_with_one_whole_set(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    root = tmp_path / "deep" / "set"
    both = [context.Process(target=_start_together, args=(barrier, root)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    assert holds_phantoms(root)
    assert [p.name for p in root.parent.iterdir()] == ["set"]


def test_the_loser_of_the_race_takes_the_winners_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other process finishes just before this one renames."""
    root, winner = tmp_path / "set", tmp_path / "winner"
    ensure_phantoms(winner, images=8)
    before = digests(winner)
    rename = Path.rename

    def late(self: Path, target: Path) -> Path:
        if not root.exists():
            shutil.copytree(winner, root)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", late)
    ensure_phantoms(root, images=8)
    assert digests(root) == before
    assert {p.name for p in tmp_path.iterdir()} == {"set", "winner"}


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_on_the_way_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    write = Path.write_bytes
    left = [5]

    def full(self: Path, data: bytes) -> int:
        left[0] -= 1
        if left[0] < 0:
            raise error
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    refusal = refused("cannot_write", str(tmp_path / "set"), "No space left")
    with refusal if isinstance(error, OSError) else pytest.raises(KeyboardInterrupt):
        ensure_phantoms(tmp_path / "set", images=12, threads=1)
    assert list(tmp_path.iterdir()) == []


def test_a_link_that_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "set").symlink_to(tmp_path / "unmounted")
    with refused("no_such_folder", str(tmp_path / "set")):
        ensure_phantoms(tmp_path / "set", images=8)


@pytest.fixture(scope="module")
def pictures(made: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pixels (N, 256, 256), label, patient and size in bytes of the shipped set."""
    files = sorted(made.glob("*/*.png"))
    pixels = np.stack([np.asarray(Image.open(p)) for p in files])
    return (
        pixels,
        np.array([p.parent.name for p in files]),
        np.array([p.name[:11] for p in files]),
        np.array([p.stat().st_size for p in files]),
    )


def auroc(features: np.ndarray, target: np.ndarray, patients: np.ndarray) -> float:
    """Cross-validated, patients kept together, averaged over two ways of cutting."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    scores = []
    for seed in range(2):
        folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
        scored = cross_val_predict(model, features, target, groups=patients, cv=folds, method="predict_proba")
        scores.append(roc_auc_score(target, scored[:, 1]))
    return float(np.mean(scores))


@pytest.mark.slow
@pytest.mark.parametrize("trivial", ["brightness", "bytes", "border", "extremes", "patient number"])
@pytest.mark.parametrize("label", ["malignant", "benign", "normal"])
def test_no_shortcut_tells_the_class(
    pictures: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray], trivial: str, label: str
) -> None:
    pixels, labels, patients, sizes = pictures
    frame = np.ones((256, 256), bool)
    frame[4:-4, 4:-4] = False
    features = {
        "brightness": lambda: np.stack([pixels.mean((1, 2)), pixels.std((1, 2))], 1),
        "bytes": lambda: sizes[:, None],
        "border": lambda: np.stack([pixels[:, frame].mean(1), pixels[:, frame].std(1)], 1),
        "extremes": lambda: np.stack([(pixels == 0).mean((1, 2)), (pixels == 255).mean((1, 2))], 1),
        "patient number": lambda: np.array([[int(patient[7:])] for patient in patients]),
    }[trivial]()
    assert auroc(features, labels == label, patients) < 0.65


@pytest.mark.slow
def test_the_guard_sees_a_shortcut(pictures: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]) -> None:
    """Malignant pictures 15 greys darker, a mistake committed on purpose, are found by the test above."""
    pixels, labels, patients, _ = pictures
    features = np.stack([pixels.mean((1, 2)) - 15 * (labels == "malignant"), pixels.std((1, 2))], 1)
    assert auroc(features, labels == "malignant", patients) > 0.7


@pytest.mark.slow
def test_there_is_something_to_learn_and_it_is_not_trivial(
    pictures: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
) -> None:
    """A linear model on 16 x 16 pixels: clearly better than chance, far from perfect."""
    pixels, labels, patients, _ = pictures
    coarse = pixels.reshape(-1, 16, 16, 16, 16).mean((2, 4)).reshape(len(pixels), -1)
    coarse = coarse - coarse.mean(1, keepdims=True)
    values, vectors = np.linalg.eigh(np.cov(coarse.T))
    components = coarse @ vectors[:, np.argsort(values)[-30:]]
    assert 0.65 < auroc(components, labels == "malignant", patients) < 0.9


@pytest.mark.slow
def test_cues_separate_and_overlap() -> None:
    """What the pictures are drawn from: no one feature decides, all together nearly do."""
    lesions = [
        (patient.label == "malignant", patient.lesion)
        for patient in phantoms._patients(4000, seed=0)
        if patient.lesion is not None
    ]
    malignant = np.array([label for label, _ in lesions])
    cues = np.array([[le.spiculated, le.tall, le.blurred, le.halo, le.shadowing] for _, le in lesions])
    single = [roc_auc_score(malignant, cue) for cue in cues.T]
    assert min(single) > 0.85
    assert max(single) < 0.985
    assert 0.95 < auroc(np.log(cues / (1 - cues)), malignant, np.arange(len(cues))) < 0.995
    # Size, place and contrast are nobody's sign.
    others = np.array([[le.radius, *le.place] for _, le in lesions])
    assert max(abs(roc_auc_score(malignant, column) - 0.5) for column in others.T) < 0.05


def test_posterior_features_are_drawn_as_named() -> None:
    """Behind a benign-looking lesion the picture is brighter than beside it, behind a malignant-looking one darker."""
    differences = {}
    for cue in (0.02, 0.98):
        lesion = phantoms.Lesion(
            radius=30, contrast=10, place=(0.5, 0.3), cyst=False,
            spiculated=cue, tall=cue, blurred=cue, halo=cue, shadowing=cue,
        )  # fmt: skip
        seen = []
        for k in range(12):
            flat = np.zeros((256, 256), np.float32)
            down, across = np.mgrid[:256, :256].astype(np.float32)
            tissue, behind = phantoms._add_lesion(np.random.default_rng(k), lesion, flat, down, across)
            column = int(tissue[60:130].mean(0).argmin())
            seen.append(behind[170:190, max(0, column - 5) : column + 6].mean())
        differences[cue] = np.mean(seen)
    assert differences[0.02] > 2
    assert differences[0.98] < -5


def test_gain_is_set_to_the_mean_and_deviation_asked() -> None:
    echo = np.random.default_rng(0).normal(0, 8, (256, 256)) ** 3
    grey = phantoms._set_gain(echo, 80, 40)
    assert grey.dtype == np.uint8
    assert abs(grey.mean() - 80) < 2
    assert abs(grey.std() - 40) < 2


def test_hidden_building_folder_has_ordinary_permissions(few: Path) -> None:
    mask = os.umask(0)
    os.umask(mask)
    assert few.stat().st_mode & 0o777 == 0o777 & ~mask
