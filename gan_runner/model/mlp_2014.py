"""MNIST networks of the first GAN (Goodfellow et al. 2014): ReLU generator, maxout discriminator with dropout."""

import itertools

import torch
from torch import Tensor, nn

from gan_runner.model.conditioning import FOR_DISCRIMINATORS, WITHOUT_NORM, Discriminator, Head, JoinVector, check
from gan_runner.model.latent import Latent
from gan_runner.model.layers import Maxout, ToRange, ToUnit
from gan_runner.spec import Batch, ImageSpec

EXTREME = 1e-7  # mean pixels are clamped to [EXTREME, 1 - EXTREME] before their logit is computed, as in pylearn2
GENERATOR_BOUND, DISCRIMINATOR_BOUND = 0.05, 0.005  # uniform initial weights, from the authors' files


def uniform(layer: nn.Linear, bound: float) -> nn.Linear:
    nn.init.uniform_(layer.weight, -bound, bound)
    nn.init.zeros_(layer.bias)
    return layer


@torch.no_grad()
def begin_at_mean(layer: nn.Linear, in_unit_range: Tensor) -> None:
    """Sets the bias of the layer before the final sigmoid to the logit of the mean of the images (N, C, H, W)."""
    layer.bias.copy_(torch.logit(in_unit_range.mean(dim=0).flatten(), eps=EXTREME))


class Generator2014(nn.Module):
    """z (B, Z) and labels (B,) -> images (B, C, H, W) in spec.value_range. 2,503,984 parameters for 28x28x1.

    The initial bias of the last layer is the logit of the mean training image. conditioning: none, one_hot, embedding.
    """

    def __init__(self, spec: ImageSpec, latent: Latent, conditioning: str = "none"):
        super().__init__()
        self.shape = spec.shape
        self.conditional = check(conditioning, WITHOUT_NORM, spec) != "none"
        self.join = JoinVector(latent.dim, spec.num_classes, conditioning)
        self.to_unit = ToUnit(spec.value_range)
        layers: list[nn.Module] = []
        for pair in itertools.pairwise((self.join.width, 1200, 1200)):
            layers += [uniform(nn.Linear(*pair), GENERATOR_BOUND), nn.ReLU()]
        self.last = uniform(nn.Linear(1200, spec.size), GENERATOR_BOUND)
        self.layers = nn.Sequential(*layers, self.last, ToRange(spec.value_range, "sigmoid"))

    def initialize(self, real: Batch) -> None:
        begin_at_mean(self.last, self.to_unit(real.images))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        images: Tensor = self.layers(self.join(z, labels))
        return images.view(-1, *self.shape)


def maxout(width_in: int) -> list[nn.Module]:
    layer = Maxout(width_in, 240, 5)
    uniform(layer.linear, DISCRIMINATOR_BOUND)
    return [layer, nn.Dropout(0.5)]


class Discriminator2014(Discriminator):
    """images (B, C, H, W) and labels (B,) -> raw scores (B,). 1,231,441 parameters for 28x28x1.

    conditioning: none, one_hot, embedding, projection or classifier.
    """

    def __init__(self, spec: ImageSpec, conditioning: str = "none"):
        super().__init__()
        self.conditional = check(conditioning, FOR_DISCRIMINATORS, spec) != "none"
        self.prepare = nn.Sequential(ToUnit(spec.value_range), nn.Flatten(), nn.Dropout(0.2))
        self.join = JoinVector(spec.size, spec.num_classes, conditioning)
        self.layers = nn.Sequential(*maxout(self.join.width), *maxout(240))
        self.head = Head(240, spec.num_classes, conditioning)
        uniform(self.head.score, DISCRIMINATOR_BOUND)

    def features(self, images: Tensor, labels: Tensor | None) -> Tensor:
        features: Tensor = self.layers(self.join(self.prepare(images), labels))
        return features
