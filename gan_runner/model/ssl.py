"""Networks for semi-supervised learning (Salimans et al. 2016): weight norm initialised from data, and noise layers."""

import itertools
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import is_parametrized

from gan_runner.errors import choose
from gan_runner.model.conditioning import CLASS_OUTPUTS, ClassHead, Discriminator, ScoreHead, class_logits
from gan_runner.model.latent import Latent
from gan_runner.model.layers import ToRange, ToUnit, glorot
from gan_runner.model.sizes import check_size
from gan_runner.noise import Noise
from gan_runner.spec import Batch, ImageSpec

Weighted = nn.Linear | nn.Conv2d | nn.ConvTranspose2d

SHOWN = 500  # images, or latents, for the data-dependent initialisation
EPS = 1e-6
SHRINKAGE, SMALLEST, LARGEST = 8, 16, 1024  # sides of images: multiples of the first, in this range
WIDTHS = (512, 256, 128)


def normalised(layer: Weighted, learned: bool = False) -> Weighted:
    """Returns the layer with w = g v / |v| per output, initially g = 1; the authors learn g only in last layers."""
    made: Weighted = weight_norm(layer, dim=1 if isinstance(layer, nn.ConvTranspose2d) else 0)
    nn.init.ones_(scale_of(made)).requires_grad_(learned)
    nn.init.zeros_(made.get_parameter("bias"))
    return made


def scale_of(layer: nn.Module) -> Tensor:
    """Returns g, one value for each output."""
    return layer.get_parameter("parametrizations.weight.original0")


@torch.no_grad()
def settle(layers: Iterable[nn.Module], x: Tensor, spread: float = 1.0) -> Tensor:
    """Sets scale and bias of each normalised layer so that its outputs for x have mean 0 and std `spread`.

    Returns the outputs of the last layer (Salimans and Kingma 2016, equation 6).
    """
    for layer in layers:
        if is_parametrized(layer):
            y = layer(x)
            over = (0, *range(2, y.dim()))
            mean, deviation = y.mean(over), y.std(over, correction=0)
            factor = torch.where(deviation > 0, spread / deviation, torch.ones_like(deviation))
            scale = scale_of(layer)
            scale.mul_(factor.view_as(scale))
            layer.get_parameter("bias").copy_(-mean * factor)
        x = layer(x)
    return x


