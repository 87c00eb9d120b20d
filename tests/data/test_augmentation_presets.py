"""Augmentation presets: each composes, says why, and leaves upright what has a top."""

from functools import cache

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from medcls import configuration
from medcls.data.transforms import Augmentation
from medcls.errors import MedclsError

FOLDER = configuration.configurations() / "conf" / "data" / "augmentation"
PRESETS = sorted(path.stem for path in FOLDER.glob("*.yaml"))
HAVE_A_TOP = ("general", "mri", "none", "ultrasound", "xray")
STILL = {"left_right": 0, "rotation_degrees": 0, "smallest_area": 1, "aspect": 0, "brightness": 0, "contrast": 0}


@cache  # to compose is slow, and what comes of it cannot be changed
def composed(*overrides: str) -> Augmentation:
    configuration.offer_experiments()
    with initialize_config_dir(str(FOLDER.parents[1]), version_base="1.3"):
        made = instantiate(compose("train", [*overrides]).data.augmentation)
    assert isinstance(made, Augmentation)
    return made


def test_the_presets_are_those_the_documentation_names():
    assert PRESETS == ["dermoscopy", "general", "histology", "mri", "none", "ultrasound", "xray"]


@pytest.mark.parametrize("name", PRESETS)
def test_each_preset_composes_names_every_setting_and_says_why(name):
    made = composed(f"data/augmentation={name}")
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    settings = OmegaConf.create(text)
    del settings["_target_"]
    # Every one, or `data.augmentation.<setting>=` would be refused as unknown.
    assert made.to_plain() == dict(settings)
    assert text.startswith("# ")
    pixels = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    assert made.transform((32, 32))(pixels).shape == (3, 32, 32)
    grey = made.transform((32, 32))(pixels[:1])
    assert grey.shape == (1, 32, 32) and grey.dtype == torch.uint8


def test_the_general_preset_is_the_default_of_folder_and_of_the_class():
    assert composed() == composed("data/augmentation=general") == Augmentation()


@pytest.mark.parametrize(
    ("data", "preset"),
    [("breast_cancer", "ultrasound"), ("brain_tumor", "mri"), ("brain_tumor_mri", "mri"), ("chest_xray", "xray")],
)
def test_shipped_sets_have_the_preset_of_their_kind_and_it_can_be_overridden(data, preset):
    assert composed(f"data={data}") == composed(f"data/augmentation={preset}")
    assert composed(f"data={data}", "data/augmentation=none") == composed("data/augmentation=none")
    assert composed(f"data={data}", "data.augmentation.left_right=0.25").left_right == 0.25


def test_the_shipped_experiments_keep_the_augmentation_they_were_measured_with():
    for name in ("brain_tumor", "brain_tumor_mri", "chest_xray"):
        assert composed(f"experiments={name}_scratch") == Augmentation()
    assert composed("experiments=breast_cancer_scratch") == Augmentation(
        smallest_area=0.6, aspect=0.2, rotation_degrees=15.0, brightness=0.2, contrast=0.2
    )


@pytest.mark.parametrize("name", HAVE_A_TOP)
def test_p22_what_has_a_top_is_never_turned_upside_down(name):
    made = composed(f"data/augmentation={name}")
    assert (made.up_down, made.quarter_turns) == (0, 0)
    pixels = torch.zeros(3, 64, 64, dtype=torch.uint8)
    pixels[:, :20] = 255
    change = made.transform((64, 64))
    for _ in range(50):
        out = change(pixels).float()
        assert out[:, :16].mean() > out[:, -16:].mean()


def test_p22_x_rays_are_not_mirrored():
    # Bright where the heart is: in the right half of the picture, before and after.
    pixels = torch.zeros(3, 64, 64, dtype=torch.uint8)
    pixels[:, 16:48, 40:56] = 255
    change = composed("data/augmentation=xray").transform((64, 64))
    for _ in range(50):
        out = change(pixels).float()
        assert out[:, :, 32:].mean() > 5 * out[:, :, :32].mean()


@pytest.mark.parametrize("name", PRESETS)
def test_p20_p21_presets_keep_the_lesion_and_turn_by_few_degrees(name):
    made = composed(f"data/augmentation={name}")
    assert made.smallest_area >= 0.8
    assert made.rotation_degrees <= 10


def test_none_changes_no_pixel():
    pixels = torch.randint(0, 256, (3, 40, 30), dtype=torch.uint8)
    change = composed("data/augmentation=none").transform((40, 30))
    assert all(torch.equal(change(pixels), pixels) for _ in range(20))


def test_quarter_turns_are_exact_and_equally_frequent():
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (3, 33, 33), dtype=torch.uint8)
    ways = [torch.rot90(pixels, quarters, (1, 2)) for quarters in range(4)]
    change = Augmentation(quarter_turns=0.75, **STILL).transform((33, 33))
    counts = [0, 0, 0, 0]
    for _ in range(400):
        out = change(pixels)
        (way,) = [quarters for quarters, turned in enumerate(ways) if torch.equal(out, turned)]
        counts[way] += 1
    assert sum(counts) == 400 and min(counts) > 70


def test_quarter_turns_want_a_square():
    with pytest.raises(MedclsError, match="quarter_turns is 0.5.*150 x 200 pixels.*quarter_turns=0"):
        Augmentation(quarter_turns=0.5).transform((150, 200))


def test_hue_is_in_degrees_and_saturation_a_fraction():
    red = torch.zeros(3, 4, 4, dtype=torch.uint8)
    red[0] = 200
    turn = Augmentation(hue_degrees=30, **STILL).transform((4, 4))
    outs = torch.stack([turn(red)[:, 0, 0] for _ in range(200)]).int()
    # 30 degrees from red: half way to yellow, or half way to magenta, and no further.
    assert (outs[:, 0] == 200).all()
    assert 80 <= outs[:, 1].max() <= 101 and 80 <= outs[:, 2].max() <= 101
    fade = Augmentation(saturation=0.2, **STILL).transform((4, 4))
    lowest = min(int(fade(red)[0, 0, 0]) for _ in range(200))
    assert 165 <= lowest < 180  # a fifth of the way from 200 to its grey, 60


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("quarter_turns", 2, "a probability, from 0 to 1"),
        ("saturation", -0.1, "a fraction, from 0 to 0.9"),
        ("hue_degrees", 200, "degrees on the colour circle, from 0 to 180"),
    ],
)
def test_p21_ranges_and_units_are_checked(setting, value, says):
    with pytest.raises(MedclsError, match=f"data.augmentation.{setting} is {value}: it is {says}"):
        Augmentation(**{setting: value})


def test_settings_at_zero_draw_nothing():
    # The shipped experiments' results depend on what is drawn from the generator, and in which order.
    assert [type(step).__name__ for step in Augmentation().transform((24, 24)).transforms] == [
        "RandomHorizontalFlip",
        "RandomVerticalFlip",
        "RandomRotation",
        "RandomResizedCrop",
        "ColorJitter",
    ]
