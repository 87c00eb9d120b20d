"""Load weights with an account of every tensor: where it came from, or why it was not loaded."""

import dataclasses
import hashlib
import http.client
import logging
import os
import pickle
import re
import urllib.request
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medcls.archives import find_damage
from medcls.errors import MedclsError
from medcls.models.mobilenetv3 import GreyConv2d, MobileNetV3
from medcls.models.packaged import PACKAGED, from_efficientnet_pytorch
from medcls.models.unwrapping import AVERAGED, no_weights, state_dict_in, without_prefixes
from medcls.models.zoo import PublishedWeights, last_layer, published
from medcls.preprocessing import Preprocessing

log = logging.getLogger(__name__)

# Auxiliary classifiers of torchvision's GoogLeNet and Inception v3, which medcls builds without them.
_AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")

# Names that torchvision renames when it loads its oldest files (DenseNet; vision transformers).
_OLD_NAMES = (
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)"), r"\1\2"),
    (re.compile(r"\.mlp\.linear_1\."), ".mlp.0."),
    (re.compile(r"\.mlp\.linear_2\."), ".mlp.3."),
)

_TIMEOUT_SECONDS = 30


@dataclasses.dataclass(frozen=True)
class Account:
    """Where each tensor of a network came from. All other tensors raise an error.

    Parameters
    ----------
    source
        None, `default`, or a path.
    file
        The file that was read; None if there was none.
    sha256
        The hash of that file.
    names
        All tensors of the network: parameters and buffers.
    loaded
        Tensors from the source.
    reinitialised
        Tensors left random on purpose, by reason: `last layer`, `head`.
    left_out
        Tensors of the source that are not used, by reason: `last layer`, `head`, `auxiliary head`.
    notes
        Further notes, as sentences.
    origin
        The package, or the repository of timm's hub, of published weights; None for other sources.
    licence
        The licence of published weights, if their publisher states one.
    frozen_at_random
        Tensors that were not loaded and are frozen because `freeze_random_weights` allows it.
    learned_from
        Plain data about each run whose weights these are, and the images that it was trained on.
    """

    source: str | None
    file: str | None
    sha256: str | None
    names: tuple[str, ...]
    loaded: tuple[str, ...]
    reinitialised: Mapping[str, tuple[str, ...]]
    left_out: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...] = ()
    origin: str | None = None
    licence: str | None = None
    frozen_at_random: tuple[str, ...] = ()
    learned_from: tuple[Mapping[str, Any], ...] = ()

    def __str__(self) -> str:
        """For example `310/312 tensors loaded, last layer re-initialised (2)`."""
        if self.source is None:
            return (
                f"no weights loaded: all {len(self.names)} tensors start at random "
                "(to load some: model.weights=default, =/path/to/file or =/path/to/run)"
            )
        parts = [f"{len(self.loaded)}/{len(self.names)} tensors loaded"]
        parts += [f"{reason} re-initialised ({len(names)})" for reason, names in self.reinitialised.items()]
        parts += [
            f"{reason} left out on purpose ({len(names)})"
            for reason, names in self.left_out.items()
            if reason not in self.reinitialised
        ]
        published = " ".join(filter(None, (self.origin, self.licence and f"({self.licence})")))
        return ", ".join(parts) + (f"; from {published}" if published else "")

    def to_plain(self) -> dict[str, Any]:
        """The content of weights.json: counts, names, the source and the hash of its file."""
        return {
            "summary": str(self),
            "source": self.source,
            "file": self.file,
            "origin": self.origin,
            "licence": self.licence,
            "sha256": self.sha256,
            "tensors": len(self.names),
            "loaded": len(self.loaded),
            "random": [name for name in self.names if name not in set(self.loaded)],
            "reinitialised": {reason: list(names) for reason, names in self.reinitialised.items()},
            "left_out": {reason: list(names) for reason, names in self.left_out.items()},
            "left_over": [],
            "frozen_at_random": list(self.frozen_at_random),
            "notes": list(self.notes),
            "learned_from": [dict(run) for run in self.learned_from],
        }


