import dataclasses

from audited import only

from medcls.auditing.locked import locked_test
from medcls.runs.registry import Meeting

# Earlier test images


def test_p14_earlier_test_images_in_training():
    met = Meeting("runs/1", "2026-11-01", True, ("a/1.png", "a/2.png", "b/3.png"))
    finding = only(locked_test([met]))
    assert (finding.level, finding.exclude) == ("error", ("a/1.png", "a/2.png", "b/3.png"))
    assert finding.values == {"images": 3, "runs": 1}
    assert "runs/1" in finding.title and "2026-11-01" in finding.title
    assert only(locked_test([dataclasses.replace(met, same_settings=False)])).exclude == ()
    assert only(locked_test([])).level == "good"
    assert locked_test(None) == []


def test_p14_twenty_earlier_seeds_are_one_finding():
    seeds = [Meeting(f"runs/{i}", "2026-11-01", False, (f"a/{i}.png", "b/0.png")) for i in range(20)]
    error = Meeting("runs/x", "2026-11-02", True, ("a/1.png",))
    first, second = locked_test([*seeds, error])
    assert (first.level, second.level) == ("error", "information")
    assert second.values == {"images": 21, "runs": 20}
    assert len(second.table) == 20
