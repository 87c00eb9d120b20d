"""Networks of torchvision and timm by name, and what is common to every network: its head and its preprocessing."""

import dataclasses
import re
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any, cast

import torch
import torchvision
from torch import nn

from medcls.errors import MedclsError, nearest
from medcls.models.mobilenetv3 import GreyConv2d
from medcls.preprocessing import Preprocessing

# Built with these, torchvision renormalises the input inside the network (`transform_input`) whenever its weights
# are asked for. Here that is off, and the preprocessing says what those weights were trained on.
_RENORMALISED_INSIDE = ("inception_v3", "googlenet")

LAST_LAYER_DEVIATION = 0.01

# Where torchvision pools inside `forward`: the stage whose end can pool instead. On a 1 x 1 map, what follows
# (an average; in DenseNet a ReLU before it) gives the same as it would before pooling.
_POOLED_IN_FORWARD = {"MobileNetV2": "features", "DenseNet": "features", "MNASNet": "layers", "ShuffleNetV2": "conv5"}


@dataclasses.dataclass(frozen=True)
class PublishedWeights:
    """A weight file that a library publishes.

    Parameters
    ----------
    url
        Where it is.
    sha256
        The first digits of its hash; empty where the publisher names none.
    preprocessing
        What the network that these weights belong to expects of its input.
    num_classes
        Number of outputs of the published last layer.
    """

    url: str
    sha256: str
    preprocessing: Preprocessing
    num_classes: int


def torchvision_network(
    name: str | None, num_classes: int, in_chans: int = 3, bn_momentum: float | None = 0.1
) -> nn.Module:
    """Build a torchvision classification network with random weights and its published head but for the last layer.

    The auxiliary classifiers of `inception_v3` and `googlenet` are not made: they fix the input size, and return
    more than one tensor while training. Every network maps (B, in_chans, H, W) to logits (B, num_classes).

    Parameters
    ----------
    name
        As `torchvision.models.list_models` has it.
    num_classes
        Number of logits.
    in_chans
        Channels of the input. With 1, colour weights can be folded in exactly
        (`medcls.models.mobilenetv3.GreyConv2d`).
    bn_momentum
        Set on every batch norm; None keeps the network's own. For the measured reason, see
        `medcls.models.mobilenetv3.mobilenetv3_large`.

    Raises
    ------
    MedclsError
        No name, or one that torchvision does not have.
    """
    _known(name, torchvision.models.list_models(module=torchvision.models), "torchvision", "efficientnet_b0")
    special = {"aux_logits": False, "init_weights": True} if name in _RENORMALISED_INSIDE else {}
    network = torchvision.models.get_model(name, weights=None, num_classes=num_classes, **special)
    return _finished(network, ("torchvision", str(name)), in_chans, bn_momentum)


def timm_network(
    name: str | None,
    num_classes: int,
    in_chans: int = 3,
    bn_momentum: float | None = 0.1,
    img_size: Sequence[int] | None = None,
) -> nn.Module:
    """Build a timm network with random weights and its published head but for the last layer.

    Parameters and errors are those of `torchvision_network`; `name` is as `timm.list_models` has it, with or
    without the tag that names one set of its weights (`resnet50.a1_in1k`).

    Parameters
    ----------
    img_size
        Height and width of the input, for a network that is built for one size; None is the size of its published
        weights. See `size_to_build_for`.
    """
    timm = _timm(name)
    sized: dict[str, Any] = {} if img_size is None else {"img_size": tuple(img_size)}
    network = timm.create_model(name, pretrained=False, num_classes=num_classes, in_chans=in_chans, **sized)
    network.built_for_size = sized.get("img_size")
    return _finished(network, ("timm", str(name)), in_chans, bn_momentum)


def size_to_build_for(name: str | None, size: Sequence[int]) -> list[int] | None:
    """The size that a timm network has to be built for; None where it takes any, or is of that size anyway.

    Parameters
    ----------
    size
        Height and width of the images.
    """
    cfg = _timm(name).get_pretrained_cfg(name)
    bound = cfg is not None and cfg.fixed_input_size and tuple(cfg.input_size[1:]) != tuple(size)
    return list(size) if bound else None


