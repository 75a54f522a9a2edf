import pytest
import torch
from torch import nn

from gan_runner.errors import ConfigError
from gan_runner.loss.constraint import SpectralNorm, WeightClipping
from gan_runner.model.dcgan import DCGANDiscriminator
from gan_runner.spec import ImageSpec


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


def test_spectral_norm_divides_by_the_largest_singular_value():
    layer = nn.Linear(2, 2, bias=False)
    layer.weight.data.copy_(torch.diag(torch.tensor([3.0, 1.0])))
    SpectralNorm().prepare(layer)
    for _ in range(50):
        layer(torch.randn(1, 2))
    torch.testing.assert_close(layer.weight.detach(), torch.diag(torch.tensor([1.0, 1 / 3])), rtol=0, atol=1e-4)


def test_after_some_forwards_every_layer_has_largest_singular_value_one():
    network = DCGANDiscriminator(ImageSpec(1, 28, 28), width=8)
    SpectralNorm().prepare(network)
    for _ in range(50):
        network(torch.randn(4, 1, 28, 28))
    weights = [m.weight.flatten(1) for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(weights) == 3
    for weight in weights:
        assert torch.linalg.matrix_norm(weight, 2).item() == pytest.approx(1, abs=0.01)


def test_a_linear_discriminator_under_spectral_norm_has_slope_one():
    network = nn.Linear(10, 1)
    SpectralNorm().prepare(network)
    x = torch.randn(3, 10, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(x).sum(), x)
    torch.testing.assert_close(gradient.norm(dim=1), torch.ones(3))


def test_two_normalisations_of_one_weight_are_refused():
    network = DCGANDiscriminator(ImageSpec(1, 28, 28), width=8, norm="weight")
    with pytest.raises(ConfigError, match=r"layers\.2 of model\.discriminator.*model\.discriminator\.norm=none"):
        SpectralNorm().prepare(network)