def load_weights(
    network: nn.Module,
    source: str | os.PathLike[str] | None,
    *,
    head: str | None = None,
    classes: Sequence[str] | None = None,
    preprocessing: Preprocessing | None = None,
) -> Account:
    """Load weights into a network, in place, and account for every tensor of network and source.

    Parameters
    ----------
    network
        From a builder of `medcls.models`, after `medcls.models.zoo.replace_head` if the head is replaced.
    source
        None: random weights. `default`: the weights in a package (`medcls.models.packaged.PACKAGED`), else those that
        torchvision or timm publish. Else the path of a state dict (`.pth`, `.pt`, `.safetensors`), of a checkpoint, or
        of a run folder, whose `checkpoints/best.ckpt` is read.
    head
        The dotted name that `replace_head` returned, where the source may differ. None if the published head is kept:
        then only the last layer may differ, in its number of outputs.
    classes
        Class names of this run, in order. The last layer of a source with other classes is not loaded.
    preprocessing
        The preprocessing of this network. A warning is logged if the source expects another scaling. Needed to fold
        colour weights into one grey channel.

    Raises
    ------
    MedclsError
        The file does not exist, holds more than tensors or the weights of another network; or no weights are published,
        their package is missing, or the download fails.
    """
    own = network.state_dict()
    if source is None:
        return Account(None, None, None, tuple(own), (), {}, {})
    origin: str | None = None
    licence: str | None = None
    description: Mapping[str, Any] = {}
    if str(source) == "default":
        path, state, origin, licence = _default(network)
    else:
        path = find_weights(source)
        state, description = read_state(path)
    notes: list[str] = []
    state, prefixes = without_prefixes(state, own)
    if prefixes:
        notes.append(f"the prefix {''.join(prefixes)} was removed from the names")
    state, left_out = _renamed(network, state, own)
    expected = _expected(network, description)
    _warn_of_other_scaling(expected, preprocessing, notes)
    state = _fold_into_grey(network, state, expected, preprocessing, notes)

    # Files from before torch 0.4.1 have no batch counters; they have no effect here.
    counters = {
        name
        for name in own.keys() - state.keys()
        if name.endswith(".num_batches_tracked") and name.replace("num_batches_tracked", "running_mean") in state
    }
    if counters:
        state |= {name: own[name] for name in counters}
        notes.append(f"{len(counters)} batch counters are missing in the file and stay at 0")

    reinitialised: dict[str, tuple[str, ...]] = {}
    last = last_layer(network)
    same_classes = classes is None or "classes" not in description or list(classes) == list(description["classes"])
    for reason, prefix, may_differ in (("head", head, _differs), ("last layer", last, _differs_in_outputs)):
        if prefix is None:
            continue
        ours, theirs = _under(prefix, own), _under(prefix, state)
        other_classes = reason == "last layer" and not same_classes
        if theirs and (other_classes or may_differ(ours, theirs)):
            reinitialised[reason], left_out[reason] = tuple(ours), tuple(theirs)
            state = {name: tensor for name, tensor in state.items() if name not in theirs}
            if other_classes:
                notes.append(
                    f"the source's classes are {', '.join(description['classes'])}: its last layer is not used"
                )
    expected_names = [name for name in own if not any(name in names for names in reinitialised.values())]
    _refuse_misfit(network, expected_names, own, state, path)
    # Updating `own` keeps the network's metadata (`_metadata`, versions of its layers).
    own.update(state)
    network.load_state_dict(own)
    account = Account(
        str(source),
        str(path),
        _sha256(path),
        tuple(own),
        tuple(expected_names),
        reinitialised,
        left_out,
        tuple(notes),
        origin,
        licence,
    )
    for note in notes:
        log.warning("Weights of %s: %s.", path.name, note)
    return account


def joined(accounts: Sequence[Account], network: nn.Module) -> Account:
    """Join the accounts of the parts of a `medcls.models.joined.JoinedNetworks`.

    Parameters
    ----------
    accounts
        In the order of the parts.
    network
        The joined network, whose last layer is random on purpose.
    """
    own = tuple(network.state_dict())
    loaded = [f"parts.{number}.{name}" for number, part in enumerate(accounts) for name in part.loaded]
    present = set(own)

    def text_of(values: Iterable[str | None]) -> str | None:
        return None if all(value is None for value in values) else ", ".join(str(value) for value in values)

    return Account(
        source=text_of([part.source for part in accounts]),
        file=text_of([part.file for part in accounts]),
        sha256=text_of([part.sha256 for part in accounts]),
        names=own,
        loaded=tuple(name for name in loaded if name in present),
        reinitialised={"last layer": tuple(name for name in own if not name.startswith("parts."))},
        left_out={
            f"{reason} of part {number}": names
            for number, part in enumerate(accounts)
            for reason, names in part.left_out.items()
        },
        notes=tuple(note for part in accounts for note in part.notes),
        origin=text_of([part.origin for part in accounts]),
        licence=text_of([part.licence for part in accounts]),
        learned_from=tuple(run for part in accounts for run in part.learned_from),
    )


