"""The commands of docs/tutorial.md run from the first to the last, each with what the earlier ones left."""

import json
import re
import shutil
from pathlib import Path

import pytest
from commands import MEDCLS, TUTORIAL, blocks, lines_of, parts_of
from entry_points import run_main
from test_commands import MAINS, smoke

# Blocks that are no commands, by their first line.
SHOWN = ("/my/ultrasound/", "Best checkpoint, with 95% intervals")
COMMANDS = [
    line
    for _, block in blocks([TUTORIAL])
    if not block.startswith(SHOWN)
    for line in lines_of(block.replace("\\\n", " "))
]

# Smaller, where the reader's takes long.
INSTEAD = {
    "/my/ultrasound": "my/ultrasound",
    "/other/hospital": "other/hospital",
    "data.image_size=128": "data.image_size=32",
    "data.folds=5 data.fold=0,1,2,3,4": "data.folds=2 data.fold=0,1",
}
# An audit that finds an error ends with exit code 1, as the page says.
FINDS_ERRORS = ("hydra.run.dir=audits/first", "hydra.run.dir=audits/second")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Phantoms of two sites in folders of a reader's own, those of the first with the faults that the page mends."""
    from medcls.data.sources.phantoms import MARKER_NAME, ensure_phantoms

    monkeypatch.chdir(tmp_path)
    mine, other = Path("my/ultrasound"), Path("other/hospital")
    for seed, (root, images) in enumerate({mine: 80, other: 24}.items()):
        ensure_phantoms(root, images=images, seed=seed)
        (root / MARKER_NAME).unlink()
        shutil.rmtree(root / "normal")
    cut, twice, again = (mine / "benign" / sorted(path.name for path in mine.glob("benign/*"))[n] for n in (2, 6, 12))
    cut.write_bytes(cut.read_bytes()[:2000])
    shutil.copy(twice, mine / "malignant" / twice.name)
    shutil.copy(again, again.with_name(again.stem + "_again.png"))
    return tmp_path


def test_the_tutorial_shows_each_kind_of_command():
    assert all(MEDCLS.match(text) for text in COMMANDS)
    assert {parts_of(text)[0] for text in COMMANDS} == set(MAINS) - {"cache"}


@pytest.mark.slow
def test_the_tutorial_runs_from_top_to_bottom(home):
    for text in COMMANDS:
        typed = text
        for theirs, ours in INSTEAD.items():
            typed = typed.replace(theirs, ours)
        module, arguments = parts_of(typed)
        run_main(MAINS[module], *smoke(module, arguments), exit_code=int(typed.endswith(FINDS_ERRORS)))
    made = "audits|runs|evaluations|comparisons|predictions|explanations|monitoring"
    for path in re.findall(rf"`((?:{made})/[^`]+)`", TUTORIAL.read_text(encoding="utf-8")):
        assert Path(path).exists(), f"the tutorial names {path}, and nothing made it"
    # The table of the page's second step, and what its third step promises.
    assert {"unreadable", "label_conflicts"} == found("first", "error")
    assert {"exact_copies", "groups", "small_test"} <= found("first", "warning")
    assert not found("third", "error")
    assert "groups" not in found("third", "warning")


def found(audit: str, level: str) -> set[str]:
    """Which checks of an audit found something of this level."""
    findings = json.loads(Path("audits", audit, "audit.json").read_text(encoding="utf-8"))["findings"]
    return {finding["check"] for finding in findings if finding["level"] == level}
