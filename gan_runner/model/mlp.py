"""Fully connected networks for images of any size and for points."""

import itertools
from collections.abc import Sequence

from torch import Tensor, nn

from gan_runner.errors import choose, require
from gan_runner.model.conditioning import (
    ERRORS,
    FOR_DISCRIMINATORS,
    FOR_GENERATORS,
    OUTPUTS,
    Autoencoder,
    Discriminator,
    JoinVector,
    Layers,
    check,
    linear_head,
)
from gan_runner.model.latent import Latent
from gan_runner.model.layers import ToRange, dense_block, dense_output, initialize_linear
from gan_runner.model.minibatch import check_alone, compared
from gan_runner.spec import ImageSpec


def hidden_layers(
    width_in: int, widths: Sequence[int], norm: str, activation: str, dropout: float, classes: int = 0
) -> list[nn.Module]:
    require(all(width >= 1 for width in widths), f"widths={list(widths)} must all be at least 1")
    require(0 <= dropout < 1, f"dropout={dropout} is a probability: use 0 or more, below 1")
    layers: list[nn.Module] = []
    for pair in itertools.pairwise([width_in, *widths]):
        layers += dense_block(*pair, norm, activation, classes)
        layers += [nn.Dropout(dropout)] if dropout else []
    return layers


class MLPGenerator(nn.Module):
    """z (B, Z) and labels (B,) -> images (B, C, H, W) in spec.value_range.

    conditioning: none, one_hot, embedding, or norm (the label sets gain and shift of every batch norm).
    """

    def __init__(
        self,
        spec: ImageSpec,
        latent: Latent,
        widths: Sequence[int] = (256, 256),
        activation: str = "relu",
        norm: str = "batch",
        dropout: float = 0.0,
        conditioning: str = "none",
        init: str = "he",
        init_scale: float | None = None,
    ):
        super().__init__()
        self.shape = spec.shape
        self.conditional = check(conditioning, FOR_GENERATORS, spec) != "none"
        self.join = JoinVector(latent.dim, spec.num_classes, conditioning)
        classes = spec.num_classes if conditioning == "norm" else 0
        hidden = hidden_layers(self.join.width, widths, norm, activation, dropout, classes)
        last = dense_output([self.join.width, *widths][-1], spec.size)
        self.layers = Layers(*hidden, last, ToRange(spec.value_range))
        initialize_linear(self, init, init_scale)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        images: Tensor = self.layers(self.join(z, labels), labels)
        return images.view(-1, *self.shape)


class MLPDiscriminator(Discriminator):
    """images (B, C, H, W) and labels (B,) -> raw scores (B,).

    The first layer has no normalisation (the rule of DCGAN).
    output: score; absolute_error or squared_error, the error of an autoencoder whose decoder has the same widths in
    reverse; classes or classes_and_fake, where class logits define the score (Salimans et al. 2016, Odena 2016).
    conditioning: none, one_hot, embedding, projection or classifier.
    """

    def __init__(
        self,
        spec: ImageSpec,
        widths: Sequence[int] = (256, 256),
        activation: str = "leaky_relu",
        norm: str = "none",
        dropout: float = 0.0,
        output: str = "score",
        conditioning: str = "none",
        minibatch: str = "none",
        init: str = "he",
        init_scale: float | None = None,
    ):
        super().__init__()
        self.conditional = check(conditioning, FOR_DISCRIMINATORS, spec) != "none"
        self.join = JoinVector(spec.size, spec.num_classes, conditioning)
        choose("output", output, OUTPUTS)
        self.energy = output in ERRORS
        self.batch_coupled = norm == "batch"  # also with one width, where no layer is normalised
        require(bool(widths) or not self.energy, f"widths=[] leaves output={output} without a code; give at least one")
        there = [self.join.width, *widths]
        hidden = hidden_layers(there[0], there[1:2], "none", activation, dropout)
        hidden += hidden_layers(there[:2][-1], there[2:], norm, activation, dropout)
        comparison, features = compared(minibatch, there[-1])
        self.layers = nn.Sequential(*hidden, *comparison)
        if self.energy:
            check_alone(minibatch, output)
            back = [*there[:0:-1], spec.size]
            hidden = hidden_layers(back[0], back[1:-1], norm, activation, dropout)
            self.head = Autoencoder(nn.Sequential(*hidden, dense_output(*back[-2:])), output, conditioning)
        else:
            self.head = linear_head(features, spec, conditioning, output)
        initialize_linear(self, init, init_scale)

    def features(self, images: Tensor, labels: Tensor | None) -> Tensor:
        features: Tensor = self.layers(self.join(images.flatten(1), labels))
        return features
