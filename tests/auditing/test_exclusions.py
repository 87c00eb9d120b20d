import dataclasses

from audited import manifest_of, only

from medcls.auditing.exclusions import emptied_classes
from medcls.auditing.findings import Finding


def test_the_audit_foretells_a_class_that_exclusion_takes_out_of_a_split():
    manifest = manifest_of(["a", "b"] * 10, given_split=["train"] * 16 + ["test"] * 4)
    last = [path for path, label in zip(manifest.rows["path"], manifest.rows["label"], strict=True) if label == "b"][
        -2:
    ]
    error = Finding("label_conflicts", "error", "x", exclude=tuple(last))
    found = only(emptied_classes(manifest, [error]))
    assert found.level == "warning"
    assert found.check == "after_exclusion" and found.table[["split", "class"]].to_numpy().tolist() == [["test", "b"]]
    assert "data.leave_out_unmapped=true" in found.text and "seed" in found.text
    assert emptied_classes(manifest, [dataclasses.replace(error, exclude=tuple(last[:1]))]) == []
    assert emptied_classes(manifest, []) == []
