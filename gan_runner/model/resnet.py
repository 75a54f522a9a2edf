"""Residual networks of WGAN-GP (Gulrajani et al. 2017, appendix F) and SNGAN (Miyato et al. 2018), 32 to 128 pixels."""

from functools import partial

import torch
from torch import Tensor, nn

from gan_runner.errors import choose, require
from gan_runner.model.attention import Stage, in_order
from gan_runner.model.conditioning import (
    FOR_DISCRIMINATORS,
    FOR_GENERATORS,
    Discriminator,
    Head,
    JoinImages,
    JoinVector,
    Layers,
    check,
)
from gan_runner.model.latent import Latent
from gan_runner.model.layers import IMAGE_NORMS, ToRange, dense_output, labelled
from gan_runner.model.sizes import check_size
from gan_runner.spec import ImageSpec

SIZES = (32, 64, 128)  # sides of images, in pixels
FIRST = 4  # side of the generator's first map
LAST = 8  # side of the discriminator's last maps


def doublings(spec: ImageSpec, smallest: int) -> int:
    size = spec.height
    check_size("resnet", spec, SIZES, "32, 64 or 128 pixels")
    return (size // smallest).bit_length() - 1


def convolution(width_in: int, width_out: int, kernel: int) -> nn.Conv2d:
    """Returns a convolution that keeps the side; He initialisation for 3x3, Glorot for 1x1 (authors' code), bias 0."""
    layer = nn.Conv2d(width_in, width_out, kernel, padding=kernel // 2)
    nn.init.xavier_uniform_(layer.weight, gain=2**0.5 if kernel == 3 else 1.0)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def normalised(width: int, norm: str, classes: int = 0) -> list[nn.Module]:
    """Returns no layer or one norm; the norm is conditional on `classes` labels, if any."""
    make_norm = labelled(norm, classes, images=True) if classes else choose("norm", norm, IMAGE_NORMS)
    return [] if make_norm is None else [make_norm(width)]


class Block(nn.Module):
    """shortcut(x) + residual(x), residual: [norm] ReLU conv [norm] ReLU conv; both may resize up or down."""

    takes_labels = True

    def __init__(self, width_in: int, width_out: int, norm: str, resize: str = "same", classes: int = 0):
        super().__init__()
        up = [nn.Upsample(scale_factor=2, mode="nearest")] if resize == "up" else []
        down = [nn.AvgPool2d(2)] if resize == "down" else []
        self.residual = Layers(
            *(*normalised(width_in, norm, classes), nn.ReLU(), *up, convolution(width_in, width_out, 3)),
            *(*normalised(width_out, norm, classes), nn.ReLU(), convolution(width_out, width_out, 3), *down),
        )
        learned = width_in != width_out or resize != "same"
        shortcut = [*up, convolution(width_in, width_out, 1), *down] if learned else []
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, x: Tensor, labels: Tensor | None) -> Tensor:
        y: Tensor = self.shortcut(x) + self.residual(x, labels)
        return y


class FirstBlock(nn.Module):
    """The discriminator's first block: no activation before the first convolution; the shortcut pools first."""

    def __init__(self, width_in: int, width_out: int, norm: str):
        super().__init__()
        self.residual = nn.Sequential(
            *(convolution(width_in, width_out, 3), *normalised(width_out, norm), nn.ReLU()),
            *(convolution(width_out, width_out, 3), nn.AvgPool2d(2)),
        )
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), convolution(width_in, width_out, 1))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.shortcut(x) + self.residual(x)
        return y


class ResNetGenerator(nn.Module):
    """z (B, Z) and labels (B,) -> images (B, C, H, W) in spec.value_range.

    For 32x32 colour images 1,204,483 parameters with width 128 (WGAN-GP), 4,276,739 with 256 (SNGAN). Blocks upsample
    before their first convolution, as in the code of both papers.
    conditioning: none, one_hot, embedding, or norm (the label sets gain and shift of the norms within the blocks;
    4,304,387 parameters for ten classes with width 256).
    """

    def __init__(
        self,
        spec: ImageSpec,
        latent: Latent,
        width: int = 128,
        norm: str = "batch",
        conditioning: str = "none",
        attention: int | None = None,
    ):
        super().__init__()
        self.conditional = check(conditioning, FOR_GENERATORS, spec) != "none"
        self.join = JoinVector(latent.dim, spec.num_classes, conditioning)
        classes = spec.num_classes if conditioning == "norm" else 0
        require(width >= 1, f"width={width} must be at least 1")
        self.dense = dense_output(self.join.width, FIRST * FIRST * width)
        stages = [
            Stage(FIRST << doubling, width, [Block(width, width, norm, "up", classes)])
            for doubling in range(1, doublings(spec, FIRST) + 1)
        ]
        blocks = in_order(stages, attention)
        last = convolution(width, spec.channels, 3)
        nn.init.xavier_uniform_(last.weight)
        self.layers = Layers(*blocks, *normalised(width, norm), nn.ReLU(), last, ToRange(spec.value_range))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        images: Tensor = self.layers(self.dense(self.join(z, labels)).unflatten(1, (-1, FIRST, FIRST)), labels)
        return images


POOLINGS = {"mean": partial(torch.mean, dim=(2, 3)), "sum": partial(torch.sum, dim=(2, 3))}


class ResNetDiscriminator(Discriminator):
    """images (B, C, H, W) and labels (B,) -> raw scores (B,).

    Blocks halve the side down to 8x8, two more blocks keep it.
    pooling: of the last map, mean (WGAN-GP) or sum (SNGAN).
    last_bias: whether the last layer has a bias.

    For 32x32 colour images and width 128: 1,053,825 parameters, one fewer without the last bias (SNGAN).
    conditioning: none, one_hot, embedding, projection or classifier.
    """

    def __init__(
        self,
        spec: ImageSpec,
        width: int = 128,
        norm: str = "none",
        pooling: str = "mean",
        last_bias: bool = True,
        conditioning: str = "none",
        attention: int | None = None,
    ):
        super().__init__()
        self.conditional = check(conditioning, FOR_DISCRIMINATORS, spec) != "none"
        self.join = JoinImages(spec, conditioning)
        require(width >= 1, f"width={width} must be at least 1")
        self.batch_coupled = norm == "batch"
        self.pool = choose("pooling", pooling, POOLINGS)
        downs = [
            Stage(spec.height >> halving, width, [Block(width, width, norm, "down")])
            for halving in range(2, doublings(spec, LAST) + 1)
        ]
        flats = [Block(width, width, norm) for _ in range(2)]
        first = Stage(spec.height >> 1, width, [FirstBlock(self.join.channels, width, norm)])
        self.layers = Layers(*in_order([first, *downs], attention), *flats, nn.ReLU())
        self.head = Head(width, spec.num_classes, conditioning, last_bias)

    def features(self, images: Tensor, labels: Tensor | None) -> Tensor:
        return self.pool(self.layers(self.join(images, labels), labels))
