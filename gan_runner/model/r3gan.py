"""R3GAN's networks (Huang et al. 2024): grouped residual blocks without a norm; sizes are powers of two, 8 to 256."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_runner.errors import require
from gan_runner.model.conditioning import (
    FOR_DISCRIMINATORS,
    WITHOUT_NORM,
    Discriminator,
    Head,
    Heads,
    JoinImages,
    JoinVector,
    check,
)
from gan_runner.model.latent import Latent
from gan_runner.model.sizes import check_size
from gan_runner.spec import ImageSpec

FIRST = 4  # side of the smallest map
SLOPE = 0.2
EXPANSION = 2


def stages(spec: ImageSpec) -> int:
    """Returns the number of resolutions from 4x4 to that of the images."""
    size = spec.height
    check_size("r3gan", spec, [8, 16, 32, 64, 128, 256], "a power of two from 8 to 256 pixels")
    return (size // FIRST).bit_length()


def convolution(width_in: int, width_out: int, kernel: int, groups: int = 1, gain: float = 1.0) -> nn.Conv2d:
    """Returns a convolution without a bias, with weights from N(0, gain^2 / fan_in)."""
    layer = nn.Conv2d(width_in, width_out, kernel, padding=kernel // 2, groups=groups, bias=False)
    nn.init.normal_(layer.weight, std=gain / (width_in // groups * kernel**2) ** 0.5)
    return layer


class BiasedLeakyReLU(nn.Module):
    """LeakyReLU of x plus a bias for each channel."""

    def __init__(self, width: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return functional.leaky_relu(x + self.bias[:, None, None].to(x.dtype), SLOPE)


class Block(nn.Module):
    """x + 1x1 act 3x3 act 1x1; the last convolution is initially zero, so that the block is initially the identity."""

    def __init__(self, width: int, groups: int, depth: int):
        super().__init__()
        inner = EXPANSION * width
        gain = (2 / (1 + SLOPE**2)) ** 0.5 * depth**-0.25  # depth^(-1 / (2 m - 2)) of Fixup, m = 3 layers
        last = convolution(inner, width, 1)
        nn.init.zeros_(last.weight)
        self.residual = nn.Sequential(
            *(convolution(width, inner, 1, gain=gain), BiasedLeakyReLU(inner)),
            *(convolution(inner, inner, 3, groups, gain), BiasedLeakyReLU(inner)),
            last,
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.residual(x)
        return y


class Resample(nn.Module):
    """Doubles or halves the side with the filter [1, 2, 1], as StyleGAN's upfirdn2d."""

    kernel: Tensor

    def __init__(self, up: bool):
        super().__init__()
        self.up = up
        taps = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("kernel", (4 if up else 1) * torch.outer(taps, taps), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        kernel = self.kernel.to(x.dtype).expand(channels, 1, 3, 3)
        if self.up:
            return functional.conv_transpose2d(x, kernel, stride=2, groups=channels)[:, :, :-1, :-1]
        return functional.conv2d(functional.pad(x, (1, 0, 1, 0)), kernel, stride=2, groups=channels)


def check_widths(width: int, blocks: int, groups: int) -> None:
    require(blocks >= 1, f"blocks={blocks} must be at least 1")
    require(
        width >= 1 and groups >= 1 and EXPANSION * width % groups == 0,
        f"groups={groups} must divide {EXPANSION} times width={width}",
    )


def stage(width: int, blocks: int, groups: int, depth: int) -> list[nn.Module]:
    return [Block(width, groups, depth) for _ in range(blocks)]


class R3GANGenerator(nn.Module):
    """z (B, Z) and labels (B,) -> images (B, C, H, W), with no final activation that bounds them to spec.value_range.

    20,732,160 parameters for 32x32x3 with Z 64. conditioning: none, one_hot, or
    embedding as in the authors' code (20,781,952 parameters for ten classes).
    """

    unbounded = True

    def __init__(
        self,
        spec: ImageSpec,
        latent: Latent,
        width: int = 768,
        blocks: int = 2,
        groups: int = 96,
        conditioning: str = "none",
    ):
        super().__init__()
        self.conditional = check(conditioning, WITHOUT_NORM, spec) != "none"
        self.join = JoinVector(latent.dim, spec.num_classes, conditioning)
        check_widths(width, blocks, groups)
        count = stages(spec)
        self.basis = nn.Parameter(torch.randn(width, FIRST, FIRST))
        self.dense = nn.Linear(self.join.width, width, bias=False)
        nn.init.normal_(self.dense.weight, std=self.join.width**-0.5)
        layers = stage(width, blocks, groups, count * blocks)
        for _ in range(count - 1):
            layers += [Resample(up=True), *stage(width, blocks, groups, count * blocks)]
        self.layers = nn.Sequential(*layers, convolution(width, spec.channels, 1))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        images: Tensor = self.layers(self.basis * self.dense(self.join(z, labels))[:, :, None, None])
        return images


class R3GANDiscriminator(Discriminator):
    """images (B, C, H, W) and labels (B,) -> raw scores (B,). 20,683,776 parameters for 32x32x3.

    conditioning: none, one_hot, embedding, classifier, or projection, as in the authors' code: the score is only the
    product of `width` linear features with the label's embedding (21,280,512 parameters for ten classes).
    """

    def __init__(
        self, spec: ImageSpec, width: int = 768, blocks: int = 2, groups: int = 96, conditioning: str = "none"
    ):
        super().__init__()
        self.conditional = check(conditioning, FOR_DISCRIMINATORS, spec) != "none"
        self.join = JoinImages(spec, conditioning)
        check_widths(width, blocks, groups)
        count = stages(spec)
        layers: list[nn.Module] = [convolution(self.join.channels, width, 1)]
        for _ in range(count - 1):
            layers += [*stage(width, blocks, groups, count * blocks), Resample(up=False)]
        layers += stage(width, blocks, groups, count * blocks)
        pooled = nn.Conv2d(width, width, FIRST, groups=width, bias=False)
        nn.init.normal_(pooled.weight, std=1 / FIRST)
        self.layers = nn.Sequential(*layers, pooled, nn.Flatten())
        if conditioning == "projection":
            self.head = ProjectionAlone(width, spec.num_classes)
        else:
            self.head = Head(width, spec.num_classes, conditioning, bias=False)
            nn.init.normal_(self.head.score.weight, std=width**-0.5)

    def features(self, images: Tensor, labels: Tensor | None) -> Tensor:
        features: Tensor = self.layers(self.join(images, labels))
        return features


class ProjectionAlone(nn.Module):
    """features (B, F) and labels (B,) -> Heads; score: product of a linear map of the features and an embedding."""

    def __init__(self, width: int, classes: int):
        super().__init__()
        self.linear, self.embedding = nn.Linear(width, width, bias=False), nn.Embedding(classes, width)
        for layer in (self.linear, self.embedding):
            nn.init.normal_(layer.weight, std=width**-0.5)

    def forward(self, features: Tensor, labels: Tensor | None, images: Tensor) -> Heads:
        return Heads((self.linear(features) * self.embedding(labels)).sum(1), features, None)
