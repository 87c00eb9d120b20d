"""The manifest's rows as batches: each row exactly once an epoch, all random draws functions of (seed, epoch, row)."""

import concurrent.futures
import dataclasses
import hashlib
import logging
import math
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Literal

import lightning
import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler

from medcls import cpu
from medcls.data.cache import DamagedImage, MappedImages, PixelCache
from medcls.data.manifest import Manifest
from medcls.data.reading import images
from medcls.data.reading.decoded import Decoded
from medcls.data.sources.scan import remove_wrong_entry
from medcls.data.training_loader import NoLonelyBatch, TrainingLoader, leave_signals_to_the_run
from medcls.data.transforms import Augmentation, Changes, change, draws, normalise
from medcls.errors import MedclsError
from medcls.preprocessing import Preprocessing
from medcls.randomness import stream

log = logging.getLogger(__name__)

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Images `(B, C, H, W)`, uint8 or, of 16 bits, float32 from 0 to 1; class indices and manifest rows, int64 `(B,)`."""


class FlatTexts:
    """Texts in two flat arrays.

    A list of strings would be copied, page by page, into every loader process that counts references to them.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        encoded = [os.fsencode(text) for text in texts]
        self._ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)
        self._bytes = np.frombuffer(b"".join(encoded), dtype=np.uint8)

    def __getitem__(self, number: int) -> str:
        start = self._ends[number - 1] if number else 0
        return os.fsdecode(self._bytes[start : self._ends[number]].tobytes())


class ImageStore:
    """The decoded and resized images of manifest rows: from memory, from the pixel cache, or read on demand."""

    def __init__(self, manifest: Manifest, preprocessing: Preprocessing, cache: bool) -> None:
        self._root = manifest.root
        self._preprocessing = preprocessing
        self._paths = FlatTexts(manifest.rows["path"].tolist())
        self._contents = manifest.rows["content"].to_numpy(dtype="S32")
        self._names = image_names(manifest)
        self._cache = PixelCache(preprocessing) if cache else None
        # Images in memory and in the cache, and the position of each manifest row's image in either.
        self._in_memory: np.ndarray | None = None
        self._memory_index = np.full(len(manifest), -1, dtype=np.int64)
        self._in_cache: MappedImages | None = None
        self._cache_index = np.full(len(manifest), -1, dtype=np.int64)
        # The state of each row's file when its content was last checked: inode, size, times.
        self._checked_state = np.zeros((len(manifest), 4), dtype=np.int64)
        self._warned_of_damage = False
        self._find()

    def read(self, row: int) -> np.ndarray:
        """The image of one manifest row, uint8 or uint16 `(H, W, C)`."""
        if self._in_memory is not None and self._memory_index[row] >= 0:
            image: np.ndarray = self._in_memory[self._memory_index[row]]
            return image
        if self._in_cache is not None and self._cache_index[row] >= 0:
            try:
                return self._in_cache[self._cache_index[row]]
            except FileNotFoundError:
                log.warning("cache: it was cleared; this process decodes images each time they are read")
                self._in_cache = None
            except DamagedImage:
                if not self._warned_of_damage:
                    log.warning(
                        "cache: images do not match their checksums, the first that of %s: they are dropped, and their "
                        "files read again",
                        self._paths[row],
                        extra={"rule": "cached_images_damaged"},
                    )
                self._warned_of_damage = True
                self._cache_index[row] = -1
        return self._resized(self._decoded(row))

    def cache(self, rows: np.ndarray) -> None:
        """Put these rows into the cache, if there is one and they are not in memory."""
        if self._cache is None or (self._memory_index[rows] >= 0).all():
            return

        def read(number: int) -> np.ndarray:
            row = int(rows[number])
            return self._resized(self._decoded(row))

        self._cache.fill(self._names[rows], read)
        self._find()

    def holds(self, rows: np.ndarray) -> bool:
        """Whether all these rows are decoded already, in the cache or in memory."""
        return bool(((self._cache_index[rows] >= 0) | (self._memory_index[rows] >= 0)).all())

    def keep(self, rows: np.ndarray, memory: int) -> None:
        """Decode these rows once and keep them in memory, if they are not in the cache and fit.

        Loader workers started afterwards share the memory, if the system forks them.
        """
        preprocessing = self._preprocessing
        dtype = np.dtype(np.uint8 if preprocessing.bits == 8 else np.uint16)
        shape = (len(rows), *preprocessing.size, preprocessing.channels)
        if self.holds(rows) or math.prod(shape) * dtype.itemsize > memory:
            return
        kept = np.empty(shape, dtype)

        def fill(place: int) -> None:
            kept[place] = self.read(int(rows[place]))

        with concurrent.futures.ThreadPoolExecutor(cpu.available_cores()) as pool:
            for _ in pool.map(fill, range(len(rows))):
                pass
        self._in_memory = kept
        self._memory_index[:] = -1
        self._memory_index[rows] = np.arange(len(rows))

    def _find(self) -> None:
        if self._cache is not None:
            self._in_cache, self._cache_index = self._cache.find(self._names)

    def _decoded(self, row: int) -> Decoded:
        path = self._root / self._paths[row]
        try:
            status = path.stat()
            state = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        except OSError:
            state = (0, 0, 0, 0)  # reading the file reports what is wrong
        decoded = images.read(path, self._preprocessing.decoding)
        # Once for each state of a file: hashing takes a fifth of the time of decoding a JPEG.
        if (self._checked_state[row] != state).any():
            self._check_content(row, decoded)
            self._checked_state[row] = state
        return decoded

    def _check_content(self, row: int, decoded: Decoded) -> None:
        """Refuse a file whose content is not that of the manifest."""
        known = self._contents[row]
        if not known or decoded.content.encode() == known:
            return
        if remove_wrong_entry(self._root, self._paths[row], known.decode(), self._preprocessing.frame):
            raise MedclsError(
                f"The cache was wrong about {self._root / self._paths[row]}, which has not changed: the entry is "
                "removed. Start again.",
                kind="wrong_cache",
            )
        raise MedclsError(
            f"{self._root / self._paths[row]} has changed since this run first read it: do not change images during a "
            "run, and start again.",
            kind="images_changed",
        )

    def _resized(self, decoded: Decoded) -> np.ndarray:
        preprocessing = self._preprocessing
        return images.resize(decoded.pixels, preprocessing.size, preprocessing.resize, preprocessing.interpolation)


