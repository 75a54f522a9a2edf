"""The DCGAN in WGAN-GP's MNIST code (Gulrajani et al. 2017): 5x5 kernels, pixels in [0, 1]; for 28x28 and 32x32."""

import itertools

from torch import Tensor, nn

from gan_runner.errors import require
from gan_runner.model.conditioning import (
    FOR_DISCRIMINATORS,
    WITHOUT_NORM,
    Discriminator,
    Head,
    JoinImages,
    JoinVector,
    check,
)
from gan_runner.model.latent import Latent
from gan_runner.model.layers import ToRange, ToUnit, glorot
from gan_runner.model.sizes import check_size
from gan_runner.spec import ImageSpec

WIDTHS = (64, 128, 256)
FIRST = 4  # side of the smallest map


def he(layer: nn.Conv2d | nn.ConvTranspose2d) -> nn.Module:
    """Initialises weights uniformly with variance 4 / (fan in + fan out), biases to 0; returns the layer.

    As in the authors' code, the fan on the side of the smaller map is divided by the squared stride.
    """
    large, small = layer.in_channels, layer.out_channels  # channels of the larger and of the smaller map
    if isinstance(layer, nn.ConvTranspose2d):
        large, small = small, large
    fans = layer.kernel_size[0] ** 2 * (large + small / layer.stride[0] ** 2)
    bound = (3 * 4 / fans) ** 0.5
    nn.init.uniform_(layer.weight, -bound, bound)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


class DCGANOfWGANGPGenerator(nn.Module):
    """z (B, Z) and labels (B,) -> images (B, C, H, W) in spec.value_range.

    1,554,177 parameters for 28x28x1 and Z 128. norm: none, or batch, which the authors used with weight clipping.
    conditioning: none, one_hot or embedding.
    """

    def __init__(self, spec: ImageSpec, latent: Latent, norm: str = "none", conditioning: str = "none"):
        super().__init__()
        check_size("dcgan_wgan_gp", spec, (28, 32), "28 or 32 pixels")
        self.conditional = check(conditioning, WITHOUT_NORM, spec) != "none"
        self.join = JoinVector(latent.dim, spec.num_classes, conditioning)
        self.crop = 7 if spec.height == 28 else 8  # side that the second map, 8x8, is cropped to
        batch = norm_is_batch(norm)
        self.dense = nn.Sequential(
            glorot(nn.Linear(self.join.width, WIDTHS[-1] * FIRST**2)),
            *([nn.BatchNorm1d(WIDTHS[-1] * FIRST**2)] if batch else []),
            nn.ReLU(),
        )
        first, *rest = itertools.pairwise((*WIDTHS[::-1], spec.channels))
        self.first = nn.Sequential(he(doubling(*first)), *([nn.BatchNorm2d(first[1])] if batch else []))
        layers: list[nn.Module] = []
        for wide, narrow in rest:
            norms: list[nn.Module] = [nn.BatchNorm2d(narrow)] if batch and narrow != spec.channels else []
            layers += [nn.ReLU(), he(doubling(wide, narrow)), *norms]
        self.layers = nn.Sequential(*layers, ToRange(spec.value_range, "sigmoid"))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        maps = self.first(self.dense(self.join(z, labels)).unflatten(1, (-1, FIRST, FIRST)))
        images: Tensor = self.layers(maps[:, :, : self.crop, : self.crop])
        return images


class DCGANOfWGANGPDiscriminator(Discriminator):
    """images (B, C, H, W) and labels (B,) -> raw scores (B,). 1,030,145 parameters for 28x28x1.

    norm: none, or batch after the second and the third layer, which the authors used with weight clipping.
    conditioning: none, one_hot, embedding, projection or classifier.
    """

    def __init__(self, spec: ImageSpec, norm: str = "none", conditioning: str = "none"):
        super().__init__()
        check_size("dcgan_wgan_gp", spec, (28, 32), "28 or 32 pixels")
        self.conditional = check(conditioning, FOR_DISCRIMINATORS, spec) != "none"
        self.to_unit = ToUnit(spec.value_range)
        self.join = JoinImages(spec, conditioning)
        batch = norm_is_batch(norm)
        layers: list[nn.Module] = []
        for narrow, wide in itertools.pairwise((self.join.channels, *WIDTHS)):
            norms: list[nn.Module] = [nn.BatchNorm2d(wide)] if batch and wide != WIDTHS[0] else []
            layers += [he(nn.Conv2d(narrow, wide, 5, 2, 2)), *norms, nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.head = Head(WIDTHS[-1] * FIRST**2, spec.num_classes, conditioning)

    def features(self, images: Tensor, labels: Tensor | None) -> Tensor:
        features: Tensor = self.layers(self.join(self.to_unit(images), labels))
        return features


def norm_is_batch(norm: str) -> bool:
    require(norm in ("none", "batch"), f"norm={norm} is none of none, batch")
    return norm == "batch"


def doubling(wide: int, narrow: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(wide, narrow, 5, 2, 2, output_padding=1)
