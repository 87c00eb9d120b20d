"""The hand-written network: the paper's counts and torchvision's logits."""

import ast
import inspect

import pytest
import torch
import torchvision
from refusals import refused
from torch import nn

from medcls.models import mobilenetv3
from medcls.models.mobilenetv3 import MobileNetV3, mobilenetv3_large, mobilenetv3_small, round_to_8
from medcls.models.weights import from_torchvision

BUILDERS = {"large": mobilenetv3_large, "small": mobilenetv3_small}


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.fixture
def reference(settled):
    def build(size: str, width: float) -> nn.Module:
        builder = getattr(torchvision.models, f"mobilenet_v3_{size}")
        network = settled(builder(weights=None, num_classes=10, width_mult=width, dropout=0.0))
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.1
        return network

    return build


@pytest.mark.parametrize(
    ("network", "count"),
    [
        (lambda: mobilenetv3_large(1000), 5_483_032),
        (lambda: mobilenetv3_large(2), 4_204_594),
        (lambda: mobilenetv3_small(1000), 2_542_856),
        (lambda: mobilenetv3_large(1000, variant="tutorial"), 5_140_608),
    ],
    ids=["large-1000", "large-2", "small-1000", "tutorial-1000"],
)
def test_p29_parameter_counts_are_the_papers(network, count):
    assert parameters(network()) == count


