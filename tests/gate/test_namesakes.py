"""A module has a test file of its name, in the same room.

Where two modules have one name, as `auditing/images.py` and `data/reading/images.py`, the room is named too:
`test_auditing_images.py`.
"""

import pytest
from commands import TOP

ROOMS = (
    "auditing", "cli", "data", "evaluation", "inference", "learning", "models", "plots", "probing", "report", "runs",
    "serving", "statistics", "workflow",
)  # fmt: skip

# Without one, and what tests them.
WITHOUT = {
    "cli/comparison.py": "tests/test_compare.py",
    "cli/entry_point.py": "tests/test_endings.py, and test_composition.py",
    "cli/resume.py": "tests/test_train_resume.py, tests/test_endings.py and test_composition.py",
    "cli/termination.py": "tests/test_endings.py and tests/test_interruptions.py",
    "cli/training.py": "tests/test_train.py and test_early_checks.py",
    "report/answers.py": "test_checklists.py, item by item",
    "report/sources.py": "a record without code",
    "report/model_card.py": "the command export",
    "report/monitoring_page.py": "the command monitor",
    "report/result_card.py": "tests/test_api.py",
    "report/pages/names.py": "test_anonymous.py and the audit's test_page.py",
    "report/pages/parts.py": "test_metric_tables.py",
    "report/pages/plots.py": "test_report.py",
    "statistics/arrays.py": "names of types",
    "statistics/causes.py": "test_metric_table.py, metric by metric",
    "workflow/bundle.py": "the command export",
    "workflow/explaining.py": "the command explain",
    "workflow/exporting.py": "the command export",
    "workflow/predicting.py": "the command predict",
}
MODULES = [
    path.relative_to(TOP / "medcls")
    for room in ROOMS
    for path in sorted((TOP / "medcls" / room).rglob("*.py"))
    if path.name != "__init__.py"
]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.as_posix())
def test_a_module_has_a_test_of_its_name(module):
    folder = TOP / "tests" / module.parent
    found = [
        name for name in (f"test_{module.name}", f"test_{module.parts[0]}_{module.name}") if (folder / name).exists()
    ]
    assert bool(found) is (module.as_posix() not in WITHOUT), f"tests/{module.parent}/test_{module.name}"


def test_every_room_is_held_to_it():
    rooms = {path.parent.name for path in (TOP / "medcls").glob("*/__init__.py")}
    assert rooms == set(ROOMS)


def test_every_exception_is_a_module():
    assert WITHOUT.keys() <= {module.as_posix() for module in MODULES} and all(WITHOUT.values())


def test_no_two_test_files_have_one_name():
    names = [path.name for path in (TOP / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names)), sorted(name for name in set(names) if names.count(name) > 1)
