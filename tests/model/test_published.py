"""Published networks: their parameter counts, sizes, and what their tables fix."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized
from torch.testing import assert_close

from gan_runner.assembly.make import Config, make
from gan_runner.errors import ConfigError
from gan_runner.model.latent import Latent
from gan_runner.model.layers import Maxout, ToRange, ToUnit
from gan_runner.model.mlp_2014 import Generator2014
from gan_runner.model.r3gan import Block, Resample
from gan_runner.model.resnet import ResNetDiscriminator
from gan_runner.model.sngan_cnn import SNGANDiscriminator
from gan_runner.model.ssl import GaussianNoise
from gan_runner.spec import Batch, ImageSpec
from tests.conftest import configure, make_run

GRAY28, COLOUR32, POINTS = ImageSpec(1, 28, 28), ImageSpec(3, 32, 32), ImageSpec(2, 1, 1, value_range=None)

LABELLED28, LABELLED32 = ImageSpec(1, 28, 28, num_classes=10), ImageSpec(3, 32, 32, num_classes=10)

# model, extra settings, data -> parameters of the generator and the discriminator
COUNTS = {
    "mlp_2014": ((), GRAY28, 2_503_984, 1_231_441),
    "mlp_keras": ((), GRAY28, 1_489_936, 533_505),
    "mlp_mirza": (  # n units over m numbers are (m + 1) n: noise, label, joint, pixels; image, label, joint, score
        (),
        LABELLED28,
        101 * 200 + 11 * 1000 + 1201 * 1200 + 1201 * 784,
        785 * 240 * 5 + 11 * 50 * 5 + 291 * 240 * 4 + 241,
    ),
    "dcgan_conditional": (  # no biases, gains or shifts; ten numbers or maps of the label before every layer
        (),
        LABELLED28,
        110 * 1024 + 1034 * 6272 + (138 * 64 + 74) * 25,
        (11 * 64 + 74 * 128) * 25 + 6282 * 1024 + 1034,
    ),
    "ssl_mlp": (  # a shift and a fixed gain of batch norm; of weight norm a scale for each output, beside the weights
        ("model.discriminator.output=classes",),
        LABELLED28,
        100 * 500 + 2 * 500 + 500 * 500 + 2 * 500 + 500 * 784 + 2 * 784,
        1_538_760 + 1000 + 500 + 3 * 250 + 10,
    ),
    "sngan_cnn": ((), COLOUR32, 3_812_355, 2_935_873),
    "dcgan_wgan_gp": ((), GRAY28, 1_554_177, 1_030_145),
    "resnet": ((), COLOUR32, 1_204_483, 1_053_825),
    "resnet as in SNGAN": (
        ("model.generator.width=256", "model.discriminator.pooling=sum", "model.discriminator.last_bias=false"),
        COLOUR32,
        4_276_739,
        1_053_824,
    ),
    "r3gan": ((), COLOUR32, 20_732_160, 20_683_776),
    "r3gan_small": ((), COLOUR32, 830_016, 817_920),
    "mlp_small": ((), GRAY28, 130_576, 117_121),
    "resnet as in the projection discriminator": (
        (
            *("model.generator.width=256", "model.generator.conditioning=norm"),
            *("model.discriminator.pooling=sum", "model.discriminator.last_bias=false"),
            "model.discriminator.conditioning=projection",
        ),
        LABELLED32,
        4_304_387,
        1_055_104,
    ),
    "r3gan with labels": (
        ("model.generator.conditioning=embedding", "model.discriminator.conditioning=projection"),
        LABELLED32,
        20_781_952,
        21_280_512,
    ),
    "toy": ((), POINTS, 527_874, 527_361),
}
NORM = "loss.discriminator_norm=none"


def networks(model: str, spec: ImageSpec, *overrides: str) -> tuple[nn.Module, nn.Module]:
    config: Config = configure(f"model={model}", NORM, *overrides)["model"]
    latent = make(config["latent"], "model.latent")
    generator, discriminator = (
        make(config[player], f"model.{player}", spec=spec, latent=latent) for player in ("generator", "discriminator")
    )
    return generator, discriminator


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("model", "row"), COUNTS.items(), ids=COUNTS)
def test_parameter_counts_are_the_published_ones(model: str, row):
    overrides, spec, for_generator, for_discriminator = row
    with torch.device("meta"):
        generator, discriminator = networks(model.split()[0], spec, *overrides)
    assert (count(generator), count(discriminator)) == (for_generator, for_discriminator)


SIZES = {
    "mlp_2014": (8, 28, 32, 64),
    "mlp_keras": (8, 28, 32, 64),
    "mlp_mirza": (8, 28, 32, 64),
    "mlp_small": (8, 28, 32, 64),
    "dcgan_conditional": (8, 28, 64),
    "sngan_cnn": (8, 32, 48, 64),
    "dcgan_wgan_gp": (28, 32),
    "resnet": (32, 64, 128),
    "r3gan": (8, 32, 64),
    "ssl_mlp": (8, 28, 32, 64),
    "ssl_cnn": (16, 32, 64),
}
NARROW = {"resnet": ("8", ""), "r3gan": ("16", "4")}


@pytest.mark.parametrize(("model", "size"), [(model, size) for model, sizes in SIZES.items() for size in sizes])
@pytest.mark.parametrize("channels", [1, 3])
def test_sizes_come_from_the_data(model: str, size: int, channels: int):
    narrow = [f"model.{p}.width={NARROW[model][0]}" for p in ("generator", "discriminator") if model in NARROW]
    narrow += [f"model.{p}.groups=4" for p in ("generator", "discriminator") if model == "r3gan"]
    spec, labels = ImageSpec(channels, size, size, num_classes=3), torch.tensor([0, 2])
    generator, discriminator = networks(model, spec, *narrow)
    images = generator(torch.randn(2, configure(f"model={model}")["model"]["latent"]["dim"]), labels)
    assert images.shape == (2, channels, size, size)
    assert model == "r3gan" or images.abs().max() <= 1
    assert discriminator(images, labels).shape == (2,)


@pytest.mark.parametrize(
    ("model", "spec"),
    [
        ("sngan_cnn", GRAY28),
        ("resnet", GRAY28),
        ("resnet", ImageSpec(3, 16, 16)),
        ("r3gan", GRAY28),
        ("r3gan", ImageSpec(3, 32, 64)),
        ("dcgan_wgan_gp", ImageSpec(1, 64, 64)),
        ("ssl_cnn", GRAY28),
        ("ssl_cnn", ImageSpec(1, 8, 8)),
    ],
)
def test_a_size_that_a_network_cannot_make_is_refused(model: str, spec: ImageSpec):
    with pytest.raises(ConfigError, match=f"the dataset has {spec.height}x{spec.width}; set dataset.size="):
        networks(model, spec)


def test_pixels_between_0_and_1_are_converted_inside():
    assert_close(ToUnit((-1.0, 1.0))(torch.tensor([-1.0, 0.0, 1.0])), torch.tensor([0.0, 0.5, 1.0]))
    assert_close(ToRange((-1.0, 1.0), "sigmoid")(torch.tensor([0.0, 2.0])), torch.tensor([0.0, 0.76159416]))


def test_the_generator_of_2014_begins_at_the_mean_image():
    """Its last bias is the logit of the mean pixel, so that with no input the sigmoid gives the mean back."""
    real = Batch(torch.rand(50, 1, 28, 28) * 1.8 - 0.9)
    generator = Generator2014(GRAY28, Latent(100))
    generator.initialize(real)
    assert_close(generator(torch.zeros(1, 100))[0], real.images.mean(dim=0), atol=1e-5, rtol=0)


def test_the_data_dependent_beginning_is_part_of_a_run():
    run = make_run("model=mlp_2014", "device=cpu")
    mean = run.real.decode(run.real.images).mean(dim=0)
    first = run.generator.network(torch.zeros(1, 100))[0]
    assert_close(first, mean, atol=1e-5, rtol=0)


def test_a_pixel_that_is_always_black_begins_there():
    """Pylearn2's init_sigmoid_bias_from_marginals clips means to [1e-7, 1 - 1e-7]: no speckles in the margin."""
    generator = Generator2014(GRAY28, Latent(100))
    generator.initialize(Batch(torch.full((2, 1, 28, 28), -1.0)))
    assert_close(generator.last.bias, torch.full((784,), -16.118), atol=1e-3, rtol=0)


