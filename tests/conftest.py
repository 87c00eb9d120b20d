"""What the tests share: where the real images are, if they are here at all."""

import atexit
import gc
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

# One test process a core: several threads in each would wait for one another. Read when NumPy and torch are loaded.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from entry_points import FAST, run_main
from filelock import FileLock
from PIL import Image

# Looking for garbage among millions of objects of libraries and tests took a fifth of the time.
gc.set_threshold(100_000, 20, 20)


def pytest_configure(config: pytest.Config) -> None:
    """Save time in the processes that run tests; the one that only hands them out need not load any of this."""
    if config.getoption("numprocesses", None) and "PYTEST_XDIST_WORKER" not in os.environ:
        return
    import yaml
    from blank_figures import BlankFigures
    from hydra._internal.hydra import Hydra
    from remembered import remember_image_statistics

    # Each configuration would be composed twice, the first time for hydra.mode alone, which nothing here sets.
    Hydra.get_mode = lambda *_, **__: None  # type: ignore[method-assign]
    # The same loader with the parser of libyaml: each command reads some thirty small files.
    yaml.SafeLoader = yaml.CSafeLoader  # type: ignore[assignment, misc]
    BlankFigures().install()
    remember_image_statistics()
    # A run waits some eighty times until the disk has what it wrote: no test loses power.
    os.fsync = lambda _: None  # type: ignore[assignment]


def pytest_collection_finish() -> None:
    """What is there once all tests are known stays to the end, and need not be looked through again."""
    gc.freeze()
    atexit.register(gc.unfreeze)  # else libraries tell at the end of what they leaked


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it to have the figures of this test drawn."""
    from blank_figures import BlankFigures

    return lambda: monkeypatch.setattr(BlankFigures, "drawn", True)


@pytest.fixture(scope="module")
def drawn_figures() -> Iterator[None]:
    """Figures are drawn, for the tests of a file that looks at them."""
    from blank_figures import BlankFigures

    BlankFigures.drawn = True
    yield
    BlankFigures.drawn = False


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that is made once a session, by whichever test process wants it first."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        folder = factory.mktemp(name)
        make(folder)
        return folder
    folder = factory.getbasetemp().parent / name
    with FileLock(f"{folder}.lock"):
        if not Path(f"{folder}.made").exists():
            folder.mkdir()
            make(folder)
            Path(f"{folder}.made").touch()
    return folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of the five real image sets; a test that asks for it is skipped where there is none."""
    folder = os.environ.get("MEDCLS_REAL_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("MEDCLS_REAL_DATA does not name the folder of real image sets")
    return Path(folder).resolve()


@pytest.fixture
def picture() -> Callable[..., Path]:
    """Write a small picture of seeded noise: `picture(path, seed, size=(H, W), level=128)`."""

    def write(path: Path, seed: int, size: tuple[int, int] = (24, 20), level: int = 128) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        draw = np.random.default_rng([seed, 7])
        pixels = np.clip(draw.normal(level, 40, (*size, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(path)
        return path

    return write


@pytest.fixture
def folder(tmp_path: Path, picture: Callable[..., Path]) -> Callable[..., Path]:
    """Make a data set of noise: `folder({"train/a": 5, "train/b": 4})` gives its root.

    Every picture differs from every other; the class `b` (or the second named) is brighter, so that
    there is something to learn.
    """
    made = iter(range(1_000_000))

    def make(counts: dict[str, int], name: str = "images", pattern: str = "{number:03d}.png") -> Path:
        root = tmp_path / name
        classes = sorted({key.split("/")[-1] for key in counts})
        for key, count in counts.items():
            (root / key).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                level = 90 + 60 * classes.index(key.split("/")[-1])
                picture(root / key / pattern.format(number=number), next(made), level=level)
        return root

    return make


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, _own_places: None) -> Path:
    """A run of three epochs on two classes, one of them named in Chinese; whoever writes into it takes a copy."""
    return made_once(tmp_path_factory, "finished", finish) / "run"


def finish(base: Path) -> None:
    """Train the run that `finished` gives."""
    from medcls import train

    draw = np.random.default_rng(0)
    for level, name in ((90, "正常"), (160, "得病")):
        (base / "images" / name).mkdir(parents=True)
        for number in range(30):
            pixels = np.clip(draw.normal(level, 40, (24, 20, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(base / "images" / name / f"{number:02d}.png")
    settings = (f"data.root={base}/images", "positive_class='得病'", "trainer.max_epochs=3")
    run_main(train.main, *FAST, *settings, f"hydra.run.dir={base}/run")


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder for one test, where what others left in theirs would matter."""
    monkeypatch.setenv("MEDCLS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session", autouse=True)
def _own_places(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test reads or fills the cache and the records of whoever runs it; not those that start processes either."""
    os.environ["MEDCLS_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    os.environ["MEDCLS_STATE"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture(autouse=True)
def _own_records(_own_places: None, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test meets what another has read: many make the same pictures of noise, and a test split is remembered."""
    folder = tmp_path_factory.getbasetemp() / "states" / uuid.uuid4().hex
    monkeypatch.setenv("MEDCLS_STATE", str(folder))
