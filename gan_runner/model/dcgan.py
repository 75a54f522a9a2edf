"""DCGAN (Radford et al. 2016, with the 4x4 kernels of pytorch/examples), for sizes 28 and powers of two, 8 to 256."""

import itertools

from torch import Tensor, nn

from gan_runner.errors import choose, require
from gan_runner.model.attention import Stage, in_order
from gan_runner.model.conditioning import (
    ERRORS,
    FOR_DISCRIMINATORS,
    FOR_GENERATORS,
    OUTPUTS,
    Autoencoder,
    Discriminator,
    JoinImages,
    JoinVector,
    Layers,
    check,
    linear_head,
)
from gan_runner.model.latent import Latent
from gan_runner.model.layers import ToRange, convolution_block, initialize_normal
from gan_runner.model.minibatch import check_alone, compared
from gan_runner.model.sizes import check_size
from gan_runner.spec import ImageSpec

SMALLEST = {28: 7} | {2**power: 4 for power in range(3, 9)}  # image size -> side of the smallest map
WIDEST = 8  # channels of the widest layer, in multiples of those of the narrowest


def layout(spec: ImageSpec, width: int) -> tuple[int, list[int]]:
    """Returns the side of the smallest map, and the channels from the largest map to the smallest.

    The channels for 64x64 and width 64 are 64, 128, 256, 512.
    """
    size = spec.height
    require(width >= 1, f"width={width} must be at least 1")
    check_size("dcgan", spec, SMALLEST, f"{', '.join(map(str, sorted(SMALLEST)))} pixels")
    halvings = (size // SMALLEST[size]).bit_length() - 1
    return SMALLEST[size], [width * min(2**level, WIDEST) for level in range(halvings)]


class DCGANGenerator(nn.Module):
    """z (B, Z) and labels (B,) -> images (B, C, H, W) in spec.value_range.

    ReLU; a norm on every layer but the last; weights N(0, 0.02). 3,576,704 parameters for 64x64 colour images.
    conditioning: none, one_hot, embedding, or norm (the label sets gain and shift of every batch norm).
    """

    def __init__(
        self,
        spec: ImageSpec,
        latent: Latent,
        width: int = 64,
        norm: str = "batch",
        activation: str = "relu",
        conditioning: str = "none",
        attention: int | None = None,
    ):
        super().__init__()
        self.conditional = check(conditioning, FOR_GENERATORS, spec) != "none"
        self.join = JoinVector(latent.dim, spec.num_classes, conditioning)
        classes = spec.num_classes if conditioning == "norm" else 0
        side, channels = layout(spec, width)
        first = nn.ConvTranspose2d(self.join.width, channels[-1], side, bias=norm in ("none", "weight"))
        stages = [Stage(side, channels[-1], convolution_block(first, norm, activation, classes))]
        for wide, narrow in itertools.pairwise(reversed(channels)):
            block = convolution_block(double(wide, narrow, norm), norm, activation, classes)
            stages.append(Stage(2 * stages[-1].side, narrow, block))
        last = initialize_normal(double(channels[0], spec.channels, "batch"))
        self.layers = Layers(*in_order(stages, attention), last, ToRange(spec.value_range))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        images: Tensor = self.layers(self.join(z, labels)[:, :, None, None], labels)
        return images


class DCGANDiscriminator(Discriminator):
    """images (B, C, H, W) and labels (B,) -> raw scores (B,).

    LeakyReLU 0.2; a norm on every layer but the first and the last. 2,765,568 parameters for 64x64 colour images. For
    8x8 images, where no layer has a norm, the first one has a bias.
    output: score; absolute_error or squared_error of an autoencoder, whose decoder has the same widths; or classes or
    classes_and_fake, with the score computed from class logits (Salimans et al. 2016, Odena 2016).
    conditioning: none, one_hot, embedding, projection or classifier.
    """

    def __init__(
        self,
        spec: ImageSpec,
        width: int = 64,
        norm: str = "none",
        activation: str = "leaky_relu",
        output: str = "score",
        conditioning: str = "none",
        minibatch: str = "none",
        attention: int | None = None,
    ):
        super().__init__()
        self.conditional = check(conditioning, FOR_DISCRIMINATORS, spec) != "none"
        self.join = JoinImages(spec, conditioning)
        choose("output", output, OUTPUTS)
        self.energy = output in ERRORS
        self.batch_coupled = norm == "batch"  # also for 8x8 images, where no layer has a norm
        side, channels = layout(spec, width)
        later = "batch" if len(channels) > 1 else "none"  # without a later layer, only a bias tells gray images apart
        first = convolution_block(halve(self.join.channels, channels[0], later), "none", activation)
        stages = [Stage(spec.height // 2, channels[0], first)]
        for narrow, wide in itertools.pairwise(channels):
            block = convolution_block(halve(narrow, wide, norm), norm, activation)
            stages.append(Stage(stages[-1].side // 2, wide, block))
        comparison, features = compared(minibatch, channels[-1] * side**2)
        self.layers = nn.Sequential(*in_order(stages, attention), nn.Flatten(), *comparison)
        if self.energy:
            check_alone(minibatch, output)
            back: list[nn.Module] = [nn.Unflatten(1, (channels[-1], side, side))]
            for wide, narrow in itertools.pairwise(reversed(channels)):
                back += convolution_block(double(wide, narrow, norm), norm, activation)
            last = initialize_normal(double(channels[0], spec.channels, "none"))
            self.head = Autoencoder(nn.Sequential(*back, last), output, conditioning)
        else:
            self.head = linear_head(features, spec, conditioning, output, bias=False)
            initialize_normal(self.head)

    def features(self, images: Tensor, labels: Tensor | None) -> Tensor:
        features: Tensor = self.layers(self.join(images, labels))
        return features


def double(wide: int, narrow: int, norm: str) -> nn.ConvTranspose2d:
    """Returns a convolution that doubles the side, without a bias before a norm that has a shift."""
    return nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=norm in ("none", "weight"))


def halve(narrow: int, wide: int, norm: str) -> nn.Conv2d:
    """Returns a convolution that halves the side, without a bias before a norm that has a shift."""
    return nn.Conv2d(narrow, wide, 4, 2, 1, bias=norm in ("none", "weight"))
