"""Initialisation: standard deviations of weights, compared with formulas; order of the layers in a block."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.testing import assert_close

from gan_runner.model import dcgan_wgan_gp, r3gan, resnet
from gan_runner.model.dcgan_conditional import ConditionalDCGANDiscriminator, ConditionalDCGANGenerator
from gan_runner.model.dirac import DiracDiscriminator, DiracGenerator
from gan_runner.model.latent import Latent
from gan_runner.model.layers import convolution_block, dense_block, dense_output, glorot
from gan_runner.model.mlp_2014 import Discriminator2014, Generator2014
from gan_runner.model.mlp_keras import KerasGenerator
from gan_runner.model.mlp_mirza import MirzaDiscriminator, MirzaGenerator
from gan_runner.model.sngan_cnn import SNGANDiscriminator, SNGANGenerator
from gan_runner.model.ssl import SemiSupervisedCNNDiscriminator, SemiSupervisedCNNGenerator
from gan_runner.noise import Noise
from gan_runner.spec import Batch, ImageSpec

GRAY, COLOUR = ImageSpec(1, 28, 28), ImageSpec(3, 32, 32)
LABELLED = ImageSpec(1, 28, 28, num_classes=10)


def check(weight: Tensor, deviation: float, mean: float = 0.0, uniform: bool = False) -> None:
    """Checks mean and standard deviation within sampling error, and the bound of a uniform distribution."""
    tolerance = 5 / math.sqrt(weight.numel())
    assert weight.mean().item() == pytest.approx(mean, abs=tolerance * deviation)
    assert weight.std().item() == pytest.approx(deviation, rel=tolerance)
    if uniform:
        assert weight.abs().max().item() <= deviation * math.sqrt(3) * 1.0001
    elif weight.numel() > 1000:
        assert weight.sub(mean).abs().max() > 2.5 * deviation


def kinds(layers: object) -> list[str]:
    return [type(layer).__name__ for layer in layers]  # type: ignore[attr-defined]


# ---- layers


def test_dense_layers_begin_as_he_has_them_and_the_last_as_glorot_has_it():
    hidden, *_ = dense_block(300, 120, "batch", "relu")
    check(hidden.weight, math.sqrt(2 / 300))
    check(dense_output(300, 120).weight, math.sqrt(2 / 420))
    check(glorot(nn.Linear(300, 120)).weight, math.sqrt(2 / 420), uniform=True)
    assert not hidden.bias.any()


@pytest.mark.parametrize(
    ("norm", "between"),
    [("none", []), ("batch", ["BatchNorm1d"]), ("layer", ["LayerNorm"])],
    ids=lambda value: str(value),
)
def test_a_norm_stands_before_the_activation(norm: str, between: list[str]):
    assert kinds(dense_block(4, 3, norm, "tanh")) == ["Linear", *between, "Tanh"]
    of_images = [name.replace("1d", "2d").replace("LayerNorm", "GroupNorm") for name in between]
    assert kinds(convolution_block(nn.Conv2d(2, 3, 3), norm, "relu")) == ["Conv2d", *of_images, "ReLU"]


def test_convolutions_and_gains_of_dcgan_begin_with_deviations_of_two_hundredths():
    layer, norm, activation = convolution_block(nn.Conv2d(30, 200, 4), "batch", "leaky_relu")
    check(layer.weight, 0.02)
    check(norm.weight, 0.02, mean=1.0)
    assert not layer.bias.any()
    assert not norm.bias.any()
    assert activation(torch.tensor([-1.0, 2.0])).tolist() == pytest.approx([-0.2, 2.0])


# ---- residual networks


def test_convolutions_of_the_resnet_begin_as_its_authors_have_them():
    """Uniform: He's for 3x3 and Glorot's for 1x1, both of the mean of the fans; Glorot's for the last layer."""
    check(resnet.convolution(40, 24, 3).weight, math.sqrt(2 * 2 / (9 * 64)), uniform=True)
    check(resnet.convolution(200, 100, 1).weight, math.sqrt(2 / 300), uniform=True)
    *_, last, _ = resnet.ResNetGenerator(COLOUR, Latent(4), width=60).layers
    check(last.weight, math.sqrt(2 / (9 * 63)), uniform=True)