def torchvision_preprocessing(
    name: str | None, in_chans: int = 3, resize: str = "squash", standardise: bool = False
) -> Preprocessing:
    """Say what torchvision's published weights for `name` expect: size, scaling, interpolation.

    Parameters
    ----------
    name
        As for `torchvision_network`.
    in_chans
        3, or 1 for grey pictures: then `mean` and `std` are the averages of the published three.
    resize
        The published one cuts a square out of the middle (`crop`), which may cut a lesion away, so another is the
        default.
    standardise
        Bring each image to mean 0 and deviation 1 by itself, rather than as the published weights expect.
    """
    _known(name, torchvision.models.list_models(module=torchvision.models), "torchvision", "efficientnet_b0")
    transforms = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    mean, std = transforms.mean, transforms.std
    if name in _RENORMALISED_INSIDE:
        mean, std = (0.5,) * 3, (0.5,) * 3
    size, interpolation = transforms.crop_size[0], transforms.interpolation.value
    colour = Preprocessing(size, mean, std, resize=resize, interpolation=interpolation, standardise=standardise)
    return colour.grey() if in_chans == 1 else colour


def timm_preprocessing(
    name: str | None, in_chans: int = 3, resize: str = "squash", standardise: bool = False
) -> Preprocessing:
    """Say what timm's published weights for `name` expect; parameters as in `torchvision_preprocessing`."""
    cfg = _timm(name).get_pretrained_cfg(name)
    interpolation = cfg.interpolation if cfg.interpolation in ("bilinear", "bicubic", "lanczos") else "bicubic"
    size = tuple(cfg.input_size[1:])
    colour = Preprocessing(size, cfg.mean, cfg.std, resize=resize, interpolation=interpolation, standardise=standardise)
    return colour.grey() if in_chans == 1 else colour


def published(library: str, name: str) -> PublishedWeights:
    """Find the weights that `model.weights=default` stands for.

    Parameters
    ----------
    library
        `torchvision` or `timm`.
    name
        The network's name there. A timm name without a tag means the tag timm puts first.

    Raises
    ------
    MedclsError
        The library has no such network, or publishes no weights for it.
    """
    if library == "torchvision":
        preprocessing = torchvision_preprocessing(name)
        weights = torchvision.models.get_model_weights(name).DEFAULT
        digits = re.search(r"-([0-9a-f]{8,})\.", weights.url.rsplit("/", 1)[-1])
        return PublishedWeights(
            weights.url, digits.group(1) if digits else "", preprocessing, len(weights.meta["categories"])
        )
    timm = _timm(name)
    cfg = timm.get_pretrained_cfg(name)
    if not cfg.has_weights:
        tagged = timm.list_pretrained(f"{name.split('.')[0]}*")
        raise MedclsError(
            f"timm publishes no weights for {name!r}, so model.weights=default has nothing to load."
            + (f" It has some for {', '.join(tagged[:3])}." if tagged else ""),
            kind="nothing_published",
        )
    url = cfg.url
    if cfg.hf_hub_id:
        from huggingface_hub import hf_hub_url

        url = hf_hub_url(cfg.hf_hub_id, cfg.hf_hub_filename or "model.safetensors")
    return PublishedWeights(url, "", timm_preprocessing(name), cfg.num_classes)


def head_name(network: nn.Module) -> str:
    """Name the head of a network, as a dotted prefix: everything else is its backbone.

    For timm's networks the one timm records; for all others the last child that has parameters, which is where
    torchvision's networks and MobileNetV3 have theirs.

    Raises
    ------
    MedclsError
        The network has two heads, or no parameters.
    """
    if hasattr(network, "pretrained_cfg"):
        return _timm_classifier(network).split(".")[0]
    names = [name for name, child in network.named_children() if any(True for _ in child.parameters())]
    if not names:
        raise MedclsError(
            f"{type(network).__name__} has no child with parameters, so it has no head to name.",
            kind="unsupported_head",
        )
    return names[-1]