def test_maxout_is_the_largest_piece():
    layer = Maxout(3, 2, 5)
    x = torch.randn(4, 3)
    pieces = x @ layer.linear.weight.T + layer.linear.bias
    by_hand = torch.stack([pieces[:, unit * 5 : unit * 5 + 5].max(dim=1)[0] for unit in (0, 1)], 1)
    assert_close(layer(x), by_hand)


def test_the_conditional_networks_of_mirza_and_osindero_halve_every_hidden_layer():
    """Dropout .5 behind each of the three hidden layers of both, and nowhere else: none on pixels, noise or labels."""
    generator, discriminator = networks("mlp_mirza", LABELLED28)
    assert dropped(generator, torch.rand(2, 100)) == [(200, 0.5), (1000, 0.5), (1200, 0.5)]
    assert dropped(discriminator, torch.rand(2, 1, 28, 28)) == [(240, 0.5), (50, 0.5), (240, 0.5)]


def dropped(network: nn.Module, given: torch.Tensor) -> list[tuple[int, float]]:
    """Width and share of every dropout, in the order in which they are met."""
    met: list[tuple[int, float]] = []
    for layer in network.modules():
        if isinstance(layer, nn.Dropout):
            layer.register_forward_hook(lambda module, inputs, output: met.append((inputs[0].shape[1], module.p)))
    network(given, torch.tensor([0, 9]))
    return met


