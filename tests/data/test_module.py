"""Batches: each row once, every draw a function of (seed, epoch, row), pixels as the network expects them."""

import dataclasses
import os
import pickle
import shutil
from functools import partial
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
import torch
from augmented import augmented
from PIL import Image
from pydicom import data as examples
from refusals import refused
from torch.utils.data import DataLoader

from medcls.data import module as module_under_test
from medcls.data.module import EpochSampler, FlatTexts, ImageDataModule, Loading, NoLonelyBatch, Share
from medcls.data.reading import images
from medcls.data.sources.folders import from_folders
from medcls.data.splits.split import split
from medcls.data.transforms import Augmentation, draws, normalise, pixels_back
from medcls.errors import MedclsError
from medcls.preprocessing import Preprocessing

IMAGENET = Preprocessing(size=(16, 20), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@pytest.fixture
def manifest(folder):
    return split(from_folders(folder({"a": 30, "b": 21}), positive="a"))


def module(manifest, **settings) -> ImageDataModule:
    given = {"augmentation": Augmentation(), "batch_size": 8, "seed": 0} | settings
    return ImageDataModule(manifest, IMAGENET, given.pop("augmentation"), Loading(**given))


def epoch(data: ImageDataModule, number: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    loader = data.train_dataloader()
    loader.batch_sampler.sampler.set_epoch(number)
    batches = [data.prepare(batch, number) for batch in loader]
    return tuple(torch.cat(part) for part in zip(*batches, strict=True))


def test_p07_p08_each_row_of_a_split_exactly_once(manifest):
    data = module(manifest)
    for name in ("train", "val", "test"):
        loader = data.train_dataloader() if name == "train" else data.rows_of(name)
        rows = torch.cat([rows for _, _, rows in loader]).tolist()
        assert sorted(rows) == manifest.indices(name).tolist()
        assert len(loader) == len(list(loader))


def test_p16_shuffled_by_image_anew_each_epoch(manifest):
    data = module(manifest)
    first, second = epoch(data, 0)[2], epoch(data, 1)[2]
    assert first.tolist() != second.tolist()
    # Not whole batches in another order: the images that share a batch change.
    assert {frozenset(b.tolist()) for b in first.split(8)} != {frozenset(b.tolist()) for b in second.split(8)}
    assert epoch(data, 1)[2].tolist() == second.tolist()


@pytest.mark.parametrize("memory", [0, 10**9])
@pytest.mark.parametrize("workers", [0, 2])
def test_p40_augmentation_depends_on_seed_epoch_and_row_alone(manifest, workers, memory):
    reference = epoch(module(manifest), 3)
    data = module(manifest, workers=workers, memory_for_images=memory)
    data.setup("fit")
    torch.manual_seed(123)
    again = epoch(data, 3)
    assert torch.equal(reference[0], again[0])
    assert torch.equal(reference[2], again[2])
    assert not torch.equal(epoch(module(manifest, seed=1), 3)[0], reference[0])


def test_augmentation_leaves_the_global_generator_alone(manifest):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    epoch(module(manifest), 0)
    assert torch.equal(torch.rand(3), expected)


def test_the_same_row_changes_from_epoch_to_epoch(manifest):
    data = module(manifest)
    (first, _, rows), (second, _, others) = epoch(data, 0), epoch(data, 1)
    assert not torch.equal(first[rows.argsort()], second[others.argsort()])


def test_balanced_sampler_draws_classes_equally():
    labels = np.array([0] * 900 + [1] * 100)
    sampler = EpochSampler(np.arange(1000), "balanced", labels, seed=0)
    drawn = [labels[row] for row in sampler]
    assert len(drawn) == len(sampler) == 1000
    assert 0.45 < np.mean(drawn) < 0.55


@pytest.mark.parametrize("images", [6, 7, 8, 20])
def test_processes_share_a_batch_between_them(images):
    rows = list(range(images))
    parts = [Share(rank, processes=3, least=2).of(rows) for rank in range(3)]
    assert sorted(row for part in parts for row in part) == rows
    assert min(map(len, parts)) >= 2


@pytest.mark.parametrize("images", [2, 5])
def test_a_batch_that_is_too_small_for_all_processes_is_given_to_each(images):
    rows = list(range(images))
    assert [Share(rank, processes=3, least=2).of(rows) for rank in range(3)] == [rows] * 3


@pytest.mark.parametrize(("batch_size", "smallest"), [(8, 2), (4, 1)])
def test_processes_share_training_and_validation_alone(manifest, batch_size, smallest):
    parts = [module(manifest, batch_size=batch_size) for _ in range(4)]
    for rank, data in enumerate(parts):
        data.share_among(rank, 4)
    loaders = [data.train_dataloader() for data in parts]
    assert {len(loader) for loader in loaders} == {len(module(manifest, batch_size=batch_size).train_dataloader())}
    batches = [[rows.tolist() for _, _, rows in loader] for loader in loaders]
    assert min(len(batch) for part in batches for batch in part) >= smallest
    assert {row for part in batches for batch in part for row in batch} == set(manifest.indices("train"))
    validated = [row for data in parts for _, _, rows in data.val_dataloader() for row in rows.tolist()]
    assert set(validated) == set(manifest.indices("val"))
    for name in ("train", "val", "test"):
        assert torch.cat([rows for _, _, rows in parts[1].rows_of(name)]).tolist() == manifest.indices(name).tolist()


@pytest.mark.parametrize(("items", "sizes"), [(9, [5, 4]), (11, [5, 6]), (6, [6]), (1, [1]), (10, [5, 5])])
def test_a_last_image_never_stands_alone(items, sizes):
    sampler = EpochSampler(np.arange(items), "in_order", np.zeros(items, dtype=int), seed=0)
    batches = NoLonelyBatch(sampler, 5, drop_last=False)
    assert [len(batch) for batch in batches] == sizes
    assert len(batches) == len(sizes)


def test_batches_of_one_stay_so():
    sampler = EpochSampler(np.arange(6), "in_order", np.zeros(6, dtype=int), seed=0)
    batches = NoLonelyBatch(sampler, 1, drop_last=False)
    assert [len(batch) for batch in batches] == [1] * 6
    assert len(batches) == 6


def test_p23_alone_equals_in_a_batch():
    pixels = torch.randint(0, 256, (7, 3, 16, 20), dtype=torch.uint8)
    together = normalise(pixels, IMAGENET)
    alone = torch.cat([normalise(image[None], IMAGENET) for image in pixels])
    assert torch.equal(together, alone)


def test_p24_input_is_scaled_as_the_network_expects():
    black, white = torch.zeros(1, 3, 2, 2, dtype=torch.uint8), torch.full((1, 3, 2, 2), 255, dtype=torch.uint8)
    half = Preprocessing(size=2, mean=(0.0,) * 3, std=(1.0,) * 3, range=(-1, 1))
    assert normalise(black, half).unique().tolist() == [-1.0]
    assert normalise(white, half).unique().tolist() == [1.0]
    first = normalise(white, IMAGENET)[0, :, 0, 0]
    assert torch.allclose(first, (1 - torch.tensor(IMAGENET.mean)) / torch.tensor(IMAGENET.std), atol=1e-6)


def test_pixels_come_back():
    pixels = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    assert torch.equal(pixels_back(normalise(pixels, IMAGENET), IMAGENET), pixels)


def test_p21_rotation_is_in_degrees_and_range_checked():
    with refused("bad_value", "data.augmentation.rotation_degrees", "628", "0 to 180"):
        Augmentation(rotation_degrees=628)
    # A bright bar through the middle, turned by at most 10 degrees, stays far from the corners.
    pixels = torch.zeros(3, 65, 65, dtype=torch.uint8)
    pixels[:, 30:35] = 255
    only = Augmentation(left_right=0, rotation_degrees=10, smallest_area=1, aspect=0, brightness=0, contrast=0)
    rows = torch.arange(65)[:, None]
    slopes = torch.tan(torch.deg2rad(torch.tensor(12.0))) * (torch.arange(65) - 32).abs()[None, :]
    outside = (rows - 32).abs() > slopes + 4
    turned = augmented(only, pixels.expand(50, 3, 65, 65), draws(0, 0, np.arange(50)))
    assert turned[:, 0, outside].max() == 0
    assert (turned[:, 0] != turned[0, 0]).flatten(1).any(1).sum() == 49


def test_p22_nothing_stands_on_its_head_by_default():
    assert Augmentation().up_down == 0
    pixels = torch.zeros(3, 64, 64, dtype=torch.uint8)
    pixels[:, :20] = 255
    for out in augmented(Augmentation(), pixels.expand(100, 3, 64, 64), draws(0, 0, np.arange(100))):
        assert out[:, :16].mean() > out[:, -16:].mean()


def test_p20_the_default_crop_keeps_at_least_80_percent():
    # A ramp tells how much of each side is left; brightness and turning are switched off to read it.
    ramp = torch.linspace(0, 255, 100).round().to(torch.uint8)
    across, down = ramp[None, None, :].expand(3, 100, 100), ramp[None, :, None].expand(3, 100, 100)
    crop = Augmentation(left_right=0, rotation_degrees=0, brightness=0, contrast=0)
    drawn = draws(0, 0, np.arange(100))
    wide, tall = (augmented(crop, picture.expand(100, 3, 100, 100), drawn)[:, 0] for picture in (across, down))
    sides = [(out.amax((1, 2)) - out.amin((1, 2))) for out in (wide, tall)]
    areas = sides[0] * sides[1]
    assert areas.min() > 0.76  # 0.80, less what interpolation takes from both ends
    assert areas.min() < 0.82 and areas.max() > 0.95  # and the whole range is made use of
    with refused("bad_value", "data.augmentation.smallest_area", "0.01"):
        Augmentation(smallest_area=0.01)


def test_p39_p38_balanced_sampler_is_one_setting_away(manifest):
    with refused("bad_value", "data.sampler", "'weighted'"):
        module(manifest, sampler="weighted")
    rows = epoch(module(manifest, sampler="balanced"), 0)[2]
    assert len(rows) == len(manifest.indices("train"))


@pytest.mark.parametrize("size", [0, -4])
def test_batch_size_must_be_positive(manifest, size):
    with refused("bad_value", "data.batch_size", f"{size}"):
        module(manifest, batch_size=size)


@pytest.mark.parametrize("workers", [-1, 1.5, "two", None, True])
def test_workers_must_be_a_whole_number(manifest, workers):
    with refused("bad_value", "data.workers", f"{workers!r}"):
        module(manifest, workers=workers)


def unreadable(path, decoding):
    raise AssertionError(f"{path} was opened")


def everything_of(data: ImageDataModule) -> dict[str, tuple[torch.Tensor, ...]]:
    """Train, val and test batches as a run asks for them."""
    data.setup("fit")
    parts = {"train": epoch(data, 3), "val": list(data.val_dataloader())}
    return parts | {split: [batch for batch in data.rows_of(split)] for split in ("val", "test")}


def same(one, other) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_p15_the_second_run_opens_no_image(folder, own_cache, monkeypatch, workers):
    root = folder({"a": 30, "b": 21})
    for path in root.rglob("*.png"):
        os.utime(path, (1, 1))  # settled: not written a moment ago
    first_manifest = split(from_folders(root, positive="a"))
    from_files = everything_of(module(first_manifest))
    first = everything_of(module(first_manifest, cache=True))
    monkeypatch.setattr(images, "read", unreadable)
    manifest = split(from_folders(root, positive="a"))
    data = module(manifest, cache=True, workers=workers)
    assert data.training_sample(0).shape == (3, 16, 20)  # before any loader was set up
    second = everything_of(data)
    for part, expected in from_files.items():
        assert same(first[part], expected)
        assert same(second[part], expected)


def test_p16_shuffled_by_image_from_the_cache_too(manifest, own_cache):
    data = module(manifest, cache=True)
    data.setup("fit")
    stored = data._store._cache_index[manifest.indices("train")]
    for number in range(2):
        batches = epoch(data, number)[2].split(8)
        slots = [data._store._cache_index[batch.numpy()] for batch in batches]
        # Neighbours in the file are no batch.
        assert all((np.diff(np.sort(batch)) > 1).any() for batch in slots if len(batch) > 2)
        assert sorted(np.concatenate(slots)) == sorted(stored)


def test_p15_the_off_switch_writes_nothing_and_reads_nothing(folder, own_cache, monkeypatch):
    manifest = split(from_folders(folder({"a": 30, "b": 21}), positive="a", remember=False))
    everything_of(module(manifest, memory_for_images=10**9))
    assert not own_cache.exists()
    everything_of(module(manifest, cache=True))
    monkeypatch.setattr(images, "read", unreadable)
    with pytest.raises(AssertionError, match="was opened"):
        everything_of(module(manifest))


def test_p15_an_image_that_changed_under_the_run_is_not_kept_under_its_old_name(manifest, own_cache):
    data = module(manifest, cache=True)
    path = manifest.root / manifest.rows["path"][int(manifest.indices("train")[0])]
    Image.fromarray(np.full((24, 20, 3), 7, np.uint8)).save(path)
    with refused("images_changed", path.name):
        data.setup("fit")


@pytest.mark.parametrize("workers", [0, 1])
def test_p15_a_test_image_replaced_during_training_is_not_scored_under_its_old_name(manifest, workers):
    data = module(manifest, workers=workers)  # no cache: each file is read when it is asked for
    assert len(torch.cat([rows for _, _, rows in data.rows_of("test")])) == len(manifest.indices("test"))
    row = manifest.indices("test")[0]
    path = manifest.root / manifest.rows["path"][row]
    status = path.stat()
    other = manifest.root / manifest.rows["path"][manifest.indices("train")[0]]
    replacement = path.with_suffix(".new")
    shutil.copyfile(other, replacement)
    replacement.replace(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    # Of what a worker raised torch brings the sentence alone.
    with refused("images_changed", path.name) if workers == 0 else pytest.raises(MedclsError, match=path.name):
        list(data.rows_of("test"))


def test_a_file_is_held_against_the_manifest_once_for_each_of_its_states(manifest, monkeypatch):
    store = module(manifest)._store
    seen = []
    monkeypatch.setattr(store, "_check_content", lambda row, decoded: seen.append(row))
    for _ in range(3):
        store.read(2)
    (manifest.root / manifest.rows["path"][2]).touch()
    store.read(2)
    assert seen == [2, 2]


def test_a_cache_that_is_cleared_under_the_run_is_done_without(manifest, own_cache):
    data = module(manifest, cache=True)
    data.setup("fit")
    expected = epoch(data, 1)
    data._store._find()  # as in a worker: not mapped yet
    shutil.rmtree(own_cache)
    assert same(epoch(data, 1), expected)


def test_without_room_on_disk_images_are_kept_in_memory(manifest, own_cache, monkeypatch):
    expected = epoch(module(manifest), 1)
    own_cache.write_text("a file where the folder should be")
    data = module(manifest, cache=True, memory_for_images=10**9)
    data.setup("fit")
    monkeypatch.setattr(images, "read", unreadable)
    assert same(epoch(data, 1), expected)


def test_images_in_memory_outlive_every_later_look_at_the_cache(manifest, own_cache, monkeypatch):
    """A frozen phase asks for the training images each epoch; where the disk has no room, they are not decoded anew."""
    monkeypatch.setattr(module_under_test.PixelCache, "fill", lambda *_: None)  # refused
    data = module(manifest, cache=True, memory_for_images=10**9)
    data.setup("fit")
    opened = []
    read = images.read
    monkeypatch.setattr(images, "read", lambda path, decoding: opened.append(path.name) or read(path, decoding))
    for _ in range(2):
        for name in ("train", "val"):
            assert sum(len(rows) for _, _, rows in data.rows_of(name)) == len(manifest.indices(name))
        epoch(data, 1)
    assert opened == []
    list(data.rows_of("test"))
    assert len(opened) == len(manifest.indices("test"))
    epoch(data, 2)
    assert len(opened) == len(manifest.indices("test"))


@pytest.mark.parametrize("cache", [False, True])
def test_sixteen_bits_reach_the_network_as_floating_point(tmp_path, own_cache, cache):
    levels = np.arange(16 * 20, dtype=np.uint16).reshape(16, 20) * 200
    for k, label in enumerate("aaaabbbb"):
        (tmp_path / "deep" / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(levels + np.uint16(k)).save(tmp_path / "deep" / label / f"{k}.png")
    manifest = split(from_folders(tmp_path / "deep", positive="a"))
    deep = dataclasses.replace(IMAGENET, mean=(0.5,), std=(0.2,), bits=16, window="full")
    data = ImageDataModule(manifest, deep, None, Loading(cache=cache))
    data.setup("fit")
    row = int(manifest.indices("train")[0])
    sample = data.training_sample(row)
    assert sample.dtype == torch.float32
    assert sample.shape == (1, 16, 20)
    stored = levels + np.uint16(manifest.rows["path"][row].split("/")[1].split(".")[0])
    assert torch.allclose(sample[0], torch.from_numpy(stored.astype(np.float32) / 65535), atol=1e-7)


@pytest.mark.slow
def test_p15_spawned_workers_read_the_cache_too(manifest, own_cache, monkeypatch):
    data = module(manifest, cache=True, workers=1)
    data.setup("fit")
    expected = torch.cat([pixels for pixels, _, _ in data.val_dataloader()])
    monkeypatch.setattr(module_under_test.ImageStore, "holds", lambda self, rows: False)
    monkeypatch.setattr(module_under_test, "DataLoader", partial(DataLoader, multiprocessing_context="spawn"))
    for path in manifest.root.rglob("*.png"):  # what a patch in this process cannot show
        path.unlink()
    assert torch.equal(torch.cat([pixels for pixels, _, _ in data.val_dataloader()]), expected)


def test_what_travels_to_a_worker_is_flat():
    paths = [f"train/patient {k}/乳腺-{k}.png" for k in range(1000)] + ["broken\udcff.png", ""]
    texts = FlatTexts(paths)
    assert [texts[k] for k in range(len(paths))] == paths
    assert len(pickle.dumps(texts)) < sum(len(os.fsencode(path)) + 8 for path in paths) + 1000


@pytest.mark.parametrize("cache", ["yes", None, 1])
def test_cache_is_true_or_false(manifest, cache):
    with refused("bad_value", "data.cache", f"{cache!r}"):
        module(manifest, cache=cache)


def test_p15_equal_values_behind_different_windows_are_not_one_picture(tmp_path, own_cache):
    plain = examples.get_testdata_file("CT_small.dcm", download=False)
    for k in range(24):
        dataset = pydicom.dcmread(plain)
        dataset.WindowCenter, dataset.WindowWidth = (40, 400) if k % 2 else (-600, 1500)
        dataset.PatientID = str(k)
        place = tmp_path / "ct" / "ab"[k // 12] / f"{k}.dcm"
        place.parent.mkdir(parents=True, exist_ok=True)
        # Each pair with values of its own: the copies of one picture must agree about its class.
        dataset.PixelData = (dataset.pixel_array + k // 2).astype(np.int16).tobytes()
        dataset.save_as(place)
    manifest = split(from_folders(tmp_path / "ct", positive="a"))
    assert manifest.rows["content"].nunique() == 12
    data, cached = module(manifest), module(manifest, cache=True)
    cached.setup("fit")
    for row in range(24):
        assert torch.equal(cached.training_sample(row), data.training_sample(row))
    train_and_val = np.concatenate([manifest.indices("train"), manifest.indices("val")])
    assert len(set(cached._store._cache_index[train_and_val])) == len(train_and_val)


def test_images_kept_on_the_device_give_the_same_batches(manifest):
    plain, resident = module(manifest, memory_for_images=10**9), module(manifest, memory_for_images=10**9)
    for data in (plain, resident):
        data.setup("fit")
    resident.keep_on(torch.device("cpu"), memory=10**9)
    assert next(iter(resident.train_dataloader()))[0].numel() == 0  # numbers alone
    assert same(epoch(resident, 3), epoch(plain, 3))
    expected = [plain.prepare(batch, None) for batch in plain.val_dataloader()]
    assert same([resident.prepare(batch, None) for batch in resident.val_dataloader()], expected)
    assert same(list(resident.rows_of("test")), list(plain.rows_of("test")))  # of a split that is not there


def test_images_that_do_not_fit_on_the_device_go_there_batch_by_batch(manifest):
    data = module(manifest, memory_for_images=10**9)
    data.setup("fit")
    data.keep_on(torch.device("cpu"), memory=1000)
    assert next(iter(data.train_dataloader()))[0].numel() > 0


def test_beside_a_gpu_that_does_not_hold_the_images_processes_bring_them(manifest):
    data = module(manifest, workers=2, memory_for_images=10**9)
    data.setup("fit")
    assert data.train_dataloader().num_workers == 0
    strategy = SimpleNamespace(root_device=torch.device("cuda"))
    data.trainer = SimpleNamespace(strategy=strategy, global_rank=0, world_size=1)
    assert data.train_dataloader().num_workers == 2
    assert not data.without_images(True)  # it could not be told to them
    data.keep_on(torch.device("cpu"), memory=10**9)
    assert data.train_dataloader().num_workers == 0
    assert data.without_images(True)


def test_batches_can_leave_their_images_out_and_bring_them_again(manifest):
    data = module(manifest, memory_for_images=10**9, workers=1)
    assert data.without_images(True) is False  # not decoded yet: loader processes would read them
    data.setup("fit")
    assert data.without_images(True) is True
    assert all(data.prepare(batch, 0)[0].numel() == 0 for batch in data.train_dataloader())
    assert all(batch[0].numel() for batch in data.unaugmented_training())
    data.without_images(False)
    assert all(batch[0].numel() for batch in data.train_dataloader())


@pytest.mark.parametrize("views", [None, 2])
def test_an_epoch_for_a_teacher_has_the_pixels_of_training(manifest, views):
    """Consistent teaching: the same view of an image, also where a teacher takes another size."""
    data = module(manifest, augmentation=Augmentation(left_right=0.5, rotation_degrees=10), views=views)
    for number in range(4):
        data.trainer = SimpleNamespace(
            training=True, current_epoch=number, global_rank=0, world_size=1,
            strategy=SimpleNamespace(root_device=torch.device("cpu")),
        )  # fmt: skip
        loader = data.train_dataloader()
        loader.batch_sampler.sampler.set_epoch(number)
        batches = [data.on_after_batch_transfer(batch, 0) for batch in loader]
        images, _, rows = (torch.cat(part) for part in zip(*batches, strict=True))
        data.trainer = None
        taught = list(data.training_in_epoch(number, torch.device("cpu")))
        again, _, in_order = (torch.cat(part) for part in zip(*taught, strict=True))
        assert in_order.tolist() == manifest.indices("train").tolist()
        assert torch.equal(again, images[rows.argsort()])