def last_layer(network: nn.Module) -> str:
    """Name the layer that makes the logits: the last linear layer or convolution of the head."""
    head = head_name(network)
    names = [
        f"{head}.{name}".rstrip(".")
        for name, module in network.get_submodule(head).named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    ]
    if not names:
        raise MedclsError(
            f"The head {head!r} of {type(network).__name__} has no linear layer to make the logits.",
            kind="unsupported_head",
        )
    return names[-1]


def start_small(network: nn.Module, num_outputs: int) -> str | None:
    """Draw the last layer anew, in place: weights normal with deviation 0.01, biases 0.

    Libraries differ in how they draw it, and what suits a thousand classes is far too large for two: timm draws a
    two-class layer of its EfficientNets from -0.7 to 0.7, and the first losses are then several times that of a guess.

    Parameters
    ----------
    network
        As its builder made it, with `replace_head` applied if it was asked for, and before weights are loaded.
    num_outputs
        Number of logits: a layer that makes another number of values is not the last one.

    Returns
    -------
    str or None
        The layer's dotted name; None where none is found, and then nothing is changed.
    """
    try:
        name = last_layer(network)
    except MedclsError:
        return None
    layer = network.get_submodule(name)
    if not isinstance(layer, nn.Linear | nn.Conv2d) or layer.weight.shape[0] != num_outputs:
        return None
    nn.init.normal_(layer.weight, std=LAST_LAYER_DEVIATION)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return name


def replace_head(
    network: nn.Module, num_outputs: int, pooling: str = "avg", dropout: float = 0.0, hidden: int | None = None
) -> str:
    """Put a new head on a network, in place: pooling, a hidden layer with ReLU if asked, dropout, linear.

    Parameters
    ----------
    network
        MobileNetV3, or one of torchvision's or timm's.
    num_outputs
        Number of logits: 1 for binary cross-entropy, else the number of classes.
    pooling
        `avg` or `max`, over the whole map.
    dropout
        Share of features dropped before the last layer. It replaces the network's own dropout there.
    hidden
        Units of the hidden layer; None for none.

    Returns
    -------
    str
        The dotted name of what was replaced, which `medcls.models.weights.load_weights` wants to know.

    Raises
    ------
    MedclsError
        A value outside its range, or a network whose pooling cannot be changed from outside.
    """
    if pooling not in ("avg", "max"):
        raise MedclsError(f"model.head.pooling is {pooling!r}: choose avg or max.", kind="bad_value")
    if not 0 <= dropout < 1 or (hidden is not None and hidden < 1):
        raise MedclsError(
            f"model.head has dropout {dropout} and hidden {hidden}: give a dropout of at least 0 and below 1, and "
            "null or at least 1 hidden unit.",
            kind="bad_value",
        )
    if hasattr(network, "pretrained_cfg"):
        name = _timm_classifier(network)
        features = _timm_pool(network, num_outputs, pooling)
    else:
        name = head_name(network)
        features = _pool(network, pooling)
    layers: list[nn.Module] = [nn.Flatten(1)]
    if hidden is not None:
        layers += [nn.Linear(features, hidden), nn.ReLU()]
    layers += [nn.Dropout(dropout), nn.Linear(hidden or features, num_outputs)]
    network.set_submodule(name, nn.Sequential(*layers))
    return name


def _known(name: str | None, names: Iterable[str], library: str, example: str) -> None:
    """Stop at a missing or mistyped name."""
    if name is None:
        raise MedclsError(
            f"model={library} needs a network's name: add model.name=..., for example {example}.",
            kind="missing_setting",
        )
    names = list(names)
    if name not in names:
        raise MedclsError(f"{library} has no network named {name!r}.{nearest(name, names)}", kind="unknown_network")


