"""Residual networks of WGAN-GP (Gulrajani et al. 2017, appendix F) and SNGAN (Miyato et al. 2018), 32 to 128 pixels."""

from functools import partial

import torch
from torch import Tensor, nn

from gan_runner.errors import choose, require
from gan_runner.model.latent import Latent
from gan_runner.model.layers import IMAGE_NORMS, ToRange, dense_output
from gan_runner.spec import ImageSpec

SMALLEST, LARGEST = 32, 128  # pixels
FIRST = 4  # side of the generator's first map
LAST = 8  # side of the discriminator's last maps


def doublings(spec: ImageSpec, smallest: int) -> int:
    size = spec.height
    fits = spec.height == spec.width and SMALLEST <= size <= LARGEST and size & (size - 1) == 0
    require(
        fits,
        f"resnet makes square images of 32, 64 or 128 pixels, the dataset has {spec.height}x{spec.width}; "
        f"use model=mlp, or model=dcgan for smaller ones",
    )
    return (size // smallest).bit_length() - 1


def convolution(width_in: int, width_out: int, kernel: int) -> nn.Conv2d:
    """Same size. He initialisation for 3x3, Glorot for 1x1, zero biases, as the authors have it."""
    layer = nn.Conv2d(width_in, width_out, kernel, padding=kernel // 2)
    nn.init.xavier_uniform_(layer.weight, gain=2**0.5 if kernel == 3 else 1.0)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def normalised(width: int, norm: str) -> list[nn.Module]:
    make_norm = choose("norm", norm, IMAGE_NORMS)
    return [] if make_norm is None else [make_norm(width)]


class Block(nn.Module):
    """x + residual, before its activation: [norm] ReLU conv [norm] ReLU conv, resized up or down on both ways."""

    def __init__(self, width_in: int, width_out: int, norm: str, resize: str = "same"):
        super().__init__()
        up = [nn.Upsample(scale_factor=2, mode="nearest")] if resize == "up" else []
        down = [nn.AvgPool2d(2)] if resize == "down" else []
        self.residual = nn.Sequential(
            *(*normalised(width_in, norm), nn.ReLU(), *up, convolution(width_in, width_out, 3)),
            *(*normalised(width_out, norm), nn.ReLU(), convolution(width_out, width_out, 3), *down),
        )
        learned = width_in != width_out or resize != "same"
        shortcut = [*up, convolution(width_in, width_out, 1), *down] if learned else []
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.shortcut(x) + self.residual(x)
        return y


class FirstBlock(nn.Module):
    """Of the discriminator: the images themselves come before any activation; pooled first on the shortcut."""

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
    """z (B, Z) -> images (B, C, H, W) in spec.value_range; labels are not used.

    For 32x32 colour images 1,204,483 parameters with width 128 (WGAN-GP), 4,276,739 with 256 (SNGAN). Upsampled before
    the first convolution of a block, as in both authors' code.
    """

    def __init__(self, spec: ImageSpec, latent: Latent, width: int = 128, norm: str = "batch"):
        super().__init__()
        require(width >= 1, f"width={width} must be at least 1")
        self.dense = dense_output(latent.dim, FIRST * FIRST * width)
        blocks = [Block(width, width, norm, "up") for _ in range(doublings(spec, FIRST))]
        last = convolution(width, spec.channels, 3)
        nn.init.xavier_uniform_(last.weight)
        self.layers = nn.Sequential(*blocks, *normalised(width, norm), nn.ReLU(), last, ToRange(spec.value_range))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        images: Tensor = self.layers(self.dense(z).unflatten(1, (-1, FIRST, FIRST)))
        return images


POOLINGS = {"mean": partial(torch.mean, dim=(2, 3)), "sum": partial(torch.sum, dim=(2, 3))}


class ResNetDiscriminator(nn.Module):
    """images (B, C, H, W) -> raw scores (B,); labels are not used.

    Blocks halve the image down to 8x8, two more keep it. pooling of the last map: mean (WGAN-GP) or sum (SNGAN).
    For 32x32 colour images and width 128: 1,053,825 parameters, one less without the last bias (SNGAN).
    """

    def __init__(
        self, spec: ImageSpec, width: int = 128, norm: str = "none", pooling: str = "mean", last_bias: bool = True
    ):
        super().__init__()
        require(width >= 1, f"width={width} must be at least 1")
        self.batch_coupled = norm == "batch"
        self.pool = choose("pooling", pooling, POOLINGS)
        downs = [Block(width, width, norm, "down") for _ in range(doublings(spec, LAST) - 1)]
        flats = [Block(width, width, norm) for _ in range(2)]
        self.layers = nn.Sequential(FirstBlock(spec.channels, width, norm), *downs, *flats, nn.ReLU())
        self.score = nn.Linear(width, 1, bias=last_bias)
        nn.init.xavier_uniform_(self.score.weight)
        if last_bias:
            nn.init.zeros_(self.score.bias)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        score: Tensor = self.score(self.pool(self.layers(images)))
        return score.squeeze(1)