def check_frozen(account: Account, frozen: Iterable[str], *, allow_random: bool = False) -> Account:
    """Refuse to freeze tensors that were not loaded and would stay random.

    Parameters
    ----------
    account
        The account of the loaded weights.
    frozen
        Dotted names of frozen tensors.
    allow_random
        Allow it, and record the tensors in the account.

    Returns
    -------
    Account
        With `frozen_at_random` set.

    Raises
    ------
    MedclsError
        Names some of the tensors, and the settings to change.
    """
    loaded = set(account.loaded)
    unloaded = [name for name in frozen if name not in loaded]
    if unloaded and not allow_random:
        raise MedclsError(
            f"{len(unloaded)} frozen tensors were not loaded and would stay random: {_some(unloaded)}. "
            f"Weights: {account}. Give weights that have them (model.weights=default, =/path/to/file or "
            "=/path/to/run), or do not freeze them (schedule=none). To repeat a published protocol without its "
            "weights, freeze_random_weights=true; the report then says so.",
            kind="frozen_at_random",
        )
    if unloaded:
        log.warning(
            "freeze_random_weights: %d of %d tensors are frozen with random values (%s)",
            len(unloaded), len(account.names), _some(unloaded),
            extra={"rule": "frozen_at_random"},
        )  # fmt: skip
    return dataclasses.replace(account, frozen_at_random=tuple(unloaded))