def image_names(manifest: Manifest) -> np.ndarray:
    """Name the image of each row, whatever the decoding: 32 digits each, bytes `(n,)`.

    This is the content hash; for DICOM, where equal values may have different windows or be inverted, a hash of the
    scan.
    """
    names = manifest.rows["content"].to_numpy(dtype="S32")
    scan = manifest.scan.loc[manifest.rows["path"]].drop(columns="bytes")
    for number in np.flatnonzero((scan["format"] == "DICOM").to_numpy()):
        values = "|".join(str(value) for value in scan.iloc[number])
        names[number] = hashlib.blake2b(values.encode(), digest_size=16).hexdigest().encode()
    return names


@dataclasses.dataclass(frozen=True)
class Share:
    """Which images of a batch are those of one of several training processes: every `processes`-th from its own on.

    Parameters
    ----------
    rank : int
        Number of the process, from 0.
    processes : int
        Of the training.
    least : int
        Images that a process needs: batch norm cannot train on one value a channel. A last batch with fewer for each
        process is given to all of them, which leaves the mean of their gradients as it is.
    """

    rank: int = 0
    processes: int = 1
    least: int = 1

    def of(self, rows: list[int]) -> list[int]:
        """The rows of this process."""
        return rows if len(rows) < self.least * self.processes else rows[self.rank :: self.processes]


class ImageBatches(Dataset[Batch]):
    """A data set of complete batches, by the manifest rows in them; images as they are stored."""

    def __init__(self, store: ImageStore, labels: np.ndarray, share: Share = Share()) -> None:
        self._store = store
        self._labels = labels
        self._share = share
        self.without_images = False

    def __getitems__(self, rows: list[int]) -> Batch:
        """One batch, or the share of this process in it; torch's loader calls this method."""
        rows = self._share.of(rows)
        if self.without_images:
            return torch.empty(len(rows), 0), torch.from_numpy(self._labels[rows]), torch.tensor(rows)
        # (B, H, W, C) in memory, as (B, C, H, W) the channels-last format, in which networks run fastest.
        pixels = torch.from_numpy(np.stack([self._store.read(row) for row in rows])).permute(0, 3, 1, 2)
        # Few of torch's operations take uint16.
        images = pixels if pixels.dtype == torch.uint8 else pixels.float().div_(65535)
        return images, torch.from_numpy(self._labels[rows]), torch.tensor(rows)


