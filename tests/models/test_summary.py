"""The table of a network's layers: what it counts, and that it changes nothing."""

import re

import pytest
import torch
from refusals import refused
from torch import nn

from medcls.models.mobilenetv3 import mobilenetv3_large
from medcls.models.summary import summarise
from medcls.models.zoo import (
    torchvision_network,
)


def test_summary_counts_what_the_paper_counts():
    text = summarise(mobilenetv3_large(1000), (3, 224, 224))
    assert "216.6 M" in text
    assert "5,483,032" in text
    assert "960 x 7 x 7" in text
    rows = [line.split() for line in text.splitlines() if line.startswith(("stem", "blocks", "last", "pool", "class"))]
    assert sum(int(row[-2].replace(",", "")) for row in rows) == 5_483_032
    assert sum(int(row[-1].replace(",", "")) for row in rows) == 216_589_760


@pytest.mark.slow
def test_summary_counts_attention():
    assert "(17563.8 M)" in summarise(torchvision_network("vit_b_16", 1000), (3, 224, 224))


def test_summary_leaves_the_network_as_it_was():
    network = mobilenetv3_large(2, width=0.35).train()
    network.blocks[0].eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    state = torch.get_rng_state()
    summarise(network, (3, 64, 64))
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.slow
def test_summary_refuses_a_size_the_network_cannot_take():
    with refused("unfit_input_size", "3 x 96 x 96", "data.image_size"):
        summarise(torchvision_network("vit_b_16", 2), (3, 96, 96))


class Small(nn.Module):
    """A parameter of its own, a layer that runs twice, one that never runs, and one that does nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(7))
        self.unused = nn.Linear(2, 3)
        self.twice = nn.Linear(4, 4, bias=False)
        self.nothing = nn.Identity()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if images.shape[1] != 4:
            raise ValueError("four channels")
        return self.twice(self.nothing(self.twice(images.mean(dim=(2, 3)))))


def test_each_layer_has_a_row_in_the_order_in_which_they_run():
    network = Small()
    network.twice.weight.requires_grad_(False)
    text = summarise(network, (1, 4, 5, 6))
    header, _, *lines = text.splitlines()
    assert header.split() == ["layer", "type", "output", "parameters", "multiply-adds"]
    rows = [line.split() for line in lines[: lines.index("")]]
    assert [row[:2] for row in rows] == [["twice", "Linear"], ["(itself)", "Small"], ["unused", "Linear"]]
    assert [row[-2:] for row in rows] == [["16", "32"], ["7", "0"], ["9", "0"]]
    totals = re.findall(r"^ *(parameters|that train|buffers|multiply-adds) +([\d,]+)", text, re.MULTILINE)
    assert totals == [("parameters", "32"), ("that train", "16"), ("buffers", "0"), ("multiply-adds", "32")]
    assert "4 x 5 x 6" in text


def test_an_input_that_the_network_refuses_is_an_error_and_leaves_it_as_it_was():
    network = Small().train()
    with refused("unfit_input_size", "Small", "3 x 8 x 8", "data.image_size", "four channels"):
        summarise(network, (3, 8, 8))
    assert network.training and not any(module._forward_hooks for module in network.modules())
