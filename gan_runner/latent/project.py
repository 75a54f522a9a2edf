"""Projection of a photo into the latent space, by gradient descent on z."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gan_runner.dataset.picture import Form, Unreadable, decoded
from gan_runner.errors import ConfigError
from gan_runner.film.frames import Film
from gan_runner.latent.features import Features, distances, features_of
from gan_runner.latent.generator import Generator
from gan_runner.latent.prior import deviation, within
from gan_runner.metric.pools import CHUNK
from gan_runner.records.grid import to_pixels
from gan_runner.spec import ImageSpec

RATE = 0.1  # of Adam, in standard deviations of a coordinate; falls to 0 as a cosine
FRAMES = 60  # of the film of the way, at most


@dataclass(frozen=True)
class Projection:
    """The restarts of a projection, the best first."""

    latents: Tensor  # (R, Z)
    labels: Tensor | None  # (R,)
    errors: Tensor  # (R,) root of the mean squared error of the pixels, from 0 to 1
    first_errors: Tensor  # (R,) the same before the descent
    feature_errors: Tensor | None  # (R,) mean over layers of the squared distance, over the squared norm
    film: Film  # of the way: the photo, then each restart

    def save(self, out: Path) -> Path:
        """Writes z, labels and errors as an .npz file, which `--latents` of other verbs reads."""
        arrays = {"z": self.latents, "errors": self.errors} | ({} if self.labels is None else {"labels": self.labels})
        try:
            np.savez(out, allow_pickle=False, **{name: tensor.numpy() for name, tensor in arrays.items()})
        except OSError as error:
            raise ConfigError(f"{out} cannot be written: {error.strerror or error}.") from error
        return out


def project(
    generator: Generator,
    image: Path,
    restarts: int = 4,
    steps: int = 300,
    features: str = "discriminator",
    weight: float = 0.1,
    seed: int = 0,
    labels: Sequence[str] | None = None,
) -> Projection:
    """Finds latents whose images are nearest to a photo, which is cropped and resized to the size of the run's images.

    The restarts begin at those of the first 256 images of `sample --seed` that are nearest. Adam minimises the mean
    squared error of the pixels (0 to 1) plus `weight` times that of the features; z stays in the prior's region.
    features: discriminator (the run's own), classifier (of the dataset) or none. labels: the classes to try.
    """
    generator.check_drawable()
    if not 1 <= restarts <= CHUNK or steps < 1:
        raise ConfigError(f"--restarts={restarts} must be from 1 to {CHUNK}, and --steps={steps} at least 1.")
    if not 0 <= weight < math.inf:
        raise ConfigError(f"--weight={weight:g} must be 0 or more.")
    spec = generator.sampler.spec
    target = photo(image, spec)
    found = features_of(generator, features)
    z, known = generator.latents(seed, CHUNK), generator.labels(CHUNK, labels, seed)
    first = pixel_error(generator.sampler.images(z, known), target, spec)
    best = first.argsort()[:restarts]
    loss = Loss(target, None if known is None else known[best], restarts, found, weight, spec)
    way = descend(generator, z[best], loss, steps)
    return ranked(generator, way, loss, first[best])


def ranked(generator: Generator, way: Sequence[Tensor], loss: "Loss", first: Tensor) -> Projection:
    """Returns the restarts in the order of their losses. first: (R,) squared errors of the pixels at the start."""
    total, pixels, features = loss(generator.sampler.images(way[-1], loss.labels))
    order = total.argsort()
    labels = None if loss.labels is None else loss.labels[order]
    film = film_of(generator, loss.target, [each[order] for each in way], labels)
    errors = (pixels.sqrt()[order], first.sqrt()[order], None if features is None else features[order])
    return Projection(way[-1][order], labels, *errors, film)


def pixel_error(images: Tensor, target: Tensor, spec: ImageSpec) -> Tensor:
    """Returns (B,): the mean squared error of images (B, C, H, W), of pixels from 0 to 1."""
    assert spec.value_range is not None
    low, high = spec.value_range
    return ((images - target) / (high - low)).square().flatten(1).mean(1)


class Loss:
    """Distance of the images of the restarts (R, C, H, W) to one target (1, C, H, W), for each image."""

    def __init__(
        self, target: Tensor, labels: Tensor | None, count: int, features: Features, weight: float, spec: ImageSpec
    ):
        self.target, self.labels, self.features, self.weight, self.spec = target, labels, features, weight, spec
        with torch.no_grad():
            self.goal = features(target.expand(count, -1, -1, -1), labels)

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Returns (R,) each: the loss, its pixels and its features; None without features."""
        pixels = pixel_error(images, self.target, self.spec)
        if not self.goal:
            return pixels, pixels, None
        features = distances(self.features(images, self.labels), self.goal)
        return pixels + self.weight * features, pixels, features


def descend(generator: Generator, z: Tensor, loss: Loss, steps: int) -> list[Tensor]:
    """Returns the latents (R, Z) at evenly spaced steps, the last one included."""
    z = within(generator.prior, z).clone().requires_grad_()
    optimizer = torch.optim.Adam([z], RATE * deviation(generator.prior))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    every, way = math.ceil(steps / (FRAMES - 1)), [z.detach().clone()]
    network = generator.sampler.network.requires_grad_(False)
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        loss(network(z, loss.labels))[0].sum().backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            z.copy_(within(generator.prior, z))
        if step % every == 0 or step == steps:
            way.append(z.detach().clone())
    return way


def film_of(generator: Generator, target: Tensor, way: Sequence[Tensor], labels: Tensor | None) -> Film:
    shown = to_pixels(target, generator.sampler.spec)

    def stacks(numbers: Sequence[int]) -> Iterator[np.ndarray]:
        for number in numbers:
            yield np.concatenate([shown, generator.pixels(way[number], labels)])

    names = ["photo", *(str(n + 1) for n in range(len(way[0])))]
    return Film(stacks, len(way), 15.0, names=names)


def photo(path: Path, spec: ImageSpec) -> Tensor:
    """Returns (1, C, H, W) in spec.value_range: the middle of the photo, resized."""
    assert spec.value_range is not None
    try:
        with open(path, "rb") as file:
            pixels, _ = decoded(file, Form(spec.height, spec.width, spec.channels, "crop"))
    except (OSError, Unreadable) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"--image={path} cannot be read ({reason}); name a picture file.") from error
    low, high = spec.value_range
    return torch.from_numpy(pixels.copy()).float()[None] * ((high - low) / 255) + low
