"""The MLP of many first tutorials: two hidden layers of 128 with ReLU, a sigmoid, pixels in [0, 1]."""

import itertools

from torch import Tensor, nn

from gan_runner.model.latent import Latent
from gan_runner.model.layers import ToRange, ToUnit, glorot
from gan_runner.spec import ImageSpec

WIDTHS = (128, 128)


def hidden(width_in: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for pair in itertools.pairwise((width_in, *WIDTHS)):
        layers += [glorot(nn.Linear(*pair)), nn.ReLU()]
    return layers


class SmallGenerator(nn.Module):
    """z (B, Z) -> images (B, C, H, W) in spec.value_range; labels are not used. 130,576 parameters for 28x28x1."""

    def __init__(self, spec: ImageSpec, latent: Latent):
        super().__init__()
        self.shape = spec.shape
        last = glorot(nn.Linear(WIDTHS[-1], spec.size))
        self.layers = nn.Sequential(*hidden(latent.dim), last, ToRange(spec.value_range, "sigmoid"))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        images: Tensor = self.layers(z)
        return images.view(-1, *self.shape)


class SmallDiscriminator(nn.Module):
    """images (B, C, H, W) -> raw scores (B,); labels are not used. 117,121 parameters for 28x28x1."""

    def __init__(self, spec: ImageSpec):
        super().__init__()
        last = glorot(nn.Linear(WIDTHS[-1], 1))
        self.layers = nn.Sequential(ToUnit(spec.value_range), nn.Flatten(), *hidden(spec.size), last)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        score: Tensor = self.layers(images)
        return score.squeeze(1)