def shifted(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> nn.Module:
    """Freezes the gain of a batch norm at its value, and returns the layer: only the shift is learned."""
    norm.weight.requires_grad_(False)
    return norm


class GaussianNoise(nn.Module):
    """x + N(0, deviation^2) in training mode, else x."""

    random = True

    def __init__(self, deviation: float):
        super().__init__()
        self.deviation = deviation

    def forward(self, x: Tensor) -> Tensor:
        return x + self.deviation * torch.randn_like(x) if self.training else x

    def extra_repr(self) -> str:
        return f"deviation={self.deviation}"


def head(width: int, spec: ImageSpec, output: str, before: nn.Module) -> ScoreHead | ClassHead:
    """Returns a head with one normalised layer, for output=score, classes or classes_and_fake."""
    choose("output", output, {"score": None, **CLASS_OUTPUTS})
    outputs = 1 if output == "score" else class_logits(spec, output, "none")
    last = nn.Linear(width, outputs)
    nn.init.normal_(last.weight, std=0.1)
    layer = nn.Sequential(before, normalised(last, learned=True))
    return ScoreHead(layer) if output == "score" else ClassHead(layer, spec.num_classes)


class SemiSupervisedMLPGenerator(nn.Module):
    """z (B, Z) -> images (B, C, H, W) in spec.value_range. Two softplus layers of 500 with batch norm."""

    def __init__(self, spec: ImageSpec, latent: Latent):
        super().__init__()
        self.shape = spec.shape
        layers: list[nn.Module] = []
        for pair in itertools.pairwise((latent.dim, 500, 500)):
            norm = shifted(nn.BatchNorm1d(pair[1], eps=EPS))
            layers += [glorot(nn.Linear(*pair, bias=False)), norm, nn.Softplus()]
        last = normalised(glorot(nn.Linear(500, spec.size)), learned=True)
        self.layers = nn.Sequential(*layers, last, ToRange(spec.value_range, "sigmoid"))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        images: Tensor = self.layers(z)
        return images.view(-1, *self.shape)


class SemiSupervisedMLPDiscriminator(Discriminator):
    """images (B, C, H, W) -> raw scores (B,). Five ReLU layers, noise before each of them and before the last layer.

    1,538,760 weights and biases for 28x28x1 and ten classes. output: score, classes or classes_and_fake.
    """

    head: ScoreHead | ClassHead

    def __init__(self, spec: ImageSpec, output: str = "score"):
        super().__init__()
        layers: list[nn.Module] = [ToUnit(spec.value_range), nn.Flatten(), GaussianNoise(0.3)]
        for pair in itertools.pairwise((spec.size, 1000, 500, 250, 250, 250)):
            layer = nn.Linear(*pair)
            nn.init.normal_(layer.weight, std=0.1)
            layers += [normalised(layer), nn.ReLU(), GaussianNoise(0.5)]
        self.layers = nn.Sequential(*layers[:-1])
        self.head = head(250, spec, output, layers[-1])

    def initialize(self, real: Batch) -> None:
        settle(self.head.layer, settle(self.layers, real.images[:SHOWN]))

    def features(self, images: Tensor, labels: Tensor | None) -> Tensor:
        features: Tensor = self.layers(images)
        return features


def smallest_side(spec: ImageSpec) -> int:
    side = spec.height
    check_size("ssl_cnn", spec, range(SMALLEST, LARGEST + 1, SHRINKAGE), "a multiple of 8 pixels from 16 on")
    return side // SHRINKAGE


class SemiSupervisedCNNGenerator(nn.Module):
    """z (B, Z) -> images (B, C, H, W) in spec.value_range. 5x5 kernels, batch norm, ReLU, tanh."""

    def __init__(self, spec: ImageSpec, latent: Latent):
        super().__init__()
        self.latent, self.side = latent, smallest_side(spec)
        width = WIDTHS[0] * self.side**2
        self.dense = nn.Sequential(nn.Linear(latent.dim, width, bias=False), shifted(nn.BatchNorm1d(width, eps=EPS)))
        layers: list[nn.Module] = [nn.ReLU()]
        for wide, narrow in itertools.pairwise(WIDTHS):
            norm = shifted(nn.BatchNorm2d(narrow, eps=EPS))
            layers += [doubling(wide, narrow, bias=False), norm, nn.ReLU()]
        last = doubling(WIDTHS[-1], spec.channels, bias=True)
        for layer in (self.dense[0], *layers, last):
            if isinstance(layer, Weighted):
                nn.init.normal_(layer.weight, std=0.05)
        self.layers = nn.Sequential(*layers)
        self.last = nn.Sequential(normalised(last, learned=True), ToRange(spec.value_range))

    def initialize(self, real: Batch) -> None:
        z = self.latent.sample(Noise(("initialization",), SHOWN, real.images.device))
        with torch.no_grad():
            settle(self.last, self.maps(z), spread=0.1)

    def maps(self, z: Tensor) -> Tensor:
        images: Tensor = self.layers(self.dense(z).unflatten(1, (-1, self.side, self.side)))
        return images

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        images: Tensor = self.last(self.maps(z))
        return images


def doubling(wide: int, narrow: int, bias: bool) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(wide, narrow, 5, 2, 2, output_padding=1, bias=bias)


class SemiSupervisedCNNDiscriminator(Discriminator):
    """images (B, C, H, W) -> raw scores (B,). Nine convolutions, LeakyReLU 0.2, dropout, the mean over all positions.

    output: score, classes or classes_and_fake.
    """

    head: ScoreHead | ClassHead

    def __init__(self, spec: ImageSpec, output: str = "score"):
        super().__init__()
        smallest_side(spec)
        table = (  # channels in and out, kernel, stride, padding
            *((spec.channels, 96, 3, 1, 1), (96, 96, 3, 1, 1), (96, 96, 3, 2, 1)),
            *((96, 192, 3, 1, 1), (192, 192, 3, 1, 1), (192, 192, 3, 2, 1)),
            *((192, 192, 3, 1, 0), (192, 192, 1, 1, 0), (192, 192, 1, 1, 0)),
        )
        layers: list[nn.Module] = []
        for number, row in enumerate(table):
            if number % 3 == 0:
                layers.append(nn.Dropout(0.5 if number else 0.2))
            layer = nn.Conv2d(*row)
            nn.init.normal_(layer.weight, std=0.05)
            layers += [normalised(layer), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = head(192, spec, output, nn.Identity())

    def initialize(self, real: Batch) -> None:
        settle(self.head.layer, settle(self.layers, real.images[:SHOWN]), spread=0.1)

    def features(self, images: Tensor, labels: Tensor | None) -> Tensor:
        features: Tensor = self.layers(images)
        return features
