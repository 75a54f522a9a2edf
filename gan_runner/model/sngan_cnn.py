"""The standard CNN of SNGAN (Miyato et al. 2018, table 3): 32x32 there, and any square image of a multiple of 8."""

import itertools

from torch import Tensor, nn

from gan_runner.errors import require
from gan_runner.model.latent import Latent
from gan_runner.model.layers import ToRange, initialize_normal
from gan_runner.spec import ImageSpec

WIDTHS = (64, 128, 256, 512)
SHRINKAGE = 8


def smallest_side(spec: ImageSpec) -> int:
    require(
        spec.height == spec.width and spec.height % SHRINKAGE == 0,
        f"sngan_cnn makes square images of a multiple of 8 pixels, the dataset has {spec.height}x{spec.width}; "
        f"use model=mlp or model=dcgan",
    )
    return spec.height // SHRINKAGE


class SNGANGenerator(nn.Module):
    """z (B, Z) -> images (B, C, H, W) in spec.value_range; labels are not used. 3,812,355 parameters for 32x32x3."""

    def __init__(self, spec: ImageSpec, latent: Latent):
        super().__init__()
        self.side = smallest_side(spec)
        self.dense = nn.Linear(latent.dim, WIDTHS[-1] * self.side**2)
        layers: list[nn.Module] = []
        for wide, narrow in itertools.pairwise(reversed(WIDTHS)):
            layers += [nn.ConvTranspose2d(wide, narrow, 4, 2, 1), nn.BatchNorm2d(narrow), nn.ReLU()]
        self.layers = nn.Sequential(
            *layers, nn.Conv2d(WIDTHS[0], spec.channels, 3, padding=1), ToRange(spec.value_range)
        )
        weigh(self)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        images: Tensor = self.layers(self.dense(z).unflatten(1, (-1, self.side, self.side)))
        return images


class SNGANDiscriminator(nn.Module):
    """images (B, C, H, W) -> raw scores (B,); labels are not used. 2,935,873 parameters for 32x32x3.

    No norm: spectral norm comes from the loss.
    """

    def __init__(self, spec: ImageSpec):
        super().__init__()
        side = smallest_side(spec)
        layers: list[nn.Module] = []
        for narrow, wide in itertools.pairwise((spec.channels, *WIDTHS[:-1])):
            layers += [nn.Conv2d(narrow, wide, 3, padding=1), nn.LeakyReLU(0.1)]
            layers += [nn.Conv2d(wide, wide, 4, 2, 1), nn.LeakyReLU(0.1)]
        layers += [nn.Conv2d(WIDTHS[-2], WIDTHS[-1], 3, padding=1), nn.LeakyReLU(0.1)]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(WIDTHS[-1] * side**2, 1))
        weigh(self)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        score: Tensor = self.layers(images)
        return score.squeeze(1)


def weigh(network: nn.Module) -> None:
    """Weights N(0, 0.02), gains N(1, 0.02), biases 0."""
    for module in network.modules():
        if not list(module.children()):
            initialize_normal(module, mean=1.0 if isinstance(module, nn.BatchNorm2d) else 0.0)
