"""Augmentation presets: each composes, says why, and leaves upright what has a top."""

import dataclasses
from functools import cache

import numpy as np
import pytest
import torch
from augmented import augmented
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from refusals import refused
from torchvision.transforms import v2

from medcls.cli import shipped
from medcls.cli.experiments import register_experiments
from medcls.data import transforms
from medcls.data.transforms import DRAWS, Augmentation, draws

FOLDER = shipped.configurations() / "conf" / "data" / "augmentation"
PRESETS = sorted(path.stem for path in FOLDER.glob("*.yaml"))
HAVE_A_TOP = ("general", "mri", "none", "ultrasound", "xray")
STILL = {"left_right": 0, "rotation_degrees": 0, "smallest_area": 1, "aspect": 0, "brightness": 0, "contrast": 0}


@cache  # to compose is slow, and what comes of it cannot be changed
def composed(*overrides: str) -> Augmentation:
    register_experiments()
    with initialize_config_dir(str(FOLDER.parents[1]), version_base="1.3"):
        made = instantiate(compose("train", [*overrides]).data.augmentation)
    assert isinstance(made, Augmentation)
    return made


def many(change: Augmentation, pixels: torch.Tensor, count: int) -> torch.Tensor:
    """The same image changed so many times: `(count, C, H, W)` from 0 to 1."""
    return augmented(change, pixels.expand(count, *pixels.shape), draws(0, 0, np.arange(count)))


def test_the_presets_are_those_the_documentation_names():
    assert PRESETS == ["dermoscopy", "general", "histology", "mri", "none", "ultrasound", "xray"]


@pytest.mark.parametrize("name", PRESETS)
def test_each_preset_composes_names_every_setting_and_says_why(name):
    made = composed(f"data/augmentation={name}")
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    settings = OmegaConf.create(text)
    del settings["_target_"]
    # Every one, or `data.augmentation.<setting>=` would be refused as unknown.
    assert dataclasses.asdict(made) == dict(settings)
    assert text.startswith("# ")
    pixels = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    made.check_size((32, 32))
    for images in (pixels[None], pixels[None, :1], pixels[None].float() / 255):
        changed = augmented(made, images, draws(0, 0, np.arange(1)))
        assert changed.shape == images.shape and changed.dtype == torch.float32
        assert changed.min() >= 0 and changed.max() <= 1


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
    for out in many(made, pixels, 50):
        assert out[:, :16].mean() > out[:, -16:].mean()


def test_p22_x_rays_are_not_mirrored():
    # Bright where the heart is: in the right half of the picture, before and after.
    pixels = torch.zeros(3, 64, 64, dtype=torch.uint8)
    pixels[:, 16:48, 40:56] = 255
    for out in many(composed("data/augmentation=xray"), pixels, 50):
        assert out[:, :, 32:].mean() > 5 * out[:, :, :32].mean()


@pytest.mark.parametrize("name", PRESETS)
def test_p20_p21_presets_keep_the_lesion_and_turn_by_few_degrees(name):
    made = composed(f"data/augmentation={name}")
    assert made.smallest_area >= 0.8
    assert made.rotation_degrees <= 10


def test_none_changes_no_pixel():
    pixels = torch.randint(0, 256, (3, 40, 30), dtype=torch.uint8)
    out = many(composed("data/augmentation=none"), pixels, 20)
    assert torch.equal((out * 255).round().byte(), pixels.expand(20, 3, 40, 30))


