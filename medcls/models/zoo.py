"""Networks of torchvision and timm by name; the head and the preprocessing of any network."""

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

# With their published weights, torchvision renormalises the input of these inside the network (`transform_input`). Here
# that is off, and the preprocessing has the scaling of those weights.
_RENORMALISED_INSIDE = ("inception_v3", "googlenet")

LAST_LAYER_DEVIATION = 0.01

# Networks that torchvision pools in `forward`, and the stage after which a pooling layer can be added: on a 1 x 1 map
# the operations that follow (an average; in DenseNet a ReLU before it) give the same result.
_POOLED_IN_FORWARD = {"MobileNetV2": "features", "DenseNet": "features", "MNASNet": "layers", "ShuffleNetV2": "conv5"}


@dataclasses.dataclass(frozen=True)
class PublishedWeights:
    """A weight file that a library publishes.

    Parameters
    ----------
    sha256
        The first digits of its hash; empty if the publisher states none.
    preprocessing
        The preprocessing that these weights expect.
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
    """Build a torchvision classification network with random weights and its published head, except the last layer.

    `inception_v3` and `googlenet` are built without auxiliary classifiers, which fix the input size and return more
    than one tensor in training. Every network maps (B, in_chans, H, W) to logits (B, num_classes).

    Parameters
    ----------
    name
        A name in `torchvision.models.list_models`.
    num_classes
        Number of logits.
    in_chans
        Channels of the input. With 1, colour weights can be folded in exactly
        (`medcls.models.mobilenetv3.GreyConv2d`).
    bn_momentum
        Momentum of every batch norm; None keeps the network's. See `medcls.models.mobilenetv3.mobilenetv3_large`.

    Raises
    ------
    MedclsError
        The name is missing or unknown.
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
    """Build a timm network with random weights and its published head, except the last layer.

    Parameters and errors are those of `torchvision_network`; `name` is one in `timm.list_models`, with or without the
    tag of its weights (`resnet50.a1_in1k`).

    Parameters
    ----------
    img_size
        Height and width of the input, for a network that is built for one size; None for that of its published weights.
        See `size_to_build_for`.
    """
    timm = _timm(name)
    sized: dict[str, Any] = {} if img_size is None else {"img_size": tuple(img_size)}
    network = timm.create_model(name, pretrained=False, num_classes=num_classes, in_chans=in_chans, **sized)
    network.built_for_size = sized.get("img_size")
    return _finished(network, ("timm", str(name)), in_chans, bn_momentum)


def size_to_build_for(name: str | None, size: Sequence[int]) -> list[int] | None:
    """The size that a timm network must be built for; None if it takes any size, or this one by default.

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
    """The preprocessing that torchvision's published weights for `name` expect: size, scaling, interpolation.

    Parameters
    ----------
    name
        As in `torchvision_network`.
    in_chans
        3, or 1 for grey images: then `mean` and `std` are averaged over the three channels.
    resize
        The published weights use a centre crop (`crop`), which may remove a lesion, so it is not the default.
    standardise
        Scale each image to mean 0 and deviation 1, instead of with the published mean and deviation.
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
    """The preprocessing that timm's published weights for `name` expect; see `torchvision_preprocessing`."""
    cfg = _timm(name).get_pretrained_cfg(name)
    interpolation = cfg.interpolation if cfg.interpolation in ("bilinear", "bicubic", "lanczos") else "bicubic"
    size = tuple(cfg.input_size[1:])
    colour = Preprocessing(size, cfg.mean, cfg.std, resize=resize, interpolation=interpolation, standardise=standardise)
    return colour.grey() if in_chans == 1 else colour


def published(library: str, name: str) -> PublishedWeights:
    """The weights that `model.weights=default` refers to.

    Parameters
    ----------
    library
        `torchvision` or `timm`.
    name
        The network's name in that library. A timm name without a tag refers to timm's default tag.

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
    """The dotted prefix of a network's head; everything else is its backbone.

    For timm's networks, the one that timm records; for others the last child with parameters, as in torchvision's
    networks and MobileNetV3.

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
            f"{type(network).__name__} has no child with parameters, so its head cannot be found.",
            kind="unsupported_head",
        )
    return names[-1]