def from_torchvision(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a state dict of torchvision's MobileNetV3, large or small, of any width, to medcls's names.

    torchvision numbers stem, blocks and last convolution consecutively in `features`, and within a block only the
    layers that exist.
    """
    layers: dict[int, set[int]] = {}  # block -> the layers it has
    excites: set[tuple[int, int]] = set()
    for name in state:
        if match := re.match(r"features\.(\d+)\.block\.(\d+)\.(fc1)?", name):
            layers.setdefault(int(match[1]), set()).add(int(match[2]))
            if match[3]:
                excites.add((int(match[1]), int(match[2])))
    prefixes = {"features.0.": "stem.", f"features.{max(layers, default=0) + 1}.": "last_conv."}
    for block, present in layers.items():
        convolutions = sorted(layer for layer in present if (block, layer) not in excites)
        roles = dict(zip(reversed(convolutions), ("project", "depthwise", "expand"), strict=False))
        roles |= {layer: "squeeze_excite" for layer in present if (block, layer) in excites}
        for layer, role in roles.items():
            prefixes[f"features.{block}.block.{layer}."] = f"blocks.{block - 1}.{role}."
    renamed = {}
    for name, tensor in state.items():
        old = next((prefix for prefix in prefixes if name.startswith(prefix)), "")
        rest = re.sub(r"^1\.", "norm.", re.sub(r"^0\.", "conv.", name[len(old) :])) if old else name
        renamed[prefixes.get(old, "") + rest] = tensor
    return renamed


def download(url: str, sha256: str, target: Path) -> Path:
    """Download a file atomically: log its size and target, then check its hash.

    Unlike `torch.hub.download_url_to_file`, it logs the size, has a timeout, and detects an incomplete file without a
    hash.

    Parameters
    ----------
    url
    sha256
        The first digits of the expected hash; empty if unknown.
    target
        An existing file with the right hash is not downloaded again.

    Raises
    ------
    MedclsError
        There is no network, the connection breaks, the hash is wrong, or the disk is full.
    """
    if target.is_file() and _sha256(target).startswith(sha256):
        return target
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as answer, partial.open("wb") as file:  # noqa: S310
            stated = answer.headers.get("Content-Length")
            size = int(stated) if stated else None
            log.info("Downloading %s (%s) to %s", url, _megabytes(size), target)
            digest, received = hashlib.sha256(), 0
            while chunk := answer.read(1 << 20):
                file.write(chunk)
                digest.update(chunk)
                received += len(chunk)
        if size is not None and received != size:
            raise ConnectionError(f"the connection broke after {received} of {size} bytes")
        if not digest.hexdigest().startswith(sha256):
            raise ConnectionError(f"its SHA-256 begins {digest.hexdigest()[:8]}, not {sha256}")
        os.replace(partial, target)
    except (OSError, http.client.HTTPException) as error:
        raise _download_failed(target.name, url, error) from error
    finally:
        partial.unlink(missing_ok=True)
    return target


def _default(network: nn.Module) -> tuple[Path, dict[str, Tensor], str | None, str | None]:
    """The file and tensors of the weights published for this network, with their origin and licence."""
    published_as: Any = getattr(network, "published_as", None)
    if published_as is None:
        raise MedclsError(
            f"model.weights=default: no weights are published for this {type(network).__name__} (its width or "
            "variant). Give model.weights=/path/to/file or =/path/to/run, or null to start at random.",
            kind="nothing_published",
        )
    library, name = published_as
    if library == "timm" and name in PACKAGED:
        packaged = PACKAGED[name]
        path = packaged.find()
        packaged.check(_sha256(path))
        return path, read_state(path)[0], packaged.origin, packaged.licence
    weights = published(library, name)
    if library == "timm":
        return _timm_default(name, weights, getattr(network, "built_for_size", None))
    path = Path(torch.hub.get_dir(), "checkpoints", weights.url.rsplit("/", 1)[-1])
    state, _ = read_state(download(weights.url, weights.sha256, path))
    return path, state, None, None


def _timm_default(
    name: str, weights: PublishedWeights, size: tuple[int, ...] | None
) -> tuple[Path, dict[str, Tensor], str | None, str | None]:
    """Download through timm's hub into its cache; let timm convert older names and resize position embeddings."""
    import huggingface_hub
    import timm

    cfg: Any = timm.get_pretrained_cfg(name)
    if cfg.hf_hub_id is None:
        path = download(weights.url, "", Path(torch.hub.get_dir(), "checkpoints", weights.url.rsplit("/", 1)[-1]))
    else:
        file = cfg.hf_hub_filename or "model.safetensors"
        try:
            cached: Any = huggingface_hub.try_to_load_from_cache(cfg.hf_hub_id, file)
            if not isinstance(cached, str):
                about = huggingface_hub.get_hf_file_metadata(weights.url, timeout=_TIMEOUT_SECONDS)
                cache = huggingface_hub.constants.HF_HUB_CACHE
                log.info("Downloading %s (%s) to %s", weights.url, _megabytes(about.size), cache)
                cached = huggingface_hub.hf_hub_download(cfg.hf_hub_id, file)
                # The hub's etag of a large file is its SHA-256.
                etag = about.etag or ""
                if re.fullmatch(r"[0-9a-f]{64}", etag) and _sha256(Path(cached)) != etag:
                    Path(cached).resolve().unlink()
                    raise ConnectionError(f"its SHA-256 does not begin {etag[:8]}")
        except Exception as error:
            raise _download_failed(f"{file} of {cfg.hf_hub_id}", weights.url, error) from error
        path = Path(cached)
    sized: dict[str, Any] = {} if size is None else {"img_size": size}
    if size is not None:
        log.info("weights: timm resamples the position embeddings to %d x %d pixels", *size)
    network = timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"file": str(path)}, **sized)
    return path, dict(network.state_dict()), cfg.hf_hub_id, cfg.license


def _download_failed(name: str, url: str, error: Exception) -> MedclsError:
    return MedclsError(
        f"model.weights=default needs {name}, which could not be downloaded from {url}: "
        f"{str(error).strip() or type(error).__name__}. No incomplete file was left; repeat the command to try again. "
        "Without a network, copy the file here by hand, and give model.weights=/path/to/file.",
        kind="download_failed",
    )


def find_weights(source: str | os.PathLike[str]) -> Path:
    """Find the weights file that the path `model.weights` refers to.

    Raises
    ------
    MedclsError
        It does not exist.
    """
    path = Path(source).expanduser()
    best = path / "checkpoints" / "best.ckpt"
    if path.is_dir() and not best.is_file():
        raise MedclsError(
            f"model.weights={path} is a folder without checkpoints/best.ckpt: name a run folder or a file.",
            kind="no_such_file",
        )
    if not path.exists():
        raise MedclsError(
            f"model.weights={path}: there is no such file or folder. Give null, default, a file, or a run folder.",
            kind="no_such_file",
        )
    return best if path.is_dir() else path


