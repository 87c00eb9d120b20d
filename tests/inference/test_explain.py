"""Heat maps: the layer that is found, the numbers, and whether they follow what the network learned."""

import functools
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from refusals import refused
from scipy.stats import spearmanr
from torch import nn
from torch.nn import functional

from medcls.data.transforms import normalise
from medcls.inference import explain as explaining
from medcls.inference.explain import explain, last_maps
from medcls.inference.load import ClassLogits
from medcls.models.joined import JoinedNetworks
from medcls.models.mobilenetv3 import mobilenetv3_small
from medcls.models.zoo import start_small, timm_network, torchvision_network
from medcls.preprocessing import Preprocessing

SIZE = 48
PLAIN = Preprocessing(SIZE, (0.5,) * 3, (0.25,) * 3)


def wrapped(network: nn.Module, classes: int = 2, positive: int | None = 1) -> ClassLogits:
    return ClassLogits(network, classes, positive).to(memory_format=torch.channels_last).eval()


def pixels_of(size: int | tuple[int, int] = SIZE, seed: int = 0) -> np.ndarray:
    high, wide = (size, size) if isinstance(size, int) else size
    return np.random.default_rng(seed).integers(0, 256, (high, wide, 3), dtype=np.uint8)


class Spots(nn.Module):
    """A small convolutional network, whose map is a quarter of the image's height and width."""

    def __init__(self, outputs: int = 2) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16),
            nn.ReLU(), nn.Conv2d(16, 16, 3, 1, 1), nn.BatchNorm2d(16), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(16, outputs)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(functional.adaptive_max_pool2d(self.layers(images), 1).flatten(1))


