"""The MLP of many beginners' tutorials: two hidden layers of 128 units with ReLU, a sigmoid, pixels in [0, 1]."""

import itertools

from torch import Tensor, nn

from gan_runner.model.conditioning import FOR_DISCRIMINATORS, WITHOUT_NORM, Discriminator, Head, JoinVector, check
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
    """z (B, Z) and labels (B,) -> images (B, C, H, W) in spec.value_range. 130,576 parameters for 28x28x1.

    conditioning: none, one_hot or embedding.
    """

    def __init__(self, spec: ImageSpec, latent: Latent, conditioning: str = "none"):
        super().__init__()
        self.shape = spec.shape
        self.conditional = check(conditioning, WITHOUT_NORM, spec) != "none"
        self.join = JoinVector(latent.dim, spec.num_classes, conditioning)
        last = glorot(nn.Linear(WIDTHS[-1], spec.size))
        self.layers = nn.Sequential(*hidden(self.join.width), last, ToRange(spec.value_range, "sigmoid"))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        images: Tensor = self.layers(self.join(z, labels))
        return images.view(-1, *self.shape)


class SmallDiscriminator(Discriminator):
    """images (B, C, H, W) and labels (B,) -> raw scores (B,). 117,121 parameters for 28x28x1.

    conditioning: none, one_hot, embedding, projection or classifier.
    """

    def __init__(self, spec: ImageSpec, conditioning: str = "none"):
        super().__init__()
        self.conditional = check(conditioning, FOR_DISCRIMINATORS, spec) != "none"
        self.to_unit = ToUnit(spec.value_range)
        self.join = JoinVector(spec.size, spec.num_classes, conditioning)
        self.layers = nn.Sequential(*hidden(self.join.width))
        self.head = Head(WIDTHS[-1], spec.num_classes, conditioning)

    def features(self, images: Tensor, labels: Tensor | None) -> Tensor:
        features: Tensor = self.layers(self.join(self.to_unit(images).flatten(1), labels))
        return features