def read_state(path: Path) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    """Read the tensors of a file by name, and the description in a checkpoint of medcls (empty for other files).

    Raises
    ------
    MedclsError
        The file is damaged, holds no tensors, or more than tensors and plain data.
    """
    content: Any
    if not path.is_file():
        raise MedclsError(f"There is no file {path}. Restore it, or name another.", kind="no_such_file")
    if (other_kind := no_weights(path)) is not None:
        raise MedclsError(f"{path} is refused as weights: it is {other_kind}.", kind="not_weights")
    # Older files of torch are not archives, and have no checksums.
    if (path.suffix == ".ckpt" or zipfile.is_zipfile(path)) and (damage := find_damage(path)) is not None:
        raise MedclsError(
            f"{path} cannot be read as weights: {damage}. Restore it from a backup, or download it again.",
            kind="damaged_weights",
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise MedclsError(
            f"{path} is refused: it holds more than tensors, and opening it would run code from the file. If you trust "
            "it, save its tensors: torch.save(model.state_dict(), ...).",
            kind="unsafe_file",
        ) from error
    except Exception as error:
        raise MedclsError(
            f"{path} cannot be read as weights ({type(error).__name__}: {error}). Download it again.",
            kind="damaged_weights",
        ) from error
    description = {}
    if isinstance(content, dict) and isinstance(content.get("medcls"), dict):
        description, content = content["medcls"] | {"epoch": content.get("epoch")}, content.get("state_dict")
        prefix = "network."
        if isinstance(content, dict) and any(name.startswith(prefix) for name in content):
            content = {name[len(prefix) :]: t for name, t in content.items() if name.startswith(prefix)}
    else:
        content, keys = state_dict_in(content)
        if keys:
            average = ", a moving average of the weights" if set(keys) & set(AVERAGED) else ""
            log.warning("weights: taken from %s of %s%s", ".".join(keys), path, average)
    if not isinstance(content, dict) or not content or not all(isinstance(t, Tensor) for t in content.values()):
        raise MedclsError(
            f"{path} holds no state dict (tensors by name). Save one: torch.save(model.state_dict(), ...).",
            kind="not_weights",
        )
    return dict(content), description


def _renamed(
    network: nn.Module, state: dict[str, Tensor], own: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, tuple[str, ...]]]:
    """Convert the source to the network's names; remove auxiliary classifiers, and return their names."""
    if isinstance(network, MobileNetV3) and any(name.startswith("features.") for name in state):
        state = from_torchvision(state)
    if any(name.startswith("_blocks.") for name in state) and any(name.startswith("blocks.") for name in own):
        state = from_efficientnet_pytorch(state, own)
    for pattern, replacement in _OLD_NAMES:
        state = {
            new if name not in own and (new := pattern.sub(replacement, name)) in own else name: tensor
            for name, tensor in state.items()
        }
    auxiliary = tuple(name for name in state if name.startswith(_AUXILIARY) and name not in own)
    if not auxiliary or type(network).__name__ not in ("Inception3", "GoogLeNet"):
        return state, {}
    return {name: t for name, t in state.items() if name not in set(auxiliary)}, {"auxiliary head": auxiliary}


def _expected(network: nn.Module, description: Mapping[str, Any]) -> Preprocessing | None:
    """The preprocessing that the source was trained with, from its description, else from its library."""
    if "preprocessing" in description:
        return Preprocessing.from_plain(description["preprocessing"])
    published_as: Any = getattr(network, "published_as", None)
    try:
        return published(*published_as).preprocessing if published_as else None
    except MedclsError:  # timm networks without published weights
        return None


def _scaling(preprocessing: Preprocessing) -> tuple[Tensor, Tensor]:
    """Factor and constant of each channel, from a pixel in [0, 1] to the network's input."""
    low, high = preprocessing.range
    mean, std = torch.tensor(preprocessing.mean).double(), torch.tensor(preprocessing.std).double()
    return (high - low) / std, (low - mean) / std


def _warn_of_other_scaling(expected: Preprocessing | None, given: Preprocessing | None, notes: list[str]) -> None:
    if expected is not None and given is not None and expected.standardise != given.standardise:
        ways = {True: "each image standardised by itself", False: "fixed mean and deviation for all images"}
        notes.append(
            f"they were trained with {ways[expected.standardise]}, but model.preprocessing.standardise="
            f"{str(given.standardise).lower()}: {ways[given.standardise]}"
        )
        return
    if expected is None or given is None or expected.channels != given.channels:
        return
    pairs = zip(_scaling(expected), _scaling(given), strict=True)
    if not all(torch.allclose(theirs, ours, atol=1e-3, rtol=1e-3) for theirs, ours in pairs):
        notes.append(
            f"they were trained on input of mean {list(expected.mean)}, deviation {list(expected.std)}, range "
            f"{list(expected.range)}, but model.preprocessing gives mean {list(given.mean)}, deviation "
            f"{list(given.std)}, range {list(given.range)}"
        )


