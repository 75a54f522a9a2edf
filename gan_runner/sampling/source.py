"""Images in chunks: of a generator, each made when it is needed, or of a tensor."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gan_runner.errors import ConfigError, nearest
from gan_runner.evaluation.sampler import Sampler
from gan_runner.metric.pools import CHUNK
from gan_runner.records.grid import to_pixels
from gan_runner.spec import ImageSpec


@dataclass(frozen=True)
class Source:
    """`count` images (C, H, W) in spec.value_range. A chunk depends on its number alone, so that any part can be made.

    read(number) -> chunk (CHUNK or less, C, H, W); labels(start, stop) -> (stop - start,), or None.
    """

    count: int
    spec: ImageSpec
    read: Callable[[int], Tensor]
    labels: Callable[[int, int], Tensor | None]

    def pieces(self, start: int = 0, stop: int | None = None) -> Iterator[Tensor]:
        """Yields the images from `start` on, a chunk or a part of one at a time."""
        stop = self.count if stop is None else stop
        for number in range(start // CHUNK, math.ceil(stop / CHUNK)):
            first = number * CHUNK
            yield self.read(number)[max(0, start - first) : stop - first]

    def arrays(self, start: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
        """Yields pieces as arrays (B, H, W, C)."""
        return (to_array(piece, self.spec) for piece in self.pieces(start, stop))


def generated(sampler: Sampler, seed: int, count: int, classes: Tensor | None) -> Source:
    """Returns the images of a seed. classes: labels that the images take in turn; None if the generator uses none."""
    sampler.estimate_statistics()

    def labels(start: int, stop: int) -> Tensor | None:
        return None if classes is None else classes[torch.arange(start, stop) % len(classes)]

    def read(number: int) -> Tensor:
        return sampler.chunk(seed, number, labels(number * CHUNK, (number + 1) * CHUNK))[0]

    return Source(count, sampler.spec, read, labels)


def held(images: Tensor, known: Tensor | None, spec: ImageSpec) -> Source:
    """Returns the images of a tensor."""

    def labels(start: int, stop: int) -> Tensor | None:
        return None if known is None else known[start:stop]

    return Source(len(images), spec, lambda number: images[number * CHUNK :][:CHUNK], labels)


def generate(sampler: Sampler, seed: int, count: int, labels: Tensor | None) -> Tensor:
    """Returns images (count, C, H, W) in spec.value_range; with labels, as many as there are labels."""
    return torch.cat(list(generated(sampler, seed, count if labels is None else len(labels), labels).pieces()))


def requested_classes(sampler: Sampler, requested: Sequence[str] | None) -> Tensor | None:
    """Returns the labels of classes that are requested by number or name; all if None. None for no conditional one."""
    typed = ",".join(requested or ())
    if not sampler.conditional:
        if requested is not None:
            raise ConfigError(f"--labels={typed} cannot be: the generator of this run does not use labels.")
        return None
    classes, names = sampler.spec.num_classes, sampler.spec.class_names
    known_numbers = {str(number) for number in range(classes)}
    known = {number: int(number) for number in known_numbers} | {name: number for number, name in enumerate(names)}
    chosen = [label.strip() for label in requested or map(str, range(classes))]
    if unknown := [label for label in chosen if label not in known]:
        few = f", or their names, such as {names[0]}" if set(names) - known_numbers else ""
        raise ConfigError(
            f"--labels={typed} should be classes from 0 to {classes - 1}{few}, with commas between"
            f"{nearest(unknown[0], names)}."
        )
    return torch.tensor([known[label] for label in chosen])


def by_class(classes: Tensor | None, count: int) -> Tensor | None:
    """Returns labels grouped by class, equally many of each, so that they may be fewer than `count`."""
    return None if classes is None else classes[:count].repeat_interleave(count // len(classes[:count]))


def in_turn(classes: Tensor | None, count: int) -> Tensor | None:
    """Returns labels (count,): the classes one after another, again and again."""
    return None if classes is None else classes[torch.arange(count) % len(classes)]


def to_array(images: Tensor, spec: ImageSpec) -> np.ndarray:
    """Images (N, C, H, W) in spec.value_range -> (N, H, W, C) uint8; points -> (N, 1, 1, C) float32."""
    pixels = to_pixels(images, spec) if spec.value_range is not None else images.numpy()
    return pixels.transpose(0, 2, 3, 1)
