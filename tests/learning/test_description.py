from pathlib import Path

import pytest

from medcls.errors import MedclsError
from medcls.learning.description import Description

LAST = Path("checkpoints/last.ckpt")
FULL = Description(
    {"_target_": "medcls.models.mobilenetv3.mobilenetv3_small", "num_classes": 2},
    {"hidden": 8},
    ("benign", "malignant"),
    "malignant",
    {"size": [64, 64]},
    "abc",
    "def",
    ("SYNTHETIC",),
)


def test_it_reads_what_it_writes():
    plain = FULL.to_plain()
    assert Description.from_plain(plain, LAST) == FULL
    assert Description.from_plain(plain | {"epoch": 3}, LAST) == FULL, "as read_state returns it"
    assert isinstance(plain["classes"], list) and isinstance(plain["stamps"], list), "plain data, for weights_only"


def test_a_checkpoint_of_an_earlier_version_lacks_the_training():
    plain = {name: FULL.to_plain()[name] for name in ("network", "classes", "preprocessing")}
    read = Description.from_plain(plain, LAST)
    assert (read.manifest, read.run, read.positive, read.watermarks) == ("", "", None, ())


def test_weights_of_another_tool_describe_nothing():
    with pytest.raises(MedclsError) as raised:
        Description.from_plain({}, LAST)
    assert raised.value.kind == "damaged_checkpoint" and str(LAST) in str(raised.value)
