"""Directions of the latent space that change the images most, by factorisation of the first weights."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from gan_runner.errors import ConfigError
from gan_runner.film.frames import Film
from gan_runner.latent.generator import Generator
from gan_runner.latent.prior import deviation

Convolution = nn.Conv2d | nn.ConvTranspose2d
MOST_EXTENT = 1000  # standard deviations
FRAMES = 64  # of a film, from one end to the other and back


class FirstFound(Exception):
    """Ends a forward at the first layer that takes z."""


def directions(
    generator: Generator,
    seed: int = 0,
    count: int = 8,
    steps: int = 9,
    extent: float = 5.0,
    labels: Sequence[str] | None = None,
    fps: float = 30.0,
    latents: Tensor | None = None,
) -> Film:
    """Returns a film of one latent, moved along `count` directions, the strongest first, and back.

    The latent is the first one of `latents` (K, Z), or that of the first image of `sample --seed`.

    extent: how far to either side, in standard deviations of a coordinate. steps: columns of a strip. A uniform prior
    keeps its bounds.
    """
    generator.check_drawable()
    start = generator.latents(seed, 1) if latents is None else latents[:1]
    known = generator.labels(1, labels, seed)
    found = factorised(generator.sampler.network, generator.latents(seed, 1), known)
    if not 1 <= count <= len(found):
        raise ConfigError(f"--count={count} must be between 1 and {len(found)}, the coordinates of z.")
    if not 2 <= steps <= FRAMES // 2 + 1:
        raise ConfigError(f"--steps={steps} must be between 2 and {FRAMES // 2 + 1}.")
    if not 0 < extent <= MOST_EXTENT:
        raise ConfigError(f"--extent={extent:g} must be above 0, and at most {MOST_EXTENT}.")
    reach = extent * deviation(generator.prior)
    moves = [reach * (1 - 4 * abs(number / FRAMES - 0.5)) for number in range(FRAMES)]

    def stacks(numbers: Sequence[int]) -> Iterator[np.ndarray]:
        for number in numbers:
            z = start + moves[number] * found[:count]
            if generator.prior.distribution == "uniform":
                z = z.clamp(generator.prior.low, generator.prior.high)
            yield generator.pixels(z, None if known is None else known.expand(count))

    titles = [f"{move / deviation(generator.prior):+.1f}" for move in moves]
    keys = [round(n * (FRAMES // 2) / (steps - 1)) for n in range(steps)]
    return Film(stacks, FRAMES, fps, titles, names=[str(n + 1) for n in range(count)], keys=keys)


def factorised(network: nn.Module, z: Tensor, labels: Tensor | None) -> Tensor:
    """Returns orthonormal directions (Z, Z), the strongest first: eigenvectors of W W^T (SeFa, Shen and Zhou 2021).

    W (Z, ...): the weights of the first layer, a row for each coordinate of z, all outputs and positions in succession.
    """
    weights = first_weights(network, z, labels).double()
    _, vectors = torch.linalg.eigh(weights @ weights.T)
    vectors = vectors.flip(1).T
    signs = vectors.gather(1, vectors.abs().argmax(1, keepdim=True)).sign()  # an eigenvector has no sign of its own
    oriented: Tensor = vectors * signs
    return oriented.float()


@torch.no_grad()
def first_weights(network: nn.Module, z: Tensor, labels: Tensor | None) -> Tensor:
    """Returns the weights (Z, ...) of the layer whose input begins with z. ConfigError if there is none."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Linear | Convolution)]
    found: list[nn.Module] = []

    def look(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].flatten(1)
        if x.shape[0] == len(z) and x.shape[1] >= z.shape[1] and torch.equal(x[:, : z.shape[1]], z):
            found.append(layer)
            raise FirstFound

    hooks = [layer.register_forward_pre_hook(look) for layer in layers]
    try:
        network(z, labels)
    except FirstFound:
        weight: Tensor = found[0].weight  # type: ignore[assignment]
        rows = weight if isinstance(found[0], nn.ConvTranspose2d) else weight.transpose(0, 1)
        return rows[: z.shape[1]].flatten(1)
    finally:
        for hook in hooks:
            hook.remove()
    raise ConfigError(
        f"directions cannot be: no linear layer or convolution of {type(network).__name__} takes z itself."
    )
