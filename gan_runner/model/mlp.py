"""Fully connected networks, for images of any size and for points."""

import itertools
from collections.abc import Sequence

from torch import Tensor, nn

from gan_runner.errors import choose, require
from gan_runner.model.latent import Latent
from gan_runner.model.layers import OUTPUTS, ToRange, dense_block, dense_output
from gan_runner.spec import ImageSpec


def hidden_layers(width_in: int, widths: Sequence[int], norm: str, activation: str, dropout: float) -> list[nn.Module]:
    require(all(width >= 1 for width in widths), f"widths={list(widths)} must all be at least 1")
    require(0 <= dropout < 1, f"dropout={dropout} is a probability: use 0 or more, below 1")
    layers: list[nn.Module] = []
    for pair in itertools.pairwise([width_in, *widths]):
        layers += dense_block(*pair, norm, activation)
        layers += [nn.Dropout(dropout)] if dropout else []
    return layers


class MLPGenerator(nn.Module):
    """z (B, Z) -> images (B, C, H, W) in spec.value_range; labels are not used."""

    def __init__(
        self,
        spec: ImageSpec,
        latent: Latent,
        widths: Sequence[int] = (256, 256),
        activation: str = "relu",
        norm: str = "batch",
        dropout: float = 0.0,
    ):
        super().__init__()
        self.shape = spec.shape
        hidden = hidden_layers(latent.dim, widths, norm, activation, dropout)
        last = dense_output([latent.dim, *widths][-1], spec.size)
        self.layers = nn.Sequential(*hidden, last, ToRange(spec.value_range))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        images: Tensor = self.layers(z)
        return images.view(-1, *self.shape)


class MLPDiscriminator(nn.Module):
    """images (B, C, H, W) -> raw scores (B,); labels are not used.

    The norm begins at the second layer, so that the first one sees the images as they are (DCGAN's rule).
    output: score, or of an autoencoder with the same widths back to the images absolute_error or squared_error.
    """

    def __init__(
        self,
        spec: ImageSpec,
        widths: Sequence[int] = (256, 256),
        activation: str = "leaky_relu",
        norm: str = "none",
        dropout: float = 0.0,
        output: str = "score",
    ):
        super().__init__()
        self.read = choose("output", output, OUTPUTS)
        self.energy = output != "score"
        self.batch_coupled = norm == "batch"  # of one width too, where no layer is left to normalise
        require(bool(widths) or not self.energy, f"widths=[] leaves output={output} without a code; give at least one")
        there = [spec.size, *widths]
        back = there[::-1] if self.energy else [there[-1], 1]
        hidden = hidden_layers(spec.size, there[1:2], "none", activation, dropout)
        hidden += hidden_layers(there[:2][-1], there[2:], norm, activation, dropout)
        hidden += hidden_layers(back[0], back[1:-1], norm, activation, dropout)
        self.layers = nn.Sequential(*hidden, dense_output(*back[-2:]))

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        flat = images.flatten(1)
        return self.read(self.layers(flat), flat)