@pytest.mark.parametrize("resize", ["same", "up", "down"])
def test_a_block_of_the_resnet_adds_its_residual_to_its_shortcut(resize: str):
    block, x = resnet.Block(3, 5, "none", resize), torch.randn(2, 3, 8, 8)
    assert [name for name in kinds(block.residual) if name != "Upsample"][:4] == ["ReLU", "Conv2d", "ReLU", "Conv2d"]
    assert_close(block(x, None), block.shortcut(x) + block.residual(x, None))
    first = resnet.FirstBlock(3, 5, "none")
    assert kinds(first.residual) == ["Conv2d", "ReLU", "Conv2d", "AvgPool2d"]
    assert_close(first(x), first.shortcut(x) + first.residual(x))


def test_a_block_of_r3gan_begins_with_weights_that_its_depth_shrinks():
    """sqrt(2 / (1 + 0.2^2)) / depth^(1/4), over the root of the fan-in: of the group alone where there are groups."""
    block, gain = r3gan.Block(48, 8, depth=16), math.sqrt(2 / 1.04) / 2
    first, middle, last = (layer for layer in block.residual if isinstance(layer, nn.Conv2d))
    check(first.weight, gain / math.sqrt(48))
    check(middle.weight, gain / math.sqrt(12 * 9))
    assert not last.weight.any()
    assert block.residual[1](torch.tensor([[[[-1.0]]]]).expand(1, 96, 1, 1)).unique().tolist() == pytest.approx([-0.2])


def test_the_ends_of_r3gan_begin_at_unit_deviation():
    generator = r3gan.R3GANGenerator(COLOUR, Latent(64), width=96, blocks=1, groups=8)
    check(generator.basis, 1.0)
    check(generator.dense.weight, 1 / 8)
    discriminator = r3gan.R3GANDiscriminator(COLOUR, width=96, blocks=1, groups=8)
    check(discriminator.layers[-2].weight, 1 / 4)
    check(discriminator.head.score.weight, 96**-0.5)


# ---- other published networks


def test_sngan_begins_with_deviations_of_two_hundredths():
    networks = SNGANGenerator(COLOUR, Latent(16)), SNGANDiscriminator(COLOUR)
    for module in itertools.chain(*(network.modules() for network in networks)):
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | nn.BatchNorm2d):
            check(module.weight, 0.02, mean=float(isinstance(module, nn.BatchNorm2d)))
            assert not module.bias.any()


@pytest.mark.parametrize(
    ("layer", "fans"),
    [
        (nn.Conv2d(20, 80, 5, 2, 2), 25 * (20 + 80 / 4)),
        (nn.ConvTranspose2d(80, 20, 5, 2, 2), 25 * (80 / 4 + 20)),
        (nn.ConvTranspose2d(30, 50, 5, 2, 2), 25 * (30 / 4 + 50)),
    ],
    ids=["halving", "doubling", "doubling to more channels"],
)
def test_strides_thin_the_fans_of_the_dcgan_of_wgan_gp(layer: nn.Module, fans: float):
    check(dcgan_wgan_gp.he(layer).weight, math.sqrt(4 / fans), uniform=True)


@pytest.mark.parametrize(("side", "crop"), [(28, 7), (32, 8)])
def test_the_second_map_of_the_dcgan_of_wgan_gp_is_cropped_to_a_quarter_of_the_image(side: int, crop: int):
    assert dcgan_wgan_gp.DCGANOfWGANGPGenerator(ImageSpec(1, side, side), Latent(2)).crop == crop


