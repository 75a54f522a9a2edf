"""Conditional DCGAN for MNIST (Radford et al. 2016, table 3): the label is appended to the input of every layer.

Settings of the authors' code: 5x5 kernels, no biases, batch norm without gain and shift, weights N(0, 0.02). Their
batch norm uses batch statistics for sampling too; this package samples with statistics estimated from 16 batches.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_runner.errors import choose, require
from gan_runner.model.conditioning import Discriminator, Head
from gan_runner.model.latent import Latent
from gan_runner.model.layers import ToRange, ToUnit
from gan_runner.spec import ImageSpec

WIDTH, DENSE = 64, 1024  # channels of the layer next to the image; units of the dense layer
EPS = 1e-8  # epsilon of batch norm in their code

# (normalisation of feature maps, normalisation of vectors), all without gain and shift.
NORMS: dict[str, tuple[Callable[[int], nn.Module], Callable[[int], nn.Module]]] = {
    "batch": (partial(nn.BatchNorm2d, eps=EPS, affine=False), partial(nn.BatchNorm1d, eps=EPS, affine=False)),
    "layer": (partial(nn.GroupNorm, 1, affine=False), partial(nn.LayerNorm, elementwise_affine=False)),
    "none": (nn.Identity, nn.Identity),
}


class JoinLabel(nn.Module):
    """x (B, F) or (B, C, H, W) and labels (B,) -> x with the one-hot label appended to the features or channels."""

    def __init__(self, classes: int):
        super().__init__()
        self.classes = classes

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        one_hot = functional.one_hot(labels, self.classes).to(x.dtype)
        maps = one_hot.view(*one_hot.shape, *(1,) * (x.dim() - 2)).expand(-1, -1, *x.shape[2:])
        return torch.cat([x, maps], dim=1)


def small(layer: nn.Module) -> nn.Module:
    nn.init.normal_(layer.weight, 0.0, 0.02)  # type: ignore[arg-type]
    return layer


def checked(spec: ImageSpec) -> tuple[int, int, int]:
    """Checks the spec. Returns the number of classes, and height and width of the smallest feature maps."""
    require(spec.num_classes > 0, "dcgan_conditional needs labels and the dataset has none; use model=dcgan")
    quarters = spec.height % 4 == 0 == spec.width % 4
    require(quarters, f"dcgan_conditional halves images twice, and {spec.height}x{spec.width} cannot be; use model=mlp")
    return spec.num_classes, spec.height // 4, spec.width // 4


class ConditionalDCGANGenerator(nn.Module):
    """z (B, Z) and labels (B,) -> images (B, C, H, W) in spec.value_range.

    6,820,538 parameters for 28x28x1 and ten classes.
    """

    conditional = True

    def __init__(self, spec: ImageSpec, latent: Latent):
        super().__init__()
        classes, height, width = checked(spec)
        self.join, self.smallest = JoinLabel(classes), (2 * WIDTH, height, width)
        first = 2 * WIDTH * height * width
        self.dense = nn.ModuleList(
            small(nn.Linear(size + classes, out, bias=False)) for size, out in ((latent.dim, DENSE), (DENSE, first))
        )
        self.upsample = nn.ModuleList(
            small(nn.ConvTranspose2d(channels + classes, out, 5, 2, 2, output_padding=1, bias=False))
            for channels, out in ((2 * WIDTH, WIDTH), (WIDTH, spec.channels))
        )
        sizes = (DENSE, first)
        self.norms = nn.ModuleList(nn.BatchNorm1d(size, eps=EPS, affine=False) for size in sizes)
        self.norm = nn.BatchNorm2d(WIDTH, eps=EPS, affine=False)
        self.to_range = ToRange(spec.value_range, "sigmoid")

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        x = z
        for layer, norm in zip(self.dense, self.norms, strict=True):
            x = norm(layer(self.join(x, labels))).relu()
        x = self.upsample[0](self.join(x.unflatten(1, self.smallest), labels))
        x = self.upsample[1](self.join(self.norm(x).relu(), labels))
        images: Tensor = self.to_range(x)
        return images


class ConditionalDCGANDiscriminator(Discriminator):
    """images (B, C, H, W) and labels (B,) -> raw scores (B,). 6,688,202 parameters for 28x28x1 and 10 classes.

    norm: batch (as published); layer or none, for losses with gradient penalties, which need independent samples.
    """

    conditional = True

    def __init__(self, spec: ImageSpec, norm: str = "batch"):
        super().__init__()
        classes, height, width = checked(spec)
        self.to_unit, self.join = ToUnit(spec.value_range), JoinLabel(classes)
        self.downsample = nn.ModuleList(
            small(nn.Conv2d(channels + classes, out, 5, 2, 2, bias=False))
            for channels, out in ((spec.channels, WIDTH), (WIDTH, 2 * WIDTH))
        )
        self.dense = small(nn.Linear(2 * WIDTH * height * width + classes, DENSE, bias=False))
        of_maps, of_vectors = choose("norm", norm, NORMS)
        self.norms = nn.ModuleList((of_maps(2 * WIDTH), of_vectors(DENSE)))
        self.head = Head(DENSE + classes, classes, "none", bias=False)
        small(self.head.score)

    def features(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """Returns (B, 1024 + classes): the label is included, since it enters the last layer too."""
        assert labels is not None, "a conditional discriminator is always given labels"
        x = functional.leaky_relu(self.downsample[0](self.join(self.to_unit(images), labels)), 0.2)
        x = functional.leaky_relu(self.norms[0](self.downsample[1](self.join(x, labels))), 0.2)
        x = functional.leaky_relu(self.norms[1](self.dense(self.join(x.flatten(1), labels))), 0.2)
        features: Tensor = self.join(x, labels)
        return features
