import json
from pathlib import Path

from audited import manifest_of

from medcls.auditing.checks import check
from medcls.auditing.findings import LEVELS
from medcls.data.reading.decoded import UnreadableImage
from medcls.runs.registry import Meeting


def test_every_finding_can_be_written_as_json_and_names_only_known_paths():
    labels = ["a"] * 60 + ["b"] * 60
    manifest = manifest_of(
        labels,
        content=[f"c{i // 2}" for i in range(118)] + ["c0", "c60"],
        given_split=["train", "test", "val"] * 40,
        group=["", *(f"p{i // 3}" for i in range(119))],
        hospital=["x", "y"] * 60,
        scan={
            "contrast": [0.0, 0.1] * 60,
            "notes": ["turned by its EXIF orientation 6", "named .jpg, but a PNG file"] * 60,
        },
        unreadable=(UnreadableImage("the file is empty (0 bytes)", Path("root/a/gone.png")),),
    )
    findings = check(manifest, None, met=[Meeting("r1", "2026-11-01", True, ("a/00000.png",))])
    assert {finding.level for finding in findings} == set(LEVELS)
    known = {*manifest.rows["path"], "a/gone.png"}
    for finding in findings:
        json.dumps(dict(finding.values), allow_nan=False)
        assert finding.title
        assert "  " not in finding.title + finding.text
        assert {
            *finding.images,
            *finding.exclude,
            *(p.first for p in finding.pairs),
            *(p.second for p in finding.pairs),
        } <= known
    assert len({finding.check for finding in findings}) == len(findings)