def test_the_networks_of_2014_begin_uniform():
    generator, discriminator = Generator2014(GRAY, Latent(100)), Discriminator2014(GRAY)
    for layer in (generator.layers[0], generator.layers[2], generator.last):
        check(layer.weight, 0.05 / math.sqrt(3), uniform=True)
    for layer in (discriminator.layers[0].linear, discriminator.layers[2].linear, discriminator.head.score):
        check(layer.weight, 0.005 / math.sqrt(3), uniform=True)
    assert [m.p for m in discriminator.modules() if isinstance(m, nn.Dropout)] == [0.2, 0.5, 0.5]


def test_the_networks_of_mirza_and_osindero_can_begin_as_those_of_2014():
    generator = MirzaGenerator(LABELLED, Latent(100), init="uniform")
    discriminator = MirzaDiscriminator(LABELLED, init="uniform")
    for network, bound in ((generator, 0.05), (discriminator, 0.005)):
        layers = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
        assert len(layers) == 4
        for layer in layers:
            check(layer.weight, bound / math.sqrt(3), uniform=True)
            assert not layer.bias.any()
    images = 2 * torch.rand(50, 1, 28, 28) - 1
    generator.initialize(Batch(images))
    mean = (images + 1).mean(0).flatten() / 2
    assert_close(generator.joint[-2].bias, torch.logit(mean), atol=1e-5, rtol=0)


def test_the_conditional_dcgan_begins_with_a_deviation_of_a_fiftieth_and_has_norms_without_gain():
    for network, norms in (
        (ConditionalDCGANGenerator(LABELLED, Latent(100)), 3),
        (ConditionalDCGANDiscriminator(LABELLED), 2),
    ):
        for parameter in network.parameters():
            check(parameter, 0.02)
        found = [layer for layer in network.modules() if isinstance(layer, _NormBase)]
        assert [(layer.eps, layer.affine) for layer in found] == [(1e-8, False)] * norms


def test_batch_norm_comes_after_the_activation_in_the_mlp_of_keras():
    layers = KerasGenerator(GRAY, Latent(10)).layers
    assert kinds(layers) == [*["Linear", "LeakyReLU", "BatchNorm1d"] * 3, "Linear", "ToRange"]
    assert (layers[2].momentum, layers[2].eps, layers[1].negative_slope) == (pytest.approx(1 - 0.8), 1e-3, 0.2)


def test_the_dirac_gan_begins_where_the_paper_begins():
    """The discriminator of the paper scores fakes high, so its (1, 1) is a slope of -1 here."""
    spec = ImageSpec(1, 1, 1, value_range=None)
    fake = DiracGenerator(spec)(torch.randn(3, 5))
    assert fake.flatten().tolist() == [1.0] * 3
    assert DiracDiscriminator(spec)(2 * fake).tolist() == [-2.0] * 3


def test_the_convolutional_generator_with_few_labels_begins_with_a_tenth_of_deviation_for_its_prior():
    spec, latent = ImageSpec(3, 16, 16), Latent(20, "uniform", 0.0, 1.0)
    network = SemiSupervisedCNNGenerator(spec, latent)
    network.initialize(Batch(torch.zeros(1, 3, 16, 16)))
    with torch.no_grad():
        y = network.last[0](network.maps(latent.sample(Noise(("initialization",), 50, torch.device("cpu")))))
    assert_close(y.mean((0, 2, 3)), torch.zeros(3), atol=1e-3, rtol=0)
    assert_close(y.std((0, 2, 3), correction=0), torch.full((3,), 0.1), atol=1e-3, rtol=0)


def test_dropout_is_a_fifth_of_the_pixels_and_half_of_the_maps_where_labels_are_few():
    network = SemiSupervisedCNNDiscriminator(ImageSpec(3, 16, 16))
    assert [m.p for m in network.layers if isinstance(m, nn.Dropout)] == [0.2, 0.5, 0.5]
