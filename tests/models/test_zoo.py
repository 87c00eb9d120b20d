"""Networks by name: their heads, their preprocessing, and errors."""

import subprocess
import sys

import pytest
import torch
import torchvision
from refusals import refused
from torch import nn

from medcls.models.mobilenetv3 import GreyConv2d, mobilenetv3_large
from medcls.models.zoo import (
    head_name,
    last_layer,
    published,
    replace_head,
    timm_network,
    timm_preprocessing,
    torchvision_network,
    torchvision_preprocessing,
)


@pytest.mark.parametrize("in_chans", [1, 3])
@pytest.mark.parametrize(
    ("build", "name", "head", "last"),
    [
        (torchvision_network, "mobilenet_v2", "classifier", "classifier.1"),
        (torchvision_network, "efficientnet_b0", "classifier", "classifier.1"),
        (torchvision_network, "resnet18", "fc", "fc"),
        (torchvision_network, "densenet121", "classifier", "classifier"),
        (torchvision_network, "squeezenet1_1", "classifier", "classifier.1"),
        (timm_network, "resnet10t", "fc", "fc"),
        (timm_network, "convnext_atto", "head", "head.fc"),
    ],
)
def test_networks_by_name(build, name, head, last, in_chans):
    network = build(name, 3, in_chans)
    assert (head_name(network), last_layer(network)) == (head, last)
    with torch.no_grad():
        assert network.eval()(torch.randn(2, in_chans, 64, 64)).shape == (2, 3)


def test_inception_v3_returns_one_tensor_at_small_sizes_while_training():
    network = torchvision_network("inception_v3", 2)
    assert network.train()(torch.randn(2, 3, 96, 96)).shape == (2, 2)
    assert not any("Aux" in name for name in network.state_dict())


def test_inception_resnet_v2():
    network = timm_network("inception_resnet_v2", 2).eval()
    with torch.no_grad():
        assert network(torch.randn(1, 3, 96, 96)).shape == (1, 2)
    assert (head_name(network), last_layer(network)) == ("classif", "classif")


@pytest.mark.parametrize(("build", "name"), [(torchvision_network, "mobilenet_v3_small"), (timm_network, "resnet10t")])
def test_batch_norm_momentum_reaches_every_layer(build, name):
    def momenta(network: nn.Module) -> set[float]:
        return {m.momentum for m in network.modules() if isinstance(m, nn.BatchNorm2d)}

    assert momenta(build(name, 2)) == {0.1}
    assert momenta(build(name, 2, bn_momentum=0.03)) == {0.03}
    assert momenta(torchvision_network("mobilenet_v3_small", 2, bn_momentum=None)) == {0.01}


@pytest.mark.parametrize(
    ("build", "name", "kind", "names"),
    [
        (torchvision_network, "resnet_50", "unknown_network", ("torchvision", "'resnet_50'", " resnet50,")),
        (torchvision_network, "fcn_resnet50", "unknown_network", ("torchvision", "'fcn_resnet50'")),
        (torchvision_network, None, "missing_setting", ("model=torchvision", "model.name=")),
        (torchvision_preprocessing, None, "missing_setting", ("model=torchvision", "model.name=")),
        (timm_network, "resnet_50", "unknown_network", ("timm", "'resnet_50'", " resnet50,")),
        (timm_network, "resnet50.nobody", "unknown_weights", ("timm", "'resnet50.nobody'", "model.name=resnet50,")),
        (timm_network, None, "missing_setting", ("model=timm", "model.name=")),
        (timm_preprocessing, "inception_resnet_v3", "unknown_network", ("timm", " inception_resnet_v2,")),
    ],
)
def test_unknown_names_offer_the_nearest(build, name, kind, names):
    with refused(kind, *names):
        build(name, 2) if build in (torchvision_network, timm_network) else build(name)


# Preprocessing


@pytest.mark.parametrize(
    ("name", "size", "mean"),
    [("mobilenet_v2", 224, (0.485, 0.456, 0.406)), ("efficientnet_b0", 224, (0.485, 0.456, 0.406))],
)
def test_p24_preprocessing_comes_with_torchvisions_weights(name, size, mean):
    preprocessing = torchvision_preprocessing(name)
    assert (preprocessing.size, preprocessing.mean) == ((size, size), mean)
    assert published("torchvision", name).preprocessing == preprocessing


@pytest.mark.slow
@pytest.mark.parametrize("name", ["inception_v3", "googlenet"])
def test_p24_networks_that_torchvision_renormalises_inside_get_the_scaling_of_their_weights(name, settled):
    """T2's mistake: torchvision sets `transform_input` only when its own weights are asked for."""
    ours = settled(torchvision_network(name, 2)).double()
    theirs = torchvision.models.get_model(name, num_classes=2, aux_logits=False, init_weights=False).eval().double()
    theirs.load_state_dict(ours.state_dict())
    theirs.transform_input = True  # as torchvision does with its weights
    pixels = torch.rand(2, 3, 96, 96, dtype=torch.float64)
    published_mean, published_std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], dtype=torch.float64)
    given = torchvision_preprocessing(name)
    mean, std = torch.tensor([given.mean, given.std], dtype=torch.float64)
    with torch.no_grad():
        expected = theirs((pixels - published_mean.view(3, 1, 1)) / published_std.view(3, 1, 1))
        torch.testing.assert_close(
            ours((pixels - mean.view(3, 1, 1)) / std.view(3, 1, 1)), expected, atol=1e-6, rtol=1e-6
        )
        assert (ours(pixels) - expected).abs().max() > 1e-2


