"""Features of a frozen network: the inputs of its last layer, for each image."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from medcls.data.feature_cache import FeatureCache
from medcls.data.manifest import Manifest
from medcls.data.module import ImageDataModule, image_names
from medcls.inference.load import ClassLogits, weights_hash
from medcls.inference.predict import Predictor, batch_size
from medcls.models.linear_probe import features_of


def frozen_features(
    network: nn.Module,
    described: Mapping[str, Any],
    load: Callable[[Manifest], ImageDataModule],
    manifest: Manifest,
    device: torch.device,
    *,
    cache: bool,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[np.ndarray, int]:
    """Features of every image, from the cache where they are known.

    Parameters
    ----------
    network : Module
        From images to logits. It is set to eval mode; nothing else of it changes.
    described : mapping
        Its configuration, with its `name`; part of the cache key.
    load : callable
        From a manifest to a data module with the network's preprocessing.
    manifest : Manifest
        The images, in any split.
    device : device
    cache : bool
        Whether to use the cache.
    progress : callable, optional
        As in `Predictor`.

    Returns
    -------
    features : ndarray
        float32 `(n, d)`, in the order of the manifest's rows.
    computed : int
        The number of images whose features were not cached.

    Raises
    ------
    MedclsError
        See `features_of`.
    """
    preprocessing = load(manifest).preprocessing
    sample = torch.zeros(2, preprocessing.channels, *preprocessing.size).normal_()
    headless = features_of(network.eval(), sample)
    with torch.inference_mode():
        features = np.empty((len(manifest), headless(sample).shape[1]), np.float32)
    kept = FeatureCache({**described, "weights": weights_hash(headless.state_dict())}, preprocessing)
    names = image_names(manifest)
    known, place = kept.find(names) if cache else (features[:0], np.full(len(names), -1))
    missing = place < 0
    if len(known):
        features[~missing] = known[place[~missing]]
    if missing.any():
        missing_images = manifest.with_rows(manifest.rows.assign(split=np.where(missing, "train", "")))
        predictor = Predictor(ClassLogits(headless, features.shape[1], None), device)
        batches = load(missing_images).rows_of("train", 0, device, batch_size(device, preprocessing.size))
        new, rows = predictor(batches, progress)
        features[rows] = new
        if cache:
            kept.add(names[rows], new)
    return features, int(missing.sum())