def last_layer(network: nn.Module) -> str:
    """The dotted name of the layer that computes the logits: the last linear layer or convolution of the head."""
    head = head_name(network)
    names = [
        f"{head}.{name}".rstrip(".")
        for name, module in network.get_submodule(head).named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    ]
    if not names:
        raise MedclsError(
            f"The head {head!r} of {type(network).__name__} has no linear layer that computes the logits.",
            kind="unsupported_head",
        )
    return names[-1]


def start_small(network: nn.Module, num_outputs: int) -> str | None:
    """Initialise the last layer, in place: weights normal with deviation 0.01, biases 0.

    The libraries' initialisation suits a thousand classes, and is far too large for two: timm draws a two-class layer
    of its EfficientNets from -0.7 to 0.7, so that the first losses are several times that of a constant guess.

    Parameters
    ----------
    network
        From its builder, after `replace_head` if the head is replaced, and before weights are loaded.
    num_outputs
        Number of logits, by which the last layer is checked.

    Returns
    -------
    str or None
        The layer's dotted name; None if it was not found, and nothing was changed.
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
    """Replace the head of a network, in place: pooling, optionally a hidden layer with ReLU, dropout, linear.

    Parameters
    ----------
    network
        MobileNetV3, or one of torchvision's or timm's.
    num_outputs
        Number of logits: 1 for binary cross-entropy, else the number of classes.
    pooling
        `avg` or `max`, over the whole map.
    dropout
        Share of features dropped before the last layer, instead of the network's own dropout.
    hidden
        Units of the hidden layer; None for no hidden layer.

    Returns
    -------
    str
        The dotted name of the new head, for `medcls.models.weights.load_weights`.

    Raises
    ------
    MedclsError
        A value is outside its range, or the pooling of the network cannot be changed.
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
    """Check that a name is given and known."""
    if name is None:
        raise MedclsError(
            f"model={library} needs a network's name: add model.name=..., for example {example}.",
            kind="missing_setting",
        )
    names = list(names)
    if name not in names:
        raise MedclsError(f"{library} has no network named {name!r}.{nearest(name, names)}", kind="unknown_network")


def _timm(name: str | None) -> ModuleType:
    """Import timm, only when it is needed because that is slow; check `name`."""
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
    """Set the first convolution, the batch-norm momentum and the origin of a network from a library."""
    # Only a plain convolution is replaced, not a subclass with its own padding or standardisation.
    name, old = next(((name, conv) for name, conv in network.named_modules() if type(conv) is nn.Conv2d), ("", None))
    if old is not None and old.in_channels in (3, in_chans) and (in_chans == 1 or old.in_channels != in_chans):
        bias = old.bias is not None
        geometry: dict[str, Any] = {
            name: getattr(old, name) for name in ("out_channels", "kernel_size", "stride", "padding")
        }
        new = GreyConv2d(**geometry, bias=bias) if in_chans == 1 else nn.Conv2d(in_chans, **geometry, bias=bias)
        with torch.no_grad():
            # The deviation of the network's own initialisation, for another number of channels.
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
            "medcls trains networks with one head. Choose another model.name.",
            kind="unsupported_head",
        )
    return name


def _timm_pool(network: nn.Module, num_outputs: int, pooling: str) -> int:
    """Set the pooling of a timm network; return the number of pooled features."""
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
    """Set the pooling of MobileNetV3 or a torchvision network; return the number of pooled features."""
    layer = nn.AdaptiveAvgPool2d(1) if pooling == "avg" else nn.AdaptiveMaxPool2d(1)
    attribute = "pool" if hasattr(network, "pool") else "avgpool"
    old = getattr(network, attribute, None)
    features = next((m.in_features for m in network.get_submodule(head_name(network)).modules()
                     if isinstance(m, nn.Linear)), None)  # fmt: skip
    stage = _POOLED_IN_FORWARD.get(type(network).__name__)
    if features is not None and isinstance(old, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d):
        height, width = old.output_size if isinstance(old.output_size, tuple) else (old.output_size,) * 2
        features //= (height or 1) * (width or 1)
        setattr(network, attribute, layer)
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
        f"model.head cannot be set on {type(network).__name__}: its pooling cannot be changed. Leave model.head=null, "
        "which keeps its published head, or choose another model.name.",
        kind="unsupported_head",
    )
