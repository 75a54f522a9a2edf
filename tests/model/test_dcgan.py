import pytest
import torch
from torch import nn

from gan_runner.model.dcgan import DCGANDiscriminator, DCGANGenerator
from gan_runner.model.latent import Latent
from gan_runner.spec import ImageSpec

LATENT = Latent(100)


@pytest.mark.parametrize("size", [8, 16, 28, 32, 64, 128, 256])
@pytest.mark.parametrize("channels", [1, 3])
def test_sizes_come_from_the_data(size: int, channels: int):
    spec = ImageSpec(channels, size, size)
    images = DCGANGenerator(spec, LATENT, width=4)(torch.randn(2, 100))
    assert images.shape == (2, channels, size, size)
    assert images.abs().max() <= 1
    assert DCGANDiscriminator(spec, width=4, norm="batch")(images).shape == (2,)


@pytest.mark.parametrize("size", [8, 28, 64])
@pytest.mark.parametrize(("output", "power"), [("absolute_error", 1), ("squared_error", 2)])
def test_an_autoencoder_scores_minus_its_mean_error_per_pixel(size: int, output: str, power: int):
    spec = ImageSpec(3, size, size)
    network = DCGANDiscriminator(spec, width=4, output=output)
    images = torch.rand(2, *spec.shape)
    error = (network.head.decoder(network.layers(images)) - images).abs().pow(power)
    assert error.shape == (2, *spec.shape)
    torch.testing.assert_close(network(images), -error.mean(dim=(1, 2, 3)))


def test_parameter_counts_for_64x64_colour_images_are_the_published_ones():
    spec = ImageSpec(3, 64, 64)
    assert sum(p.numel() for p in DCGANGenerator(spec, LATENT).parameters()) == 3_576_704
    assert sum(p.numel() for p in DCGANDiscriminator(spec, norm="batch").parameters()) == 2_765_568


@pytest.mark.parametrize(
    ("norm", "layer"),
    [("batch", nn.BatchNorm2d), ("layer", nn.GroupNorm), ("instance", nn.InstanceNorm2d), ("none", None)],
)
def test_the_norm_is_on_every_layer_but_the_first_and_the_last(norm: str, layer: type | None):
    network = DCGANDiscriminator(ImageSpec(3, 64, 64), width=8, norm=norm)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d | nn.GroupNorm | nn.InstanceNorm2d)]
    assert [type(m) for m in norms] == ([layer] * 3 if layer else [])
    assert isinstance(network.layers[0], nn.Conv2d)
    assert isinstance(network.layers[1], nn.LeakyReLU)


@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
@pytest.mark.parametrize("size", [8, 16, 28])
def test_a_gray_image_can_get_any_score(size: int, norm: str):
    """Without a shift in any layer its score is 0 for all weights, and a generator that makes it cannot be detected."""
    network = DCGANDiscriminator(ImageSpec(1, size, size), width=4, norm=norm).eval()
    for name, parameter in network.named_parameters():
        nn.init.uniform_(parameter, 0.5, 1.0) if name.endswith("bias") else None
    assert network(torch.zeros(2, 1, size, size)).abs().min() > 0


def test_layer_norm_has_a_gain_per_channel_and_statistics_per_sample():
    network = DCGANDiscriminator(ImageSpec(1, 32, 32), width=8, norm="layer")
    norm = next(m for m in network.modules() if isinstance(m, nn.GroupNorm))
    assert norm.weight.shape == (16,)
    y = norm(torch.randn(4, 16, 8, 8) * torch.tensor([1.0, 2.0, 3.0, 4.0]).view(4, 1, 1, 1))
    torch.testing.assert_close(y.flatten(1).std(1), torch.ones(4), rtol=0.05, atol=0)


@pytest.mark.parametrize("norm", ["batch", "none", "layer", "weight"])
def test_weights_begin_as_published(norm: str):
    generator = DCGANGenerator(ImageSpec(3, 64, 64), LATENT, norm=norm)
    for module in generator.modules():
        if isinstance(module, nn.ConvTranspose2d):
            assert module.weight.mean().abs() < 0.001
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.06)
            assert module.bias is None or not module.bias.any()


def test_weight_norm_holds_a_length_per_output():
    generator = DCGANGenerator(ImageSpec(1, 28, 28), LATENT, norm="weight", width=8)
    first = generator.layers[0]
    assert first.parametrizations.weight.original0.numel() == 16


@pytest.mark.parametrize(("height", "width"), [(30, 30), (32, 64), (4, 4), (512, 512)])
def test_a_size_that_it_cannot_make_is_refused(height: int, width: int):
    with pytest.raises(ValueError, match=f"the dataset has {height}x{width}; set dataset.size="):
        DCGANDiscriminator(ImageSpec(3, height, width))