def test_quarter_turns_are_exact_and_equally_frequent():
    pixels = torch.randint(0, 256, (3, 33, 33), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    ways = [torch.rot90(pixels, quarters, (1, 2)).float() / 255 for quarters in range(4)]
    counts = [0, 0, 0, 0]
    for out in many(Augmentation(quarter_turns=0.75, **STILL), pixels, 400):
        (way,) = [quarters for quarters, turned in enumerate(ways) if torch.allclose(out, turned, atol=1e-5)]
        counts[way] += 1
    assert sum(counts) == 400 and min(counts) > 70


def test_quarter_turns_want_a_square():
    with refused("conflicting_settings", "data.augmentation.quarter_turns", "0.5", "150 x 200", "quarter_turns=0"):
        Augmentation(quarter_turns=0.5).check_size((150, 200))


@pytest.mark.parametrize(("axis", "dimension"), [("left_right", 2), ("up_down", 1)])
def test_mirrored_along_the_axis_named(axis, dimension):
    pixels = torch.randint(0, 256, (3, 20, 31), dtype=torch.uint8)
    outs = many(Augmentation(**{**STILL, axis: 0.5}), pixels, 200)
    mirrored = [torch.allclose(out, pixels.flip(dimension).float() / 255, atol=1e-5) for out in outs]
    kept = [torch.allclose(out, pixels.float() / 255, atol=1e-5) for out in outs]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert 70 < sum(mirrored) < 130


def test_a_rotation_is_by_the_same_angle_whatever_the_shape():
    # A disc off the centre of a wide image: turned, it stays as far from the centre, in pixels.
    rows, columns = torch.meshgrid(torch.arange(60.0), torch.arange(120.0), indexing="ij")
    disc = ((rows - 29.5) ** 2 + (columns - 84.5) ** 2 < 16).float().expand(1, 1, 60, 120)
    turn = Augmentation(**STILL | {"rotation_degrees": 40})
    for out in many(turn, disc[0], 30):
        weights = out[0] / out.sum()
        down, across = (weights * rows).sum() - 29.5, (weights * columns).sum() - 59.5
        assert (down**2 + across**2).sqrt() == pytest.approx(25, abs=0.3)
        assert abs(torch.rad2deg(torch.atan2(down, across))) <= 40


def test_it_agrees_with_torchvision_on_a_rotation_and_a_crop():
    # The same draw, made by hand: rotated about the centre, then cropped and enlarged.
    smooth = torch.nn.functional.interpolate(torch.rand(1, 3, 8, 8), (64, 64), mode="bicubic").clamp(0, 1)
    drawn = torch.full((1, len(DRAWS)), 0.5)
    drawn[0, DRAWS.index("angle")] = 1.0
    turned = augmented(Augmentation(**STILL | {"rotation_degrees": 20}), smooth, drawn)
    expected = [v2.functional.rotate(smooth, angle, v2.InterpolationMode.BILINEAR) for angle in (20, -20)]
    assert min((turned - one).abs().max() for one in expected) < 1e-4
    drawn = torch.full((1, len(DRAWS)), 0.5)
    drawn[0, DRAWS.index("area")] = 1.0  # the smallest: half of each side, in the middle
    cropped = augmented(Augmentation(**STILL | {"smallest_area": 0.25}), smooth, drawn)
    middle = v2.functional.resized_crop(smooth, 16, 16, 32, 32, [64, 64], antialias=True)
    assert (cropped - middle)[..., 2:-2, 2:-2].abs().max() < 1e-4  # at its edge a crop knows no pixel beyond


def test_colours_agree_with_torchvision():
    images = torch.rand(1, 3, 16, 16) * 0.5 + 0.2
    for name, adjust in (
        ("brightness", v2.functional.adjust_brightness),
        ("contrast", v2.functional.adjust_contrast),
        ("saturation", v2.functional.adjust_saturation),
    ):
        drawn = torch.full((1, len(DRAWS)), 0.5)
        drawn[0, DRAWS.index(name)] = 1.0
        changed = augmented(Augmentation(**STILL | {name: 0.2}), images, drawn)
        # torchvision weighs blue by 0.114 and green by 0.587 too, red by 0.2989.
        assert torch.allclose(changed, adjust(images, 1.2), atol=1e-4)


def test_hue_turns_about_the_axis_of_greys():
    grey = torch.full((3, 4, 4), 120, dtype=torch.uint8)
    turn = Augmentation(**STILL | {"hue_degrees": 30})
    assert torch.allclose(many(turn, grey, 20), grey.float() / 255, atol=1e-6)
    red = torch.tensor([200, 60, 60], dtype=torch.uint8)[:, None, None].expand(3, 4, 4)
    outs = many(turn, red, 200)[:, :, 0, 0] * 255
    assert torch.allclose(outs.sum(1), torch.tensor(320.0), atol=1e-3)  # as light as before
    assert outs[:, 1].max() > 90 and outs[:, 2].max() > 90  # towards yellow and towards magenta
    assert outs[:, 0].min() > 150


def test_p23_an_image_is_changed_alike_alone_and_in_a_batch():
    images = torch.randint(0, 256, (9, 3, 24, 24), dtype=torch.uint8)
    change = Augmentation(quarter_turns=0.5, saturation=0.2, hue_degrees=10)
    drawn = draws(3, 5, np.arange(9))
    alone = torch.cat([augmented(change, images[n : n + 1], drawn[n : n + 1]) for n in range(9)])
    assert torch.allclose(augmented(change, images, drawn), alone, atol=1e-6)


def test_p40_draws_depend_on_seed_epoch_and_row_alone():
    rows = np.array([7, 3, 900])
    expected = draws(1, 2, np.arange(1000))
    assert torch.equal(draws(1, 2, rows), expected[rows])
    assert torch.equal(draws(1, 2, np.array([3])), expected[3:4])
    assert not torch.equal(draws(1, 3, rows), expected[rows]) and not torch.equal(draws(2, 2, rows), expected[rows])
    assert 0.45 < expected.mean() < 0.55 and abs(np.corrcoef(expected.numpy().T) - np.eye(len(DRAWS))).max() < 0.15


@pytest.mark.parametrize(
    ("setting", "value", "unit", "limits"),
    [
        ("quarter_turns", 2, "probability", "0 to 1"),
        ("saturation", -0.1, "fraction", "0 to 0.9"),
        ("hue_degrees", 200, "degrees", "0 to 180"),
    ],
)
def test_p21_ranges_and_units_are_checked(setting, value, unit, limits):
    with refused("bad_value", f"data.augmentation.{setting}", f"{value}", unit, limits):
        Augmentation(**{setting: value})


@pytest.mark.parametrize("size", [(224, 224), (5, 8), (1, 3)])
def test_places_are_those_of_affine_grid(size):
    theta = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.affine_grid(theta, [4, 1, *size], align_corners=False)
    assert torch.allclose(transforms._affine_grid(theta, *size), expected, atol=1e-6)
