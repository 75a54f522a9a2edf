"""The standard CNN of SNGAN (Miyato et al. 2018, table 3; 32x32), for square images with a side that 8 divides."""

import itertools

from torch import Tensor, nn

from gan_runner.model.conditioning import (
    FOR_DISCRIMINATORS,
    FOR_GENERATORS,
    ConditionalBatchNorm,
    Discriminator,
    Head,
    JoinImages,
    JoinVector,
    Layers,
    check,
)
from gan_runner.model.latent import Latent
from gan_runner.model.layers import ToRange, initialize_normal
from gan_runner.model.sizes import check_size
from gan_runner.spec import ImageSpec

WIDTHS = (64, 128, 256, 512)
SHRINKAGE = 8
LARGEST = 1024  # pixels


def smallest_side(spec: ImageSpec) -> int:
    check_size("sngan_cnn", spec, range(SHRINKAGE, LARGEST + 1, SHRINKAGE), "a multiple of 8 pixels")
    return spec.height // SHRINKAGE


class SNGANGenerator(nn.Module):
    """z (B, Z) and labels (B,) -> images (B, C, H, W) in spec.value_range. 3,812,355 parameters for 32x32x3.

    conditioning: none, one_hot, embedding, or norm (the label sets gain and shift of every batch norm).
    """

    def __init__(self, spec: ImageSpec, latent: Latent, conditioning: str = "none"):
        super().__init__()
        self.side = smallest_side(spec)
        self.conditional = check(conditioning, FOR_GENERATORS, spec) != "none"
        self.join = JoinVector(latent.dim, spec.num_classes, conditioning)
        self.dense = nn.Linear(self.join.width, WIDTHS[-1] * self.side**2)
        layers: list[nn.Module] = []
        for wide, narrow in itertools.pairwise(reversed(WIDTHS)):
            labelled = ConditionalBatchNorm(narrow, spec.num_classes, images=True) if conditioning == "norm" else None
            layers += [nn.ConvTranspose2d(wide, narrow, 4, 2, 1), labelled or nn.BatchNorm2d(narrow), nn.ReLU()]
        self.layers = Layers(*layers, nn.Conv2d(WIDTHS[0], spec.channels, 3, padding=1), ToRange(spec.value_range))
        weigh(self)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        images: Tensor = self.layers(self.dense(self.join(z, labels)).unflatten(1, (-1, self.side, self.side)), labels)
        return images


class SNGANDiscriminator(Discriminator):
    """images (B, C, H, W) and labels (B,) -> raw scores (B,). 2,935,873 parameters for 32x32x3.

    The network has no norm; spectral norm is a setting of the loss.
    conditioning: none, one_hot, embedding, projection or classifier.
    """

    def __init__(self, spec: ImageSpec, conditioning: str = "none"):
        super().__init__()
        side = smallest_side(spec)
        self.conditional = check(conditioning, FOR_DISCRIMINATORS, spec) != "none"
        self.join = JoinImages(spec, conditioning)
        layers: list[nn.Module] = []
        for narrow, wide in itertools.pairwise((self.join.channels, *WIDTHS[:-1])):
            layers += [nn.Conv2d(narrow, wide, 3, padding=1), nn.LeakyReLU(0.1)]
            layers += [nn.Conv2d(wide, wide, 4, 2, 1), nn.LeakyReLU(0.1)]
        layers += [nn.Conv2d(WIDTHS[-2], WIDTHS[-1], 3, padding=1), nn.LeakyReLU(0.1)]
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.head = Head(WIDTHS[-1] * side**2, spec.num_classes, conditioning)
        weigh(self)

    def features(self, images: Tensor, labels: Tensor | None) -> Tensor:
        features: Tensor = self.layers(self.join(images, labels))
        return features


def weigh(network: nn.Module) -> None:
    """Initialises weights from N(0, 0.02), gains from N(1, 0.02), biases to 0."""
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | nn.BatchNorm2d):
            initialize_normal(module, mean=1.0 if isinstance(module, nn.BatchNorm2d) else 0.0)