def _timm(name: str | None) -> ModuleType:
    """Import timm, which is slow, and so waits until a timm network is asked for; check `name`."""
    import timm

    if name is None or not timm.is_model(name):
        _known(name and name.split(".")[0], timm.list_models(), "timm", "resnet50")
    if name is not None and "." in name and name not in timm.list_pretrained(f"{name.split('.')[0]}.*"):
        raise MedclsError(
            f"timm has no weights tagged {name!r}.{nearest(name, timm.list_pretrained())} Without a tag, "
            f"model.name={name.split('.')[0]}, the network is the same.",
            kind="unknown_weights",
        )
    return timm


def _finished(network: nn.Module, published_as: tuple[str, str], in_chans: int, bn_momentum: float | None) -> nn.Module:
    """Give a network from a library its first convolution, its batch-norm momentum, and its origin."""
    # Only a plain convolution is exchanged: one that pads or standardises in its own way keeps that.
    name, old = next(((name, conv) for name, conv in network.named_modules() if type(conv) is nn.Conv2d), ("", None))
    if old is not None and old.in_channels in (3, in_chans) and (in_chans == 1 or old.in_channels != in_chans):
        bias = old.bias is not None
        geometry: dict[str, Any] = {
            name: getattr(old, name) for name in ("out_channels", "kernel_size", "stride", "padding")
        }
        new = GreyConv2d(**geometry, bias=bias) if in_chans == 1 else nn.Conv2d(in_chans, **geometry, bias=bias)
        with torch.no_grad():
            # The spread of the network's own initialisation, which was drawn for another number of channels.
            new.weight.normal_(std=old.weight.std().item())
            if old.bias is not None and new.bias is not None:
                new.bias.copy_(old.bias)
        network.set_submodule(name, new)
    if bn_momentum is not None:
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.momentum = bn_momentum
    network.published_as = published_as  # type: ignore[assignment]
    return network


def _timm_classifier(network: nn.Module) -> str:
    name = network.pretrained_cfg.get("classifier")  # type: ignore[union-attr, operator]
    if not isinstance(name, str):
        raise MedclsError(
            f"{type(network).__name__} has {'no head' if not name else 'two heads, ' + ' and '.join(name)}: "
            "medcls trains networks with one. Choose another model.name.",
            kind="unsupported_head",
        )
    return name


def _timm_pool(network: nn.Module, num_outputs: int, pooling: str) -> int:
    """Set how a timm network pools; returns the number of features that come out."""
    timm_model = cast(Any, network)
    classifier = timm_model.get_classifier()
    if not isinstance(classifier, nn.Linear):
        raise _pooling_fixed(network)
    features = classifier.in_features
    try:
        timm_model.reset_classifier(num_outputs, global_pool=pooling)
    except (TypeError, AssertionError, ValueError, KeyError) as error:
        raise _pooling_fixed(network) from error
    return features


def _pool(network: nn.Module, pooling: str) -> int:
    """Set how MobileNetV3 or a torchvision network pools; returns the number of features that come out."""
    layer = nn.AdaptiveAvgPool2d(1) if pooling == "avg" else nn.AdaptiveMaxPool2d(1)
    place = "pool" if hasattr(network, "pool") else "avgpool"
    old = getattr(network, place, None)
    features = next((m.in_features for m in network.get_submodule(head_name(network)).modules()
                     if isinstance(m, nn.Linear)), None)  # fmt: skip
    stage = _POOLED_IN_FORWARD.get(type(network).__name__)
    if features is not None and isinstance(old, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d):
        height, width = old.output_size if isinstance(old.output_size, tuple) else (old.output_size,) * 2
        features //= (height or 1) * (width or 1)
        setattr(network, place, layer)
    elif features is not None and stage is not None:
        if pooling == "max":
            network.get_submodule(stage).add_module("pool", layer)
    else:
        raise _pooling_fixed(network)
    if isinstance(getattr(network, "dropout", None), nn.Dropout):
        network.dropout = nn.Identity()
    return features


def _pooling_fixed(network: nn.Module) -> MedclsError:
    return MedclsError(
        f"model.head cannot be set on {type(network).__name__}: how it pools is part of the network. Leave "
        "model.head=null, which keeps its published head, or choose another model.name.",
        kind="unsupported_head",
    )