def _fold_into_grey(
    network: nn.Module,
    state: dict[str, Tensor],
    colour: Preprocessing | None,
    grey: Preprocessing | None,
    notes: list[str],
) -> dict[str, Tensor]:
    """Fold a first convolution over three colour channels into an equivalent one over a grey channel.

    A pixel p becomes a p + b, so the input of channel c is (a[c] / a) x + b[c] - b a[c] / a for the grey input x. A
    plain convolution cannot represent the constant, so it is only folded if the constant is 0: if mean and deviation
    are the same for all colours.
    """
    for name, module in network.named_modules():
        first = isinstance(module, nn.Conv2d) and module.in_channels == 1 and module.groups == 1
        if not first or f"{name}.weight" not in state:
            continue
        weight = state[f"{name}.weight"].double()
        if weight.shape[1] == 1 and isinstance(module, GreyConv2d):
            state.setdefault(f"{name}.offset", torch.zeros_like(module.offset))
        elif weight.shape[1] == 3:
            if colour is None or colour.channels != 3 or grey is None or grey.channels != 1:
                raise MedclsError(
                    "To load colour weights into a network with one grey channel, medcls needs the mean and deviation "
                    "that these weights were trained with, and those of the grey images (one value each in "
                    "model.preprocessing.mean and .std). If they are not known, set model.network.in_chans=3.",
                    kind="missing_setting",
                )
            (colour_factor, colour_constant), (factor, constant) = _scaling(colour), _scaling(grey)
            ratio = (colour_factor / factor).view(1, 3, 1, 1)
            rest = colour_constant.view(1, 3, 1, 1) - constant * ratio
            if colour.standardise or grey.standardise:  # standardised input has no constants to fold
                ratio, rest = torch.ones_like(ratio), torch.zeros_like(rest)
            if isinstance(module, GreyConv2d):
                state[f"{name}.offset"] = (weight * rest).sum(1, keepdim=True).to(module.offset.dtype)
            elif rest.abs().max() > 1e-6:
                continue
            state[f"{name}.weight"] = (weight * ratio).sum(1, keepdim=True).to(module.weight.dtype)
            notes.append(f"{name} is folded from three colour channels to one grey channel")
    return state


def _under(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if name.startswith(f"{prefix}.")}


def _differs(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> bool:
    return ours.keys() != theirs.keys() or any(ours[name].shape != theirs[name].shape for name in ours)


def _differs_in_outputs(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> bool:
    """Whether the two differ only in the number of outputs."""
    return (
        ours.keys() == theirs.keys()
        and _differs(ours, theirs)
        and all(ours[name].shape[1:] == theirs[name].shape[1:] for name in ours)
    )


def _refuse_misfit(
    network: nn.Module, expected: Sequence[str], own: Mapping[str, Tensor], state: Mapping[str, Tensor], path: Path
) -> None:
    """Check that the source has exactly the expected tensors, with the right shapes."""
    missing = [name for name in expected if name not in state]
    unknown = [name for name in state if name not in set(expected)]
    reshaped = [name for name in expected if name in state and state[name].shape != own[name].shape]
    if not missing and not unknown and not reshaped:
        return
    fitting = len(expected) - len(missing) - len(reshaped)
    shapes = [f"{name} is {tuple(state[name].shape)} there and {tuple(own[name].shape)} here" for name in reshaped]
    raise MedclsError(
        f"{path} holds the weights of another network: {fitting} of the {len(expected)} tensors that "
        f"{type(network).__name__} needs are in it with the right name and shape."
        + (f" Missing: {_some(missing)}." if missing else "")
        + (f" Of another shape: {_some(shapes)}." if shapes else "")
        + (f" Left over: {_some(unknown)}." if unknown else "")
        + " Choose the model (and model.head) of these weights, or other model.weights.",
        kind="weights_of_another_network",
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _megabytes(size: int | None) -> str:
    return "size not stated" if size is None else f"{size / 1e6:.1f} MB"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