class EpochSampler(Sampler[int]):
    """Yields manifest rows: in order, shuffled each epoch, or balanced by class.

    Parameters
    ----------
    rows : ndarray
        Manifest rows, int64.
    order : str
        `in_order` and `shuffle` yield each row exactly once. `balanced` draws as many rows, with replacement, each
        class equally likely.
    labels : ndarray
        Class index of each manifest row.
    """

    def __init__(
        self,
        rows: np.ndarray,
        order: Literal["in_order", "shuffle", "balanced"],
        labels: np.ndarray,
        seed: int,
    ) -> None:
        self._rows, self._order, self._seed, self.epoch = rows, order, seed, 0
        classes, inverse, counts = np.unique(labels[rows], return_inverse=True, return_counts=True)
        self._weights = 1 / (len(classes) * counts[inverse])

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch, also after a resume."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[int]:
        draw = stream("order", self._seed, self.epoch)
        rows = self._rows
        if self._order == "shuffle":
            rows = draw.permutation(rows)
        elif self._order == "balanced":
            rows = draw.choice(rows, size=len(rows), p=self._weights)
        return iter(rows.tolist())


def already_collated(batch: Any) -> Any:  # noqa: ANN401 - torch types it as a list
    """Collate a batch that is complete already."""
    return batch


class Prepared:
    """A loader's batches as the network expects them, for code outside Lightning's loops.

    They are moved to the device before they are prepared: as they are stored, they are a quarter of the bytes.
    """

    def __init__(self, loader: DataLoader[Any], prepare: Callable[[Batch], Batch], device: torch.device) -> None:
        self._loader, self._prepare, self._device = loader, prepare, device

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._loader:
            pixels, labels, rows = (tensor.to(self._device, non_blocking=True) for tensor in batch)
            yield self._prepare((pixels, labels, rows))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loading:
    """How images are put into batches.

    Parameters
    ----------
    batch_size : int
        Images a step.
    sampler : str
        `shuffle`, or `balanced`: each class equally often, with replacement.
    seed : int
        Of shuffling and augmentation.
    workers : int
        Loader processes; 0 loads in this one.
    memory_for_images : int
        Bytes of memory for decoded images that are not in the cache. If the splits fit, a run decodes each file once.
    cache : bool
        Keep decoded images on disk, for this run and later ones.
    views : int, optional
        Number of fixed views of a training image, which epochs take in turn: the image itself, and others augmented
        once and for all. Without it each epoch augments again.

    Raises
    ------
    MedclsError
        A value that is invalid for any images; names the setting.
    """

    batch_size: int = 32
    sampler: Literal["shuffle", "balanced"] = "shuffle"
    seed: int = 0
    workers: int = 0
    memory_for_images: int = 0
    cache: bool = False
    views: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("workers", 0), ("views", 1)):
            value = getattr(self, name)
            if name == "views" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                null = ", or null" if name == "views" else ""
                raise MedclsError(
                    f"data.{name} is {value!r}: give a whole number, at least {least}{null}.", kind="bad_value"
                )
        if self.sampler not in ("shuffle", "balanced"):
            raise MedclsError(f"data.sampler is {self.sampler!r}: choose shuffle or balanced.", kind="bad_value")
        if not isinstance(self.cache, bool):
            raise MedclsError(f"data.cache is {self.cache!r}: give true or false.", kind="bad_value")


