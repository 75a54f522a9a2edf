import pytest
import torch
from torch import nn

from gan_runner.loss.constraint import WeightClipping


def test_every_parameter_ends_within_the_bound_gains_and_biases_too():
    network = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))
    inside = network[2].weight.data[0, 0] = 0.005
    WeightClipping(0.01).enforce(network)
    assert max(p.abs().max().item() for p in network.parameters()) == pytest.approx(0.01)
    assert network[1].weight.unique().tolist() == pytest.approx([0.01])
    assert network[2].weight[0, 0].item() == pytest.approx(inside)


@pytest.mark.parametrize("bound", [0.0, -0.01])
def test_a_bound_without_room_is_refused(bound: float):
    with pytest.raises(ValueError, match="bound="):
        WeightClipping(bound)


def test_frozen_parameters_can_be_clipped():
    network = nn.Linear(4, 1).requires_grad_(False)
    network.weight.fill_(1.0)
    WeightClipping(0.01).enforce(network)
    assert torch.equal(network.weight, torch.full((1, 4), 0.01))