@pytest.mark.parametrize("size", ["large", "small"])
@pytest.mark.parametrize("width", [0.35, 0.75, 1.0])
def test_p29_logits_equal_torchvisions_in_eval_and_train(size, width, reference, random_images):
    theirs = reference(size, width)
    ours = BUILDERS[size](10, width=width, dropout=0.0)
    ours.load_state_dict(from_torchvision(theirs.state_dict()))
    images = random_images(4, 1)
    with torch.no_grad():
        expected = theirs.eval()(images)
        assert expected.std(0).mean() > 0.01
        torch.testing.assert_close(ours.eval()(images), expected, atol=1e-5, rtol=0)
        trained, expected = ours.train()(images), theirs.train()(images)
        torch.testing.assert_close(trained, expected, atol=1e-5, rtol=0)
        # The pass in train mode moved the running statistics alike.
        torch.testing.assert_close(ours.eval()(images), theirs.eval()(images), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", ["large", "small"])
def test_p29_the_mapping_loses_no_tensor_and_keeps_values(size, reference):
    theirs = reference(size, 1.0).state_dict()
    ours = from_torchvision(theirs)
    assert len(ours) == len(theirs)
    assert ours.keys() == BUILDERS[size](10).state_dict().keys()
    assert {id(tensor) for tensor in ours.values()} == {id(tensor) for tensor in theirs.values()}


def test_p29_another_epsilon_would_be_detected(reference, random_images):
    """The logit test is sharp enough to tell torch's default epsilon from the network's."""
    theirs = reference("small", 1.0)
    ours = mobilenetv3_small(10, dropout=0.0)
    ours.load_state_dict(from_torchvision(theirs.state_dict()))
    for module in ours.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-5
    images = random_images(4, 1)
    with torch.no_grad():
        assert (ours.eval()(images) - theirs.eval()(images)).abs().max() > 1e-4


@pytest.mark.parametrize("build", [mobilenetv3_large, mobilenetv3_small])
@pytest.mark.parametrize(("size", "in_chans"), [((224, 224), 3), ((96, 160), 1), ((33, 47), 4)])
def test_any_size_and_channels(build, size, in_chans):
    network = build(5, in_chans=in_chans, width=0.35).eval()
    with torch.no_grad():
        assert network(torch.zeros(2, in_chans, *size)).shape == (2, 5)


@pytest.mark.parametrize("in_chans", [1, 3])
@pytest.mark.parametrize("variant", ["paper", "tutorial", "small"])
def test_p30_every_parameter_gets_a_gradient(variant, in_chans):
    torch.manual_seed(0)
    network = (
        mobilenetv3_small(3, in_chans, width=0.35)
        if variant == "small"
        else mobilenetv3_large(3, in_chans, width=0.35, variant=variant)
    )
    network(torch.randn(4, in_chans, 64, 64)).square().sum().backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


def test_width_acts_on_every_stage():
    full, slim, slimmer = (mobilenetv3_large(2, width=width) for width in (1.0, 0.75, 0.35))
    for name in ("stem", "blocks", "last_conv", "classifier"):
        counts = [parameters(network.get_submodule(name)) for network in (full, slim, slimmer)]
        assert counts[0] >= counts[1] > counts[2]
    # 16 channels times 0.75 round up to 16 again, so the stem alone is as wide.
    assert parameters(full) > parameters(slim) > parameters(slimmer)
    assert (slim.stem.conv.out_channels, slimmer.stem.conv.out_channels) == (16, 8)


def test_rounding_never_loses_more_than_a_tenth():
    for channels in range(1, 2000):
        assert round_to_8(channels) % 8 == 0
        assert round_to_8(channels) >= 0.9 * channels


def test_children_are_named_for_the_freezing_patterns():
    network = mobilenetv3_large(7)
    names = [name for name, child in network.named_children() if any(True for _ in child.parameters())]
    assert names == ["stem", "blocks", "last_conv", "classifier"]
    assert len(network.blocks) == 15
    assert len(mobilenetv3_small(7).blocks) == 11
    assert network.classifier[-1].out_features == 7


def test_tutorial_differs_only_as_documented():
    paper, tutorial = mobilenetv3_large(2), mobilenetv3_large(2, variant="tutorial")

    def same(i: int) -> bool:
        return (parameters(paper.blocks[i]), strides(paper, i)) == (
            parameters(tutorial.blocks[i]),
            strides(tutorial, i),
        )

    differs = {i for i in range(15) if not same(i)}
    excited = {i for i in range(15) if any("squeeze_excite" in name for name, _ in paper.blocks[i].named_parameters())}
    assert differs == excited | {12, 13}
    assert (strides(tutorial, 12), strides(tutorial, 13)) == ((1, 1), (2, 2))


def strides(network: MobileNetV3, block: int) -> tuple[int, int]:
    return network.blocks[block].depthwise.conv.stride


def test_batch_norm_momentum_is_an_argument():
    momenta = lambda network: {m.momentum for m in network.modules() if isinstance(m, nn.BatchNorm2d)}  # noqa: E731
    assert momenta(mobilenetv3_large(2)) == {0.1}
    assert momenta(mobilenetv3_large(2, bn_momentum=0.01)) == {0.01}


@pytest.mark.parametrize("arguments", [{"variant": "papr"}, {"width": 0}, {"in_chans": 0}])
def test_senseless_arguments_are_named(arguments):
    with refused("bad_value", *(f" {value}" if name == "in_chans" else name for name, value in arguments.items())):
        mobilenetv3_large(2, **arguments)


@pytest.mark.slow
def test_compiles():
    torch._dynamo.reset()
    network = mobilenetv3_small(2, width=0.35).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(network, backend="aot_eager")(images), network(images))


@pytest.mark.slow
@pytest.mark.parametrize("in_chans", [1, 3])
def test_exports_with_a_free_batch_size(in_chans):
    network = mobilenetv3_small(2, in_chans, width=0.35).eval()
    images = torch.randn(2, in_chans, 64, 64)
    program = torch.export.export(network, (images,), dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=64)},))
    for batch in (1, 5):
        images = torch.randn(batch, in_chans, 64, 64)
        with torch.no_grad():
            torch.testing.assert_close(program.module()(images), network(images))


def test_p23_alone_equals_in_a_batch():
    network = mobilenetv3_small(2, in_chans=1, width=0.35).eval()
    images = torch.randn(8, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(network(images)[3:4], network(images[3:4]), atol=1e-6, rtol=1e-5)


def test_imports_torch_alone():
    tree = ast.parse(inspect.getsource(mobilenetv3))
    imported = {node.module.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert imported == {"collections", "typing", "torch", "medcls"}
    assert [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module.startswith("medcls")] == [
        "medcls.errors"
    ]
