"""Layers, blocks and initialisations that several networks use."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import is_parametrized

from gan_runner.errors import choose, require
from gan_runner.model.conditioning import ConditionalBatchNorm
from gan_runner.spec import full_precision

PIECES = 5  # linear pieces of a maxout unit, as in Goodfellow et al. 2013 and 2014


class LargestOf(nn.Module):
    """(B, pieces * width) -> (B, width): maxout of a linear layer, the maximum of each `pieces` adjacent values."""

    def __init__(self, pieces: int):
        super().__init__()
        self.pieces = pieces

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x.unflatten(1, (-1, self.pieces)).amax(dim=2)
        return y


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": partial(nn.LeakyReLU, 0.2),
    "tanh": nn.Tanh,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
}

DENSE_ACTIVATIONS = ACTIVATIONS | {"maxout": partial(LargestOf, PIECES)}

# Normalisations of a fully connected layer. Instance norm is missing, because it needs pixels to average over.
VECTOR_NORMS: dict[str, Callable[[int], nn.Module] | None] = {
    "none": None,
    "batch": nn.BatchNorm1d,
    "layer": nn.LayerNorm,
    "weight": None,
}


def labelled(norm: str, classes: int, images: bool) -> Callable[[int], nn.Module]:
    """Returns a constructor of batch norm with one gain and shift per label."""
    require(norm == "batch", f"norm={norm} cannot depend on the label; use norm=batch, or conditioning=one_hot")
    return partial(ConditionalBatchNorm, classes=classes, images=images)


def dense_block(width_in: int, width_out: int, norm: str, activation: str, classes: int = 0) -> list[nn.Module]:
    """Linear, normalisation (conditional if `classes` > 0), activation. He initialisation, zero biases."""
    make_activation = choose("activation", activation, DENSE_ACTIVATIONS)
    width_out *= PIECES if activation == "maxout" else 1
    layer = nn.Linear(width_in, width_out)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)
    make_norm = labelled(norm, classes, images=False) if classes else choose("norm", norm, VECTOR_NORMS)
    block: list[nn.Module] = [weight_norm(layer) if norm == "weight" else layer]
    if make_norm is not None:
        block.append(make_norm(width_out))
    block.append(make_activation())
    return block


# Normalisations of a convolution. Layer norm over a sample, with one gain per channel, is a group norm of one group.
IMAGE_NORMS: dict[str, Callable[[int], nn.Module] | None] = {
    "none": None,
    "batch": nn.BatchNorm2d,
    "layer": partial(nn.GroupNorm, 1),
    "instance": partial(nn.InstanceNorm2d, affine=True),
    "weight": None,
}


def convolution_block(
    layer: nn.Conv2d | nn.ConvTranspose2d, norm: str, activation: str, classes: int = 0
) -> list[nn.Module]:
    """Convolution, normalisation (conditional if `classes` > 0), activation. DCGAN initialisation."""
    make_norm = labelled(norm, classes, images=True) if classes else choose("norm", norm, IMAGE_NORMS)
    outputs = 1 if isinstance(layer, nn.ConvTranspose2d) else 0  # dimension of the output channels in the weight
    initialize_normal(layer)
    block: list[nn.Module] = [weight_norm(layer, dim=outputs) if norm == "weight" else layer]
    if make_norm is not None:
        made = make_norm(layer.out_channels)
        block.append(made if classes else initialize_normal(made, mean=1.0))
    block.append(choose("activation", activation, ACTIVATIONS)())
    return block


def initialize_normal(module: nn.Module, mean: float = 0.0) -> nn.Module:
    """Weights N(mean, 0.02), biases 0 (Radford et al. 2016); use mean=1 for the gains of a normalisation."""
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        else:
            nn.init.normal_(parameter, mean, 0.02)
    return module


def dense_output(width_in: int, width_out: int) -> nn.Linear:
    """Linear output layer. Glorot initialisation, zero biases."""
    layer = nn.Linear(width_in, width_out)
    nn.init.xavier_normal_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def glorot(layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d) -> nn.Linear | nn.Conv2d | nn.ConvTranspose2d:
    """Glorot-uniform weights, zero biases: the default initialisation of Keras."""
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


INITS: dict[str, Callable[[Tensor, float], Tensor] | None] = {  # (weight, scale) -> weight
    "he": None,
    "orthogonal": nn.init.orthogonal_,
    "normal": lambda weight, scale: nn.init.normal_(weight, 0.0, scale),
}
SCALES = {"orthogonal": 2**0.5, "normal": 0.02}


def initialize_linear(network: nn.Module, init: str, scale: float | None) -> None:
    """Reinitialises the weights of all linear layers, and sets their biases to 0.

    init: he keeps the current weights (He normal, Glorot for the last layer) and biases; orthogonal has the gain
    `scale`, by default sqrt(2); normal has the standard deviation `scale`, by default 0.02.
    """
    draw = choose("init", init, INITS)
    if draw is None:
        require(scale is None, f"init_scale={scale} is for init=orthogonal or init=normal; use null with init={init}")
        return
    used = SCALES[init] if scale is None else scale
    require(used > 0, f"init_scale={scale} must be above 0")
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Linear):
                weight = draw(torch.empty_like(layer.weight), used)
                layer.weight = weight if is_parametrized(layer) else nn.Parameter(weight)  # weight norm splits it
                if layer.bias is not None:
                    layer.bias.zero_()


class Maxout(nn.Module):
    """(B, width_in) -> (B, width_out): each unit is the maximum of `pieces` linear units (Goodfellow et al. 2013)."""

    def __init__(self, width_in: int, width_out: int, pieces: int):
        super().__init__()
        self.linear = nn.Linear(width_in, width_out * pieces)
        self.largest = LargestOf(pieces)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.largest(self.linear(x))
        return y


class ToUnit(nn.Module):
    """Maps images from the range of the data to [0, 1], for networks that were published with pixels in [0, 1]."""

    def __init__(self, value_range: tuple[float, float] | None):
        super().__init__()
        self.value_range = value_range

    def forward(self, x: Tensor) -> Tensor:
        if self.value_range is None:
            return x
        low, high = self.value_range
        return (x - low) / (high - low)


SQUASHES: dict[str, Callable[[Tensor], Tensor]] = {  # real numbers -> [-1, 1]
    "tanh": torch.tanh,
    "sigmoid": lambda x: 2 * torch.sigmoid(x) - 1,
}


class ToRange(nn.Module):
    """tanh or sigmoid, scaled to the range of the data, in at least float32; the identity if the range is unbounded."""

    def __init__(self, value_range: tuple[float, float] | None, squash: str = "tanh"):
        super().__init__()
        self.value_range, self.squash = value_range, SQUASHES[squash]

    def forward(self, x: Tensor) -> Tensor:
        x = full_precision(x)
        if self.value_range is None:
            return x
        low, high = self.value_range
        y = self.squash(x)
        return y if (low, high) == (-1.0, 1.0) else low + (high - low) * (y + 1) / 2

    def extra_repr(self) -> str:
        return f"value_range={self.value_range}"
