"""Conditional MNIST networks (Mirza & Osindero 2014): separate first layers for the label and for the noise or image.

The article does not give the initial weights. init=uniform uses the small uniform weights of mlp_2014, from the files
that the same group published for its other networks of 2014. In our runs with Adam, the generator made one image for
all labels with init=uniform, and one image per label with init=he (He and Glorot initialisation).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_runner.errors import choose, require
from gan_runner.model.conditioning import Discriminator, Head
from gan_runner.model.latent import Latent
from gan_runner.model.layers import Maxout, ToRange, ToUnit, dense_block, dense_output, glorot
from gan_runner.model.mlp_2014 import DISCRIMINATOR_BOUND, GENERATOR_BOUND, begin_at_mean, uniform
from gan_runner.spec import Batch, ImageSpec

DROPOUT = 0.5  # of every hidden layer
INITS = dict.fromkeys(("he", "uniform"))


class OneHot(nn.Module):
    """labels (B,) -> one-hot vectors (B, classes)."""

    def __init__(self, classes: int):
        super().__init__()
        self.classes = classes

    def forward(self, labels: Tensor) -> Tensor:
        return functional.one_hot(labels, self.classes).float()


def classes_of(spec: ImageSpec) -> int:
    require(spec.num_classes > 0, "mlp_mirza needs labels and the dataset has none; use model=mlp_2014")
    return spec.num_classes


def begin(network: nn.Module, init: str, bound: float) -> None:
    """init=uniform: draws all weights uniformly from [-bound, bound] and sets biases to 0; init=he: changes nothing."""
    choose("init", init, INITS)
    for layer in network.modules():
        if init == "uniform" and isinstance(layer, nn.Linear):
            uniform(layer, bound)


def dense(width_in: int, width_out: int) -> list[nn.Module]:
    return [*dense_block(width_in, width_out, "none", "relu"), nn.Dropout(DROPOUT)]


class MirzaGenerator(nn.Module):
    """z (B, Z) and labels (B,) -> images (B, C, H, W) in spec.value_range.

    2,413,984 parameters for 28x28x1 and ten classes. With init=uniform, the initial bias of the last layer is
    the logit of the mean training image.

    init: he, or the small uniform weights of mlp_2014.
    """

    conditional = True

    def __init__(self, spec: ImageSpec, latent: Latent, init: str = "he"):
        super().__init__()
        self.shape, classes = spec.shape, classes_of(spec)
        self.init, self.to_unit = init, ToUnit(spec.value_range)
        self.noise = nn.Sequential(*dense(latent.dim, 200))
        self.label = nn.Sequential(OneHot(classes), *dense(classes, 1000))
        last = [dense_output(1200, spec.size), ToRange(spec.value_range, "sigmoid")]
        self.joint = nn.Sequential(*dense(200 + 1000, 1200), *last)
        begin(self, init, GENERATOR_BOUND)

    def initialize(self, real: Batch) -> None:
        last = self.joint[-2]
        if self.init == "uniform" and isinstance(last, nn.Linear):
            begin_at_mean(last, self.to_unit(real.images))

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        images: Tensor = self.joint(torch.cat([self.noise(z), self.label(labels)], dim=1))
        return images.view(-1, *self.shape)


def maxout(width_in: int, width_out: int, pieces: int) -> list[nn.Module]:
    layer = Maxout(width_in, width_out, pieces)
    glorot(layer.linear)
    return [layer, nn.Dropout(DROPOUT)]


class MirzaDiscriminator(Discriminator):
    """images (B, C, H, W) and labels (B,) -> raw scores (B,). 1,224,351 parameters for 28x28x1 and ten classes.

    init: he, or the small uniform weights of mlp_2014.
    """

    conditional = True

    def __init__(self, spec: ImageSpec, init: str = "he"):
        super().__init__()
        classes = classes_of(spec)
        self.image = nn.Sequential(ToUnit(spec.value_range), nn.Flatten(), *maxout(spec.size, 240, 5))
        self.label = nn.Sequential(OneHot(classes), *maxout(classes, 50, 5))
        self.joint = nn.Sequential(*maxout(240 + 50, 240, 4))
        self.head = Head(240, classes, "none")
        begin(self, init, DISCRIMINATOR_BOUND)

    def features(self, images: Tensor, labels: Tensor | None) -> Tensor:
        features: Tensor = self.joint(torch.cat([self.image(images), self.label(labels)], dim=1))
        return features
