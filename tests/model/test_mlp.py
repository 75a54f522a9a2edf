import pytest
import torch
from torch import nn

from gan_runner.model.latent import Latent
from gan_runner.model.mlp import MLPDiscriminator, MLPGenerator
from gan_runner.spec import ImageSpec

GRAY, COLOUR, POINTS = ImageSpec(1, 28, 28), ImageSpec(3, 8, 8), ImageSpec(2, 1, 1, value_range=None)


@pytest.mark.parametrize("spec", [GRAY, COLOUR, POINTS], ids=["28x28", "8x8 colour", "points"])
@pytest.mark.parametrize("norm", ["none", "batch", "layer", "weight"])
def test_shapes_come_from_the_data(spec: ImageSpec, norm: str):
    images = MLPGenerator(spec, Latent(5), norm=norm)(torch.randn(4, 5))
    assert images.shape == (4, *spec.shape)
    assert MLPDiscriminator(spec, norm=norm)(images).shape == (4,)


@pytest.mark.parametrize("spec", [GRAY, COLOUR, POINTS], ids=["28x28", "8x8 colour", "points"])
@pytest.mark.parametrize(("output", "power"), [("absolute_error", 1), ("squared_error", 2)])
def test_an_autoencoder_scores_minus_its_mean_error_per_pixel(spec: ImageSpec, output: str, power: int):
    network = MLPDiscriminator(spec, [7, 5], output=output)
    assert [m.out_features for m in network.modules() if isinstance(m, nn.Linear)] == [7, 5, 7, spec.size]
    images = torch.rand(4, *spec.shape)
    nn.init.zeros_(network.head.decoder[-1].weight)
    nn.init.constant_(network.head.decoder[-1].bias, 0.25)
    torch.testing.assert_close(network(images), -(images - 0.25).abs().pow(power).mean(dim=(1, 2, 3)))


def test_the_generator_stays_in_the_range_of_the_data():
    wide = MLPGenerator(ImageSpec(1, 8, 8, value_range=(0.0, 1.0)), Latent(5))(100 * torch.randn(64, 5))
    assert wide.min() >= 0
    assert wide.max() <= 1
    assert wide.max() - wide.min() > 0.9
    assert MLPGenerator(POINTS, Latent(5))(1000 * torch.randn(64, 5)).abs().max() > 1


def test_parameter_counts():
    """100 -> 256 -> 256 -> 784 with gains and biases of batch norm; 784 -> 256 -> 256 -> 1."""
    generator = sum(p.numel() for p in MLPGenerator(GRAY, Latent(100)).parameters())
    discriminator = sum(p.numel() for p in MLPDiscriminator(GRAY).parameters())
    assert generator == 101 * 256 + 257 * 256 + 257 * 784 + 2 * 512
    assert discriminator == 785 * 256 + 257 * 256 + 257


@pytest.mark.parametrize(("norm", "kind"), [("batch", "BatchNorm1d"), ("layer", "LayerNorm")])
def test_the_norm_is_on_every_hidden_layer_but_the_discriminators_first(norm: str, kind: str):
    linear = ["Linear", "LeakyReLU"]
    layers = MLPDiscriminator(GRAY, [7, 5, 3], norm=norm).layers
    assert [type(m).__name__ for m in layers] == [*linear, *["Linear", kind, "LeakyReLU"] * 2]
    made = MLPGenerator(GRAY, Latent(4), [7, 5], norm=norm).layers
    assert [type(m).__name__ for m in made] == [*["Linear", kind, "ReLU"] * 2, "Linear", "ToRange"]


def test_no_hidden_layer_is_a_linear_network():
    assert [type(m) for m in MLPDiscriminator(GRAY, widths=[]).modules() if list(m.parameters(recurse=False))] == [
        nn.Linear
    ]


def test_a_point_mass_as_prior_and_zero_biases_put_all_points_at_the_origin():
    z = torch.zeros(8, 5)
    assert torch.equal(MLPGenerator(POINTS, Latent(5))(z), torch.zeros(8, 2, 1, 1))


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"norm": "instance"}, "norm='instance' is none of none, batch, layer, weight"),
        ({"activation": "rleu"}, "did you mean 'relu'"),
        ({"widths": [0]}, r"widths=\[0\]"),
        ({"dropout": 1.0}, "dropout=1.0"),
    ],
)
def test_impossible_networks_are_refused(settings: dict, word: str):
    with pytest.raises(ValueError, match=word):
        MLPDiscriminator(GRAY, **settings)


def test_maxout_keeps_the_largest_of_five_linear_units():
    network = MLPDiscriminator(GRAY, [7], activation="maxout").layers
    images = torch.randn(3, 784)
    linear, largest = network
    assert linear.out_features == 35
    assert largest(linear(images)).shape == (3, 7)
    pieces = linear(images).view(3, 7, 5)
    torch.testing.assert_close(network(images), pieces.max(dim=2).values)


@pytest.mark.parametrize("norm", ["none", "weight"])
def test_orthogonal_weights_keep_lengths_up_to_their_gain(norm: str):
    network = MLPGenerator(POINTS, Latent(8), [8, 8], norm=norm, init="orthogonal", init_scale=1.4)
    for layer in [module for module in network.modules() if isinstance(module, nn.Linear)][:2]:
        torch.testing.assert_close(layer.weight @ layer.weight.T, 1.4**2 * torch.eye(8))
        assert not layer.bias.any()


def test_normal_weights_have_the_chosen_deviation_in_every_layer_the_last_included():
    network = MLPDiscriminator(GRAY, [300, 300], init="normal")
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    assert [layer.weight.std().item() for layer in layers] == pytest.approx([0.02] * 3, rel=0.15)


def test_a_scale_without_an_initialisation_is_refused():
    with pytest.raises(ValueError, match="init_scale=2 is for init=orthogonal or init=normal"):
        MLPDiscriminator(GRAY, init_scale=2)
    with pytest.raises(ValueError, match=r"init_scale=-1\.0 must be above 0"):
        MLPDiscriminator(GRAY, init="normal", init_scale=-1.0)