@pytest.mark.parametrize("model", ["ssl_mlp", "ssl_cnn"])
def test_weight_norm_begins_with_outputs_of_mean_0_and_deviation_1(model: str):
    torch.manual_seed(0)
    spec = ImageSpec(1, 16, 16, num_classes=3)
    _, network = networks(model, spec, "model.discriminator.output=classes")
    for module in network.modules():
        if isinstance(module, nn.Dropout | GaussianNoise):
            module.eval()  # without what is drawn anew in the next forward
    real = Batch(torch.rand(50, *spec.shape) * 2 - 1)
    network.initialize(real)
    seen = []
    for module in network.modules():
        if is_parametrized(module):
            module.register_forward_hook(lambda module, inputs, output: seen.append(output.transpose(0, 1).flatten(1)))
    network(real.images)
    spreads = [1.0] * (len(seen) - 1) + [0.1 if model == "ssl_cnn" else 1.0]
    assert len(seen) == {"ssl_mlp": 6, "ssl_cnn": 10}[model]
    for output, spread in zip(seen, spreads, strict=True):
        assert_close(output.mean(dim=1), torch.zeros(len(output)), atol=1e-4, rtol=0)
        assert_close(output.std(dim=1, correction=0), torch.full((len(output),), spread), atol=1e-4, rtol=1e-3)


def test_the_scales_of_hidden_layers_stay_and_those_of_the_last_train():
    _, network = networks("ssl_mlp", LABELLED28, "model.discriminator.output=classes")
    trained = [scale.requires_grad for name, scale in network.named_parameters() if name.endswith("original0")]
    assert trained == [False] * 5 + [True]


def test_noise_of_the_semi_supervised_networks_is_for_training_alone():
    x, noise = torch.zeros(10_000), GaussianNoise(0.3)
    assert noise(x).std().item() == pytest.approx(0.3, rel=0.05)
    assert torch.equal(noise.eval()(x), x)


@pytest.mark.parametrize("pooling", ["mean", "sum"])
def test_the_resnets_pooling_is_a_choice(pooling: str):
    network = ResNetDiscriminator(COLOUR32, width=4, pooling=pooling, last_bias=False)
    last: list[torch.Tensor] = []
    network.layers.register_forward_hook(lambda module, inputs, output: last.append(output))
    score = network(torch.randn(2, 3, 32, 32))
    assert last[0].shape == (2, 4, 8, 8)
    pooled = last[0].sum(dim=(2, 3)) / (64 if pooling == "mean" else 1)
    assert_close(score, (pooled @ network.head.score.weight.T).squeeze(1))


def test_the_sngan_discriminator_has_the_published_table():
    table = [(m.in_channels, m.out_channels, *m.kernel_size[:1], *m.stride[:1]) for m in convolutions()]
    assert table == [
        *((3, 64, 3, 1), (64, 64, 4, 2), (64, 128, 3, 1), (128, 128, 4, 2)),
        *((128, 256, 3, 1), (256, 256, 4, 2), (256, 512, 3, 1)),
    ]


def convolutions() -> list[nn.Conv2d]:
    return [m for m in SNGANDiscriminator(COLOUR32).modules() if isinstance(m, nn.Conv2d)]


def test_a_block_of_r3gan_begins_as_the_identity():
    x = torch.randn(2, 16, 8, 8)
    assert_close(Block(16, 4, 8)(x), x)


def test_r3gan_resamples_through_1_2_1():
    """Of a line (1, 2, 4): between two pixels their mean, and back (0 + 2 + 2) / 4, (1 + 4 + 2) / 4 and so on."""
    x = torch.tensor([1.0, 2.0, 4.0, 8.0]).repeat(4, 1)[None, None]
    up = Resample(up=True)(x)
    assert up.shape == (1, 1, 8, 8)
    assert_close(up[0, 0, 1], torch.tensor([0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0]))
    down = Resample(up=False)(x)
    assert down.shape == (1, 1, 2, 2)
    assert_close(down[0, 0, 1], torch.tensor([(2 * 1 + 2) / 4, (2 + 2 * 4 + 8) / 4]))
    constant = Resample(up=True)(torch.ones(1, 3, 8, 8))
    assert_close(constant[:, :, 1:, 1:], torch.ones(1, 3, 15, 15))