def test_p24_preprocessing_comes_with_timms_weights():
    preprocessing = timm_preprocessing("inception_resnet_v2")
    assert preprocessing.size == (299, 299)
    assert preprocessing.mean == preprocessing.std == (0.5, 0.5, 0.5)


def test_grey_preprocessing_has_one_value():
    preprocessing = torchvision_preprocessing("mobilenet_v2", in_chans=1, resize="letterbox")
    assert (preprocessing.mean, preprocessing.std) == ((0.449,), (0.226,))
    assert preprocessing.resize == "letterbox"


def test_published_names_a_file_and_its_hash():
    weights = published("torchvision", "mobilenet_v3_large")
    assert weights.url.endswith(f"-{weights.sha256}.pth")
    assert weights.num_classes == 1000
    assert "inception_resnet_v2" in published("timm", "inception_resnet_v2").url


def test_every_published_torchvision_file_can_be_checked():
    names = torchvision.models.list_models(module=torchvision.models)
    assert len(names) > 70
    assert [name for name in names if len(published("torchvision", name).sha256) < 8] == []


# Heads

BUILDERS = {
    "ours": lambda: mobilenetv3_large(3, width=0.35),
    "avgpool": lambda: torchvision_network("resnet18", 3),
    "pooled in forward": lambda: torchvision_network("mobilenet_v2", 3),
    "densenet": lambda: torchvision_network("densenet121", 3),
    "inception": lambda: torchvision_network("inception_v3", 3),
    "vgg": lambda: torchvision_network("vgg11", 3),
    "timm": lambda: timm_network("resnet10t", 3),
    "timm head.fc": lambda: timm_network("convnext_atto", 3),
}


@pytest.mark.parametrize("kind", [kind for kind in BUILDERS if kind != "vgg"])
def test_a_new_head_pools_as_asked(kind):
    """The head's input is the average, or the maximum, over the map that the network pools."""
    torch.manual_seed(0)
    outputs = {}
    for pooling in ("avg", "max"):
        torch.manual_seed(0)
        network = BUILDERS[kind]()
        torch.manual_seed(1)
        name = replace_head(network, 1, pooling, dropout=0.4, hidden=8)
        assert last_layer(network).startswith(f"{name}.")
        new = network.get_submodule(name)
        assert [type(layer) for layer in new] == [nn.Flatten, nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]
        assert new[3].p == 0.4
        seen = []
        new.register_forward_hook(lambda module, given, output, seen=seen: seen.append(given[0]))
        with torch.no_grad():
            logits = network.eval()(torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(2)))
        assert logits.shape == (2, 1)
        outputs[pooling] = seen[0].flatten(1)
    assert outputs["avg"].shape == outputs["max"].shape
    if kind != "timm head.fc":  # there a layer norm lies between pooling and head
        assert (outputs["max"] >= outputs["avg"] * 0.9999 - 1e-6).all()
    assert (outputs["max"] - outputs["avg"]).abs().max() > 0.01 * outputs["max"].abs().max()


@pytest.mark.parametrize("name", ["inception_v3", "googlenet"])
def test_a_new_heads_dropout_is_the_only_one(name):
    network = torchvision_network(name, 2)
    replace_head(network, 2, dropout=0.1)
    assert [m.p for m in network.modules() if isinstance(m, nn.Dropout)] == [0.1]


def test_a_new_head_without_hidden_layer():
    network = mobilenetv3_large(3, width=0.35)
    assert replace_head(network, 4) == "classifier"
    assert [type(layer) for layer in network.classifier] == [nn.Flatten, nn.Dropout, nn.Linear]
    assert network.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 4)


@pytest.mark.parametrize("name", ["vit_b_16", "squeezenet1_1", "maxvit_t"])
def test_pooling_that_cannot_be_changed_is_named(name):
    with refused("unsupported_head", "model.head=null"):
        replace_head(torchvision_network(name, 2), 2, "max")


@pytest.mark.parametrize(("field", "value"), [("pooling", "mean"), ("dropout", 1.0), ("hidden", 0)])
def test_a_senseless_head_is_refused(field, value):
    with refused("bad_value", "model.head", field):
        replace_head(mobilenetv3_large(2, width=0.35), 2, **{field: value})


# Grey input


@pytest.mark.parametrize(("build", "name"), [(torchvision_network, "resnet18"), (timm_network, "resnet10t")])
def test_the_first_convolution_of_a_grey_network_can_be_folded(build, name):
    network = build(name, 2, in_chans=1)
    first = next(m for m in network.modules() if isinstance(m, nn.Conv2d))
    assert isinstance(first, GreyConv2d)
    # The spread is the colour network's own.
    colour = next(m for m in build(name, 2).modules() if isinstance(m, nn.Conv2d))
    assert 0.5 < first.weight.std() / colour.weight.std() < 2


@pytest.mark.slow
def test_imports_stay_light():
    program = (
        "import sys, medcls.models; assert 'torch' not in sys.modules, 'torch';"
        "import medcls.models.zoo, medcls.models.weights; assert 'timm' not in sys.modules, 'timm';"
        "medcls.models.zoo.torchvision_network('mobilenet_v2', 2); assert 'timm' not in sys.modules, 'timm'"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
