import dataclasses

from made_study import EMPTY, audit, finding, sources, study

from medcls.report import run_sections
from medcls.report.checklists import Item
from medcls.report.pages.names import Names
from medcls.runs.records import Audit

NAMES = Names({"secret.png": "image 1"})


def test_without_records_every_section_is_absent():
    headline, _ = study()
    assert run_sections.settings(EMPTY) is None and run_sections.splits(headline, EMPTY) is None
    assert run_sections.findings(EMPTY, paths=True) is None and run_sections.phases(EMPTY, NAMES) is None
    assert run_sections.probe_table(EMPTY) is None and run_sections.training_duplicates(EMPTY) is None
    assert {description for _, description in run_sections.training(EMPTY, paths=True)} == {None}


def test_findings_are_listed_from_the_worst_and_without_paths_by_their_check():
    plain = audit(finding("blank"), finding("exact_copies", "error", title="secret.png", text="Remove secret.png."))
    of = dataclasses.replace(EMPTY, audit=Audit.from_plain(plain))
    shown, hidden = (run_sections.findings(of, paths=paths) for paths in (True, False))
    assert [one.level for one in shown] == ["error", "good"] and shown[0].text and not shown[1].text
    assert "secret" not in str(hidden) and hidden[0].title == "exact copies"


def test_settings_are_one_a_line_by_their_dotted_names():
    lines = run_sections.settings(sources()).splitlines()
    assert "seed=0" in lines and "data.batch_size=32" in lines and "data.image_size=[96, 128]" in lines


def test_phases_end_at_the_epoch_before_the_next():
    of = dataclasses.replace(EMPTY, phases=(("secret.png", 0, 3), ("nothing", 3, 10)))
    rows = run_sections.phases(of, NAMES).rows
    assert [[cell if isinstance(cell, str) else cell.text for cell in row] for row in rows] == [
        ["image 1", "0", "2"],
        ["nothing", "3", "9"],
    ]


def test_checklists_count_the_items_that_are_answered():
    items = [Item("A", "1", "Title", "Where", "secret.png"), Item("A", "2", "Title", "Where", None)]
    (one,) = run_sections.checklists(items, NAMES)
    assert (one.standard, one.answered, len(one.sheet.rows)) == ("A", 1, 2)
    assert [row[2].text for row in one.sheet.rows] == ["image 1", "not provided"]
