import json

from made_study import audit, finding
from PIL import Image

from medcls.preprocessing import Decoding
from medcls.runs.run_folder import RunFolder
from medcls.workflow.run_sources import audit_of_folds, read_thumbnail


def folds(tmp_path, *findings):
    runs = {}
    for fold, found in enumerate(findings):
        (tmp_path / str(fold)).mkdir()
        if found is not None:
            (tmp_path / str(fold) / "audit.json").write_text(json.dumps(audit(*found)), encoding="utf-8")
        runs[fold] = RunFolder(tmp_path / str(fold))
    return runs


def test_leaks_are_named_fold_by_fold_and_all_else_once(tmp_path):
    clean, leaking = finding("leaks"), finding("leak_test", "error", title="2 images")
    other = finding("blank")
    joined = audit_of_folds(folds(tmp_path, [clean, other], [leaking, other], None))
    assert [one.check for one in joined.findings] == ["leak_test", "blank"], "not: no leaks"
    assert "1" in joined.findings[0].title and joined.findings[0].title.endswith("2 images")


def test_without_leaks_that_there_are_none_stays(tmp_path):
    joined = audit_of_folds(folds(tmp_path, [finding("leaks")], [finding("leaks")]))
    assert [one.check for one in joined.findings] == ["leaks"]


def test_folds_without_audits_have_none(tmp_path):
    assert audit_of_folds(folds(tmp_path, None, None)) is None


def test_a_file_that_cannot_be_read_has_its_reason_in_place_of_a_thumbnail(tmp_path):
    Image.new("L", (40, 20), 128).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    assert read_thumbnail(tmp_path / "a.png", Decoding()).source
    broken = read_thumbnail(tmp_path / "b.png", Decoding())
    assert broken.source is None and broken.reason
