import re

from audited import manifest_of, near_of, only

from medcls.auditing import groups
from medcls.auditing.findings import Finding
from medcls.auditing.leaks import leaks, settled
from medcls.data.splits.split import split

# What is left in the splits of a run


def divided_of(splits, **columns):
    manifest = manifest_of(["a", "b"] * (len(splits) // 2), **columns)
    return manifest.with_rows(manifest.rows.assign(split=splits))


def paths_of(divided, *numbers):
    return [divided.rows["path"][number] for number in numbers]


def leaks_of(divided, *pairs):
    found = [(*sorted(paths_of(divided, *pair[:2])), *(pair[2:] or (1, 1, 1))) for pair in pairs]
    return leaks(divided, near_of(*found)(None))


SPLITS = ["train"] * 6 + ["val"] * 2 + ["test"] * 4 + ["left_out"] * 2 + ["unused"] * 2


def test_p01_near_copies_left_in_training_are_an_error_and_counted_by_class():
    divided = divided_of(SPLITS)
    found = only(leaks_of(divided, (0, 8), (2, 8), (1, 9), (12, 10), (14, 11), (8, 9)))
    assert (found.check, found.level) == ("leak_test", "error")
    assert (found.values["leaked"], found.values["test_images"]) == (2, 4)
    assert found.values["leaked_a"] == found.values["leaked_b"] == 1
    assert {pair.first for pair in found.pairs} == set(paths_of(divided, 8, 9))
    assert only(leaks_of(divided, (0, 8))).values["leaked"] == 1


def test_nothing_is_said_of_what_was_left_out_or_is_within_one_split():
    divided = divided_of(SPLITS)
    found = only(leaks_of(divided, (12, 8), (14, 9), (0, 1), (8, 9)))
    assert (found.check, found.level) == ("leaks", "good")
    assert "test or val" in found.title
    assert leaks(None, near_of()(None)) == []


def test_of_images_with_equal_hashes_all_are_near_to_what_one_is_near_to():
    # 10 and 12 have the hashes of 8, which alone was compared with 0; 12 is left out.
    divided = divided_of(SPLITS)
    found = only(leaks_of(divided, (8, 10, 0, 0, 0), (8, 12, 0, 0, 0), (0, 8)))
    assert found.values["leaked"] == 2
    # 4 trains, and has the hashes of 0, which is left out and stands for both.
    divided = divided_of(["left_out", *SPLITS[1:]])
    assert only(leaks_of(divided, (0, 4, 0, 0, 0), (0, 8))).values["leaked"] == 1


def test_near_copies_that_choose_are_a_warning():
    divided = divided_of(SPLITS)
    of_val = only(leaks_of(divided, (0, 6)))
    assert (of_val.check, of_val.level) == ("leak_val", "warning")
    assert (of_val.values["leaked"], of_val.values["val_images"]) == (1, 2)
    of_test = only(leaks_of(divided, (6, 8)))
    assert (of_test.check, of_test.level) == ("leak_test", "warning")
    assert (of_test.values["leaked"], of_test.values["further_in_val"]) == (1, 0)
    assert of_test.title.endswith(" in val")
    both = only(leaks_of(divided, (0, 8), (6, 9)))
    assert (both.values["leaked"], both.values["further_in_val"]) == (1, 1)
    assert both.title.endswith(" in training")


def test_a_leak_too_slight_to_move_a_figure_is_a_warning():
    divided = divided_of(["train"] * 10 + ["val"] * 10 + ["test"] * 400)
    assert only(leaks_of(divided, (0, 30), (1, 31))).level == "warning"
    assert only(leaks_of(divided, (0, 30), (1, 31), (2, 32), (4, 34))).level == "error"


def test_p03_duplicates_and_groups_that_a_split_parts_count_too():
    content = [f"c{k}" for k in range(16)]
    content[0] = content[8]
    found = only(leaks_of(divided_of(SPLITS, content=content)))
    assert (found.values["identical"], found.level) == (1, "error")
    assert "duplicate" in found.title
    group = [f"p{k}" for k in range(16)]
    group[1] = group[9]
    found = only(leaks_of(divided_of(SPLITS, group=group)))
    assert found.values["of_a_group_in_training"] == 1
    # Of images whose pixels nobody knows, none is another's.
    assert only(leaks_of(divided_of(SPLITS, content=[""] * 16))).level == "good"


def test_what_the_split_has_settled_is_known():
    error, warning = Finding("copies_test_train", "error", "x"), Finding("near_copies_across_splits", "warning", "x")
    other = Finding("shortcuts_seen", "warning", "x")
    divided = divided_of(SPLITS)
    none, near = leaks_of(divided), leaks_of(divided, (0, 8))
    assert [settled(one, none) for one in (error, warning, other)] == [True, True, False]
    assert [settled(one, near) for one in (error, warning, other)] == [True, False, False]
    content = [f"c{k}" for k in range(16)]
    content[0] = content[8]
    assert not settled(error, leaks_of(divided_of(SPLITS, content=content)))


def test_a_giant_group_that_breaks_the_shares_is_named_with_its_size():
    manifest = manifest_of(["a", "b"] * 50, group=["giant"] * 60 + [f"p{k}" for k in range(40)])
    found = only(groups.shares(split(manifest)))
    assert found.level == "warning"
    assert re.search(r"test has \d+ of 100 images, \d+\.0%.* 20\.0%", found.title)
    assert re.search(r"60, 60\.0%.* 'giant', in train\.", found.text)
    assert found.table["split"].tolist() == ["train", "val", "test"]


def test_shares_as_asked_for_are_told_and_the_largest_set_with_them():
    manifest = manifest_of(["a", "b"] * 100, group=[f"p{k // 4}" for k in range(200)])
    found = only(groups.shares(split(manifest)))
    assert (found.check, found.level) == ("shares", "good")
    assert re.search(r"4, 2\.0%.* 'p\d+'", found.text)
    alone = only(groups.shares(split(manifest_of(["a", "b"] * 100))))
    assert (alone.level, alone.text) == ("good", "")
    tiny = only(groups.shares(split(manifest_of(["a", "b"] * 4))))  # a case more or less is no other share
    assert tiny.level == "good"
    copies_of = manifest_of(["a", "b"] * 100, content=["same"] * 90 + [f"c{k}" for k in range(110)])
    assert "90, 45.0%" in only(groups.shares(split(copies_of))).text
    assert groups.shares(None) == groups.shares(manifest) == []
    came = manifest_of(["a", "b"] * 50, given_split=["train"] * 60 + ["val"] * 20 + ["test"] * 20)
    assert only(groups.shares(split(came))).level == "good"
