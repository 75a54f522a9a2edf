"""Layers that compare the samples of a batch, in float64 against sums written out."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from gan_runner.errors import ConfigError
from gan_runner.model.dcgan import DCGANDiscriminator
from gan_runner.model.minibatch import MinibatchDeviation, MinibatchDiscrimination
from gan_runner.model.mlp import MLPDiscriminator
from gan_runner.spec import ImageSpec
from tests.conftest import make_run

SPEC = ImageSpec(1, 8, 8)
LAYERS = {"stddev": MinibatchDeviation, "discrimination": MinibatchDiscrimination}
NETWORKS = {"mlp": MLPDiscriminator, "dcgan": DCGANDiscriminator}


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def added(layer: nn.Module, x: Tensor) -> Tensor:
    """Returns the features that the layer appends; the others stay unchanged."""
    y = layer.double()(x)
    assert torch.equal(y[:, : x.shape[1]], x)
    assert y.shape == (len(x), layer.width)
    return y[:, x.shape[1] :]


def test_the_deviation_is_the_mean_over_the_features_for_every_sample():
    x = torch.tensor([[0.0, 1.0], [2.0, 1.0], [4.0, 7.0]], dtype=torch.float64)
    by_hand = (math.sqrt(8 / 3) + math.sqrt(8)) / 2  # about the means 2 and 3
    assert_close(added(MinibatchDeviation(2), x), torch.full((3, 1), by_hand, dtype=torch.float64))


def test_the_deviation_of_constants_is_0_with_finite_gradients():
    x = torch.ones(5, 3, dtype=torch.float64, requires_grad=True)
    deviation = added(MinibatchDeviation(3), x)
    deviation.sum().backward()
    assert torch.equal(deviation, torch.zeros_like(deviation))
    assert torch.equal(x.grad, torch.zeros_like(x))


def test_two_equal_samples_are_at_distance_0_in_every_kernel():
    x = drawn(1, 6).expand(2, -1)
    assert_close(added(MinibatchDiscrimination(6), x), torch.ones(2, 100, dtype=torch.float64))


@torch.no_grad()
def test_discrimination_is_the_sum_over_the_other_samples():
    layer, x = MinibatchDiscrimination(6, kernels=3).double(), drawn(5, 6)
    nn.init.normal_(layer.log_scale)
    got = added(layer, x)
    for i in range(5):
        for b in range(3):
            total = 0.0
            for j in range(5):
                if j == i:
                    continue
                distance = 0.0
                for c in range(5):
                    direction = layer.theta[:, b, c] / layer.theta[:, b, c].square().sum().sqrt()
                    distance += math.exp(layer.log_scale[b, c]) * abs(float((x[i] - x[j]) @ direction))
                total += math.exp(-distance)
            assert got[i, b].item() == pytest.approx(total, rel=1e-9)


def test_discrimination_of_equal_samples_has_finite_gradients():
    layer = MinibatchDiscrimination(4).double()
    x = torch.ones(3, 4, dtype=torch.float64, requires_grad=True)
    layer(x).sum().backward()
    assert all(gradient.isfinite().all() for gradient in (x.grad, layer.theta.grad, layer.log_scale.grad))


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_samples_in_another_order_give_the_same_in_that_order(layer: type[nn.Module]):
    compare, x, order = layer(6).double(), drawn(7, 6), torch.randperm(7)
    assert_close(compare(x[order]), compare(x)[order])


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_the_gradient_is_that_of_finite_differences(layer: type[nn.Module]):
    assert torch.autograd.gradcheck(layer(4).double(), drawn(3, 4).requires_grad_())


@pytest.mark.parametrize("minibatch", LAYERS)
@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_the_score_of_an_image_depends_on_the_others_only_with_such_a_layer(network, minibatch: str):
    images, others = torch.randn(4, *SPEC.shape), torch.randn(3, *SPEC.shape)
    for kind, alone in ((minibatch, False), ("none", True)):
        score = network(SPEC, minibatch=kind)
        assert torch.allclose(score(images)[0], score(torch.cat([images[:1], others]))[0]) is alone


@pytest.mark.parametrize("model", NETWORKS)
@pytest.mark.parametrize("minibatch", LAYERS)
def test_a_penalty_of_single_samples_refuses_it_and_names_the_setting(model: str, minibatch: str):
    chosen = (f"model={model}", "loss=wgan_gp", f"model.discriminator.minibatch={minibatch}", "device=cpu")
    with pytest.raises(ConfigError) as caught:
        make_run(*chosen)
    (sentence,) = caught.value.sentences
    assert "loss.penalties.gradient" in sentence
    assert sentence.endswith("set model.discriminator.minibatch=none.")
    with pytest.raises(ConfigError, match=r"norm=layer \(or none\) and model\.discriminator\.minibatch=none\."):
        make_run(*chosen, "model.discriminator.norm=batch")
    make_run(*chosen, "loss.penalties.gradient=null")


@pytest.mark.parametrize("model", NETWORKS)
def test_an_autoencoder_has_no_place_for_it(model: str):
    with pytest.raises(ConfigError, match=r"minibatch=stddev needs output=score; with output=absolute_error"):
        make_run(f"model={model}", "loss=began", "model.discriminator.minibatch=stddev", "device=cpu")