def spots(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Noise with a dark spot, and in every second image a bright one too, which is the label; where the bright are."""
    random = np.random.default_rng(seed)
    images = random.normal(127, 25, (n, SIZE, SIZE, 3))
    labels, places = np.arange(n) % 2, random.integers(8, SIZE - 8, (2, n, 2))
    rows, columns = np.mgrid[:SIZE, :SIZE]
    for heights, centres in ((110 * labels, places[0]), (np.full(n, -110), places[1])):
        for image, height, (row, column) in zip(images, heights, centres, strict=True):
            image += height * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * 3**2))[..., None]
    return images.clip(0, 255).astype(np.uint8), labels, places[0]


@pytest.fixture(scope="module")
def trained() -> ClassLogits:
    torch.manual_seed(0)
    network = Spots()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    images, labels, _ = spots(256, seed=1)
    inputs, targets = normalise(torch.from_numpy(images).permute(0, 3, 1, 2), PLAIN), torch.from_numpy(labels)
    for _ in range(12):
        for part in torch.randperm(len(inputs)).split(32):
            optimizer.zero_grad()
            functional.cross_entropy(network(inputs[part]), targets[part]).backward()
            optimizer.step()
    optimizer.zero_grad()
    return wrapped(network)


NETWORKS = {
    "mobilenetv3": (functools.partial(mobilenetv3_small, 2), 128, ("last_conv",), (4, 4)),
    "torchvision": (functools.partial(torchvision_network, "resnet18", 2), (96, 160), ("layer4",), (3, 5)),
    "in_place": (functools.partial(torchvision_network, "densenet121", 2), 64, ("features",), (2, 2)),
    "channels_last": (functools.partial(timm_network, "test_mambaout", 2), 96, ("stages",), (3, 3)),
    "class_token": (functools.partial(timm_network, "test_vit", 2), 160, ("blocks.5.norm1",), (10, 10)),
    "mean_of_tokens": (functools.partial(timm_network, "test_vit3", 2), 160, ("norm",), (10, 10)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_last_map_that_the_logits_depend_on_is_found(name):
    build, size, layers, fields = NETWORKS[name]
    torch.manual_seed(0)
    network = build()
    start_small(network, 2)
    heat_map = explain(wrapped(network), Preprocessing(size, (0.5,) * 3, (0.25,) * 3), pixels_of(size), 1)
    assert (heat_map.layers, heat_map.fields) == (layers, fields)
    assert heat_map.values.dtype == np.float32 and heat_map.values.shape == pixels_of(size).shape[:2]
    if heat_map.scale > 0:
        assert (heat_map.values.min(), heat_map.values.max()) == (0, 1)


# Networks in whose last map each field still depends most on its own part of the image, also with random weights.
RIGHT_WAY_UP = [
    ("timm", "test_vit", 160),
    ("timm", "test_mambaout", 160),
    ("timm", "test_convnext", 160),
    *(
        pytest.param(library, name, size, marks=pytest.mark.slow)
        for library, name, size in (
            ("torchvision", "resnet18", (160, 256)),
            ("torchvision", "convnext_tiny", 224),
            ("torchvision", "densenet121", 224),
            ("torchvision", "efficientnet_b0", 224),
            ("torchvision", "mobilenet_v2", 224),
            ("torchvision", "inception_v3", 299),
            ("torchvision", "vit_b_32", 224),
            ("torchvision", "swin_t", 224),
            ("timm", "tf_efficientnet_lite0", 224),
            ("timm", "inception_resnet_v2", 299),
            ("timm", "vit_tiny_patch16_224", 224),
            ("timm", "deit_tiny_distilled_patch16_224", 224),
            ("timm", "swin_tiny_patch4_window7_224", 224),
            ("timm", "eva02_tiny_patch14_224", 224),
            ("timm", "cait_xxs24_224", 224),
            ("timm", "xcit_nano_12_p16_224", 224),
            ("timm", "pit_ti_224", 224),
            ("timm", "hiera_tiny_224", 224),
            ("timm", "mobilevit_xxs", 256),
            ("timm", "maxvit_rmlp_pico_rw_256", 256),
            ("timm", "coatnet_nano_rw_224", 224),
            ("timm", "focalnet_tiny_srf", 224),
            ("timm", "davit_tiny", 224),
        )
    ),
]


@pytest.mark.parametrize(("library", "name", "size"), RIGHT_WAY_UP)
def test_a_map_is_the_right_way_up(library, name, size):
    """What changes in the image changes the map at the same place."""
    torch.manual_seed(0)
    network = wrapped({"torchvision": torchvision_network, "timm": timm_network}[library](name, 2))
    start_small(network.network, 2)
    high, wide = (size, size) if isinstance(size, int) else size
    plain = torch.zeros(1, 3, high, wide)
    with_spot = plain.clone()
    spot = with_spot[:, :, high * 5 // 8 : high * 7 // 8, wide // 8 : wide * 3 // 8]
    spot.copy_(2 * torch.randn(spot.shape))
    (layer,) = last_maps(network, with_spot)
    maps = []
    for images in (plain, with_spot):
        outputs: list[torch.Tensor] = []
        handle = network.network.get_submodule(layer).register_forward_hook(
            lambda *seen, kept=outputs: kept.append(seen[2])
        )
        with torch.no_grad():
            network(images)
        handle.remove()
        grid = explaining._grid(outputs[0], images, explaining._prefix_tokens(network.network))
        maps.append(grid.to_map(outputs[0]))
    change = (maps[1] - maps[0]).abs().sum(dim=1)[0]
    row, column = np.unravel_index(int(change.argmax()), change.shape)
    assert abs((row + 0.5) / change.shape[0] - 0.75) < 0.25 and abs((column + 0.5) / change.shape[1] - 0.25) < 0.25


def test_grad_cam_is_the_papers_formula(trained):
    image = spots(2, seed=5)[0][1]
    heat_map = explain(trained, PLAIN, image, 1)
    inputs = normalise(torch.from_numpy(image).permute(2, 0, 1)[None], PLAIN)
    maps = trained.network.layers(inputs).detach().requires_grad_()
    logits = trained.network.head(functional.adaptive_max_pool2d(maps, 1).flatten(1))
    (gradient,) = torch.autograd.grad(logits[0, 1] - logits[0, 0], maps)
    weighted = (gradient.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True)
    expected = functional.interpolate(weighted, (SIZE, SIZE), mode="bilinear")[0, 0].clamp(min=0).detach().numpy()
    assert heat_map.scale == pytest.approx(expected.max(), rel=1e-4)
    np.testing.assert_allclose(heat_map.values, expected / expected.max(), atol=1e-4)


def test_occlusion_is_the_mean_fall_of_the_log_odds(trained):
    image = spots(2, seed=6)[0][1]
    heat_map = explain(trained, PLAIN, image, 1, "occlusion", window=0.25)
    inputs = normalise(torch.from_numpy(image).permute(2, 0, 1)[None], PLAIN)
    falls, counts = np.zeros((SIZE, SIZE)), np.zeros((SIZE, SIZE))

    def log_odds(batch: torch.Tensor) -> float:
        with torch.no_grad():
            logits = trained(batch)[0]
        return float(logits[1] - logits[0])

    for top in range(0, SIZE - 6, 6):
        for left in range(0, SIZE - 6, 6):
            covered, square = inputs.clone(), np.s_[top : top + 12, left : left + 12]
            covered[0, :, *square] = inputs.mean((2, 3))[0][:, None, None]
            falls[square] += log_odds(inputs) - log_odds(covered)
            counts[square] += 1
    expected = (falls / counts).clip(min=0)
    assert heat_map.scale == pytest.approx(expected.max(), rel=1e-3)
    np.testing.assert_allclose(heat_map.values, expected / expected.max(), atol=2e-3)


@pytest.mark.parametrize("method", explaining.METHODS)
def test_the_map_points_at_what_the_label_depends_on_and_random_weights_change_it(trained, method):
    """Adebayo et al. 2018: a map that random weights leave as it is shows the image, not the network."""
    torch.manual_seed(1)
    networks = {"trained": trained, "random": wrapped(Spots())}
    images, labels, places = spots(24, seed=2)
    found, correlations = {"trained": [], "random": []}, []
    for image, place in zip(images[labels == 1], places[labels == 1], strict=True):
        maps = {
            name: explain(network, PLAIN, image, 1, method, window=0.2).values for name, network in networks.items()
        }
        for name, values in maps.items():
            peak = np.unravel_index(values.argmax(), values.shape)
            found[name].append(np.hypot(*(np.array(peak) - place)) <= 6)
        correlations.append(np.nan_to_num(spearmanr(*(values.ravel() for values in maps.values())).statistic))
    assert np.mean(found["trained"]) >= 0.9 and np.mean(found["random"]) <= 0.7
    assert np.abs(np.mean(correlations)) < 0.4


@pytest.mark.parametrize("positive", [0, 1])
@pytest.mark.parametrize("method", explaining.METHODS)
def test_one_logit_has_maps_of_both_classes(trained, positive, method):
    single = Spots(1)
    single.load_state_dict(trained.network.state_dict() | single.head.state_dict(prefix="head."), strict=True)
    with torch.no_grad():
        weight, bias = trained.network.head.weight, trained.network.head.bias
        single.head.weight.copy_(weight[positive : positive + 1] - weight[1 - positive : 2 - positive])
        single.head.bias.copy_(bias[positive] - bias[1 - positive])
    image = spots(2, seed=3)[0][1]
    for class_index in (0, 1):
        one = explain(wrapped(single, positive=positive), PLAIN, image, class_index, method)
        two = explain(trained, PLAIN, image, class_index, method)
        assert one.scale == pytest.approx(two.scale, rel=1e-3, abs=1e-5)
        np.testing.assert_allclose(one.values, two.values, atol=1e-3)


def test_the_network_stays_as_it_was_and_can_be_used_meanwhile(trained):
    image = pixels_of()
    inputs = normalise(torch.from_numpy(image).permute(2, 0, 1)[None], PLAIN)
    before = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    others = []

    def predict() -> None:
        with torch.inference_mode():
            others.extend(trained(inputs) for _ in range(200))

    thread = threading.Thread(target=predict)
    thread.start()
    with torch.inference_mode():
        maps = [explain(trained, PLAIN, image, 1) for _ in range(10)]
        logits = trained(inputs)
    thread.join()
    assert len(others) == 200 and all(torch.equal(one, logits) for one in others)
    assert all(np.array_equal(one.values, maps[0].values) for one in maps)
    assert all(torch.equal(tensor, before[name]) for name, tensor in trained.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in trained.parameters())
    assert not any(module._forward_hooks or module.training for module in trained.modules())


def test_maps_of_several_images_at_once_are_those_of_one_after_another(trained):
    images = [pixels_of(seed=seed) for seed in range(4)]
    alone = [explain(trained, PLAIN, image, 1).values for image in images]
    assert not np.allclose(alone[0], alone[1], atol=0.1)
    with ThreadPoolExecutor(4) as threads:
        together = threads.map(lambda number: explain(trained, PLAIN, images[number % 4], 1).values, range(80))
    for number, values in enumerate(together):
        assert np.array_equal(values, alone[number % 4]), number
    assert not any(module._forward_hooks for module in trained.modules())


def test_sixteen_bits_give_the_map_of_eight(trained):
    image = pixels_of()
    eight, sixteen = (explain(trained, PLAIN, each, 1) for each in (image, image.astype(np.uint16) * 257))
    np.testing.assert_allclose(sixteen.values, eight.values, atol=1e-4)


def test_of_joined_networks_each_contributes_its_map(trained):
    image = pixels_of()
    joined = JoinedNetworks([Spots(), Spots()], 2, [[1.0] * 3] * 2, [[0.0] * 3] * 2)
    with torch.no_grad():
        for part in joined.parts:
            part.layers.load_state_dict(trained.network.layers.state_dict())
        joined.head.weight.copy_(torch.cat([trained.network.head.weight] * 2, dim=1) / 2)
        joined.head.bias.copy_(trained.network.head.bias)
    found = explain(wrapped(joined), PLAIN, image, 1)
    assert found.layers == ("parts.0.layers", "parts.1.layers")
    np.testing.assert_allclose(found.values, explain(trained, PLAIN, image, 1).values, atol=1e-4)


def test_nothing_that_speaks_for_a_class_is_a_map_of_zeros(trained):
    network = Spots()
    nn.init.zeros_(network.head.weight)
    found = explain(wrapped(network), PLAIN, pixels_of(), 1, layer="layers")
    assert found.scale == 0 and not found.values.any()


def test_what_cannot_be_explained_is_refused(trained):
    image = pixels_of()
    with refused("bad_value", "method"):
        explain(trained, PLAIN, image, 1, "saliency")
    with refused("unknown_layer", "layers.8"):
        explain(trained, PLAIN, image, 1, layer="layer.8")
    with refused("no_map", "head"):
        explain(trained, PLAIN, image, 1, layer="head")
    with refused("unknown_class", "2"):
        explain(trained, PLAIN, image, 2)
    with refused("bad_value", "window"):
        explain(trained, PLAIN, image, 1, "occlusion", window=0.7)
    flat = wrapped(nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE**2, 2)))
    with refused("no_map", "occlusion"):
        explain(flat, PLAIN, image, 1)
    assert explain(flat, PLAIN, image, 1, "occlusion").scale > 0


def test_layers_are_looked_for_once_for_each_size(monkeypatch, trained):
    inputs = normalise(torch.from_numpy(pixels_of()).permute(2, 0, 1)[None], PLAIN)
    assert last_maps(trained, inputs) == ("layers",)
    monkeypatch.setattr(explaining, "_last_map", None)
    assert last_maps(trained, inputs) == ("layers",)