class ImageDataModule(lightning.LightningDataModule):
    """Loaders over a split manifest. Batches are `(images, labels, rows)`.

    Images leave the loader as uint8 `(B, C, H, W)` and are normalised on the device, so that a quarter of the bytes
    travel; images of 16 bits leave it as float32 from 0 to 1.

    Parameters
    ----------
    manifest : Manifest
        Split.
    preprocessing : Preprocessing
        The network's.
    augmentation : Augmentation or None
        Of training images.
    loading : Loading
    """

    def __init__(
        self,
        manifest: Manifest,
        preprocessing: Preprocessing,
        augmentation: Augmentation | None,
        loading: Loading = Loading(),
    ) -> None:
        super().__init__()
        self.manifest = manifest
        self.preprocessing = preprocessing
        self.augmentation = augmentation
        # Without any change, all views are the image itself.
        self.views = 1 if augmentation is None or augmentation.changes_nothing else loading.views
        self._loading = loading
        self._labels = manifest.labels
        self._store = ImageStore(manifest, preprocessing, loading.cache)
        self._images = ImageBatches(self._store, self._labels)
        # The same, of which each of several processes has its share.
        self._shared_images = self._images
        if augmentation is not None:
            augmentation.check_size(preprocessing.size)
        # Images on the device and the position of each manifest row's; and whether batches have images at all.
        self._on_device: tuple[torch.Tensor, torch.Tensor] | None = None
        self._with_images = True
        # The changes of one epoch to each manifest row, on a device.
        self._changes: tuple[int, torch.device, Changes] | None = None

    def prepare_data(self) -> None:
        """Fill the cache; Lightning lets the first process of each machine do this, while the others wait."""
        self._store.cache(self._rows_of_a_fit())

    def setup(self, stage: str) -> None:
        """Before a fit, decode the images that training will read repeatedly, if they fit."""
        if stage != "fit":
            return
        if self.trainer is not None:
            self.share_among(self.trainer.global_rank, self.trainer.world_size)
        rows = self._rows_of_a_fit()
        if not self._store.holds(rows):
            self._store.cache(rows)
        self._store.keep(rows, self._loading.memory_for_images)
        if self.trainer is not None and (device := self.trainer.strategy.root_device).type == "cuda":
            self.keep_on(device, memory=torch.cuda.mem_get_info(device)[0] // 2)

    def share_among(self, rank: int, processes: int) -> None:
        """Leave to this one of several processes its share of the batches of training and validation."""
        if processes > 1:
            share = Share(rank, processes, least=min(2, self._loading.batch_size // processes))
            self._shared_images = ImageBatches(self._store, self._labels, share)

    def keep_on(self, device: torch.device, memory: int) -> None:
        """Put the images of training and validation on the device once, as they are stored, if they fit.

        Batches then have row numbers alone, and an epoch moves no image. `memory` is in bytes.
        """
        rows, preprocessing = self._rows_of_a_fit(), self.preprocessing
        size = len(rows) * math.prod((*preprocessing.size, preprocessing.channels))
        if preprocessing.bits != 8 or size > memory or not self._store.holds(rows):
            return
        kept = torch.empty((len(rows), *preprocessing.size, preprocessing.channels), dtype=torch.uint8, device=device)
        for first in range(0, len(rows), 256):  # each copy waits for the device: not one an image
            images = np.stack([self._store.read(row) for row in rows[first : first + 256].tolist()])
            kept[first : first + 256] = torch.from_numpy(images)
        places = torch.full((len(self.manifest),), -1, device=device)
        places[torch.from_numpy(rows).to(device)] = torch.arange(len(rows), device=device)
        self._on_device = (kept, places)
        self._leave_images_out(True)
        log.debug("images: %d of uint8 stay on %s (%.0f MiB), and batches bring their numbers", len(rows), device,
                 size / 2**20)  # fmt: skip

    def _rows_of_a_fit(self) -> np.ndarray:
        return np.concatenate([self.manifest.indices("train"), self.manifest.indices("val")])

    def train_dataloader(self) -> DataLoader[Any]:
        """Training batches, shuffled each epoch; augmented when they are on the device."""
        return self._loader("train", self._loading.sampler, self._shared_images)

    def val_dataloader(self) -> DataLoader[Any]:
        """Validation rows in manifest order, each once."""
        return self._loader("val", "in_order", self._shared_images)

    def rows_of(
        self,
        split: str,
        view: int = 0,
        device: torch.device = torch.device("cpu"),  # noqa: B008 - a constant
        batch_size: int | None = None,
        *,
        shared: bool = False,
    ) -> Prepared:
        """A split's rows in manifest order, each once, normalised on a device; augmented for views other than 0.

        `shared` among the processes of a training: each gets its share, and those of all have each row at least once.
        """
        self._store.cache(self.manifest.indices(split))
        images = self._shared_images if shared else None
        loader = self._loader(split, "in_order", images, batch_size=batch_size, device=device)
        return Prepared(loader, partial(self.prepare, epoch=view or None), device)

    def training_in_epoch(self, epoch: int, device: torch.device, batch_size: int | None = None) -> Prepared:
        """The training rows in manifest order, each once, as an epoch of training gives them to a network.

        Shared as the batches of training are.
        """
        rows = self.manifest.indices("train")
        self._store.cache(rows)
        self._store.keep(rows, self._loading.memory_for_images)
        loader = self._loader("train", "in_order", self._shared_images, batch_size=batch_size, device=device)
        return Prepared(loader, partial(self.prepare, epoch=self._augmented_as(epoch)), device)

    def without_images(self, without: bool) -> bool:
        """Leave the images out of training and validation batches, or include them again; return whether they are out.

        They cannot be left out where loader processes read images.
        """
        here = all(self._loads_here(split, self._training_device()) for split in ("train", "val"))
        self._with_images = not (without and here)
        self._leave_images_out(not self._with_images or self._on_device is not None)
        return not self._with_images

    def _leave_images_out(self, without: bool) -> None:
        for batches in (self._images, self._shared_images):
            batches.without_images = without

    def unaugmented_training(self) -> DataLoader[Any]:
        """Training batches in a fixed shuffled order, not augmented, for exact batch-norm statistics.

        They are not normalised: this happens in Lightning's hook on the device.
        """
        # With images even if the other loaders leave them out: statistics need them.
        return self._loader("train", "shuffle", ImageBatches(self._store, self._labels))

    def training_sample(self, row: int) -> torch.Tensor:
        """A training image as the first epoch passes it to the network, before it is normalised.

        `(C, H, W)`, uint8, or float32 from 0 to 1 if it was augmented or has 16 bits.
        """
        images, _, rows = self._images.__getitems__([row])
        return self._augmented(images, rows, 0)[0]

    def prepare(self, batch: Batch, epoch: int | None) -> Batch:
        """Augment a batch as in one epoch (None: not at all) and normalise it, on any device."""
        images, labels, rows = batch
        if not images.numel():
            if self._on_device is None or not self._with_images:
                return batch
            kept, places = self._on_device
            images = kept[places[rows]].permute(0, 3, 1, 2)
        if epoch is not None:
            images = self._augmented(images, rows, epoch)
        return normalise(images, self.preprocessing), labels, rows

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment training batches, and normalise all, on the device."""
        trainer = self.trainer
        if trainer is None or not trainer.training:
            return self.prepare(batch, None)
        return self.prepare(batch, self._augmented_as(trainer.current_epoch))

    def _augmented_as(self, epoch: int) -> int | None:
        """Which epoch's draws augment the images of an epoch; None for the images themselves."""
        return epoch if self.views is None else epoch % self.views or None

    def _augmented(self, images: torch.Tensor, rows: torch.Tensor, epoch: int) -> torch.Tensor:
        if self.augmentation is None:
            return images
        if self._changes is None or self._changes[:2] != (epoch, images.device):
            preprocessing = self.preprocessing
            drawn = draws(self._loading.seed, epoch, np.arange(len(self.manifest)))
            changes = self.augmentation.changes(drawn, preprocessing.size, preprocessing.channels)
            self._changes = (epoch, images.device, changes.to(images.device))
        return change(images, self._changes[2].select(rows.to(images.device)))

    def _training_device(self) -> torch.device:
        return torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device

    def _loads_here(self, split: str, device: torch.device) -> bool:
        """Whether batches of a split are made in this process.

        Decoded images are only copied, for which another process would cost more than it saves beside a CPU. A GPU
        would wait for the copy of images that it does not hold itself.
        """
        on_device = self._on_device is not None and split in ("train", "val")
        decoded = self._store.holds(self.manifest.indices(split))
        return self._loading.workers == 0 or (decoded and (device.type != "cuda" or on_device))

    def _loader(
        self,
        split: str,
        order: Literal["in_order", "shuffle", "balanced"],
        images: ImageBatches | None = None,
        batch_size: int | None = None,
        device: torch.device | None = None,
    ) -> DataLoader[Any]:
        rows = self.manifest.indices(split)
        if not len(rows):
            raise MedclsError(f"The manifest has no image in the {split} split.", kind="empty_split")
        if images is None:
            # Images of other splits are never on the device, nor left out.
            images = self._images if split in ("train", "val") else ImageBatches(self._store, self._labels)
        sampler = EpochSampler(rows, order, self._labels, self._loading.seed)
        here = self._loads_here(split, self._training_device() if device is None else device)
        workers = 0 if here else self._loading.workers
        in_order = order == "in_order"
        batches, kind = (BatchSampler, DataLoader) if in_order else (NoLonelyBatch, TrainingLoader)
        return kind(
            images,
            batch_sampler=batches(sampler, batch_size or self._loading.batch_size, drop_last=False),
            collate_fn=already_collated,
            num_workers=workers,
            worker_init_fn=leave_signals_to_the_run,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            # Its own, so that starting a loader draws nothing from the generator of dropout.
            generator=torch.Generator().manual_seed(self._loading.seed),
        )
