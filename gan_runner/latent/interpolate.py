"""Films between latents: from seed to seed, and through all classes."""

import logging
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from gan_runner.errors import ConfigError
from gan_runner.film.frames import Film
from gan_runner.latent.generator import Generator
from gan_runner.latent.mixing import can_mix, mixed
from gan_runner.latent.prior import between
from gan_runner.metric.pools import CHUNK

log = logging.getLogger(__name__)


def interpolate(
    generator: Generator,
    seeds: Sequence[int],
    frames: int = 30,
    paths: int = 1,
    loop: bool = True,
    labels: Sequence[str] | None = None,
    cross: bool = False,
    fps: float = 30.0,
    latents: Tensor | None = None,
) -> Film:
    """Returns a film from seed to seed, and back to the first one; or through `latents` (K, Z) in place of seeds.

    Path p leads through the p-th image of each seed, as `sample --seed` has it. frames: of the way from one seed to the
    next. labels: classes of the paths, in turn. cross: a path changes to the next of these classes at each seed.
    """
    generator.check_drawable()
    if latents is not None and paths > 1:
        raise ConfigError(f"--paths={paths} is for seeds; --latents are one path.")
    if len(seeds if latents is None else latents) < 2:
        raise ConfigError("interpolate needs two seeds or latents, or more, such as --seeds 0-7 or 0,3,9.")
    if latents is not None:
        keyframes = latents[:, None]
    else:
        keyframes = torch.stack([generator.latents(seed, paths, "--paths") for seed in seeds])
    kept = generator.labels(paths, labels)
    if cross and not generator.sampler.conditional:
        raise ConfigError("--cross cannot be: the generator of this run does not use labels.")
    known = None if kept is None else kept.expand(len(keyframes), -1)
    if cross:
        in_turn = generator.labels(paths + len(keyframes) - 1, labels)
        known = None if in_turn is None else in_turn.unfold(0, paths, 1)
    return through(generator, keyframes, known, frames, loop, fps)


def classes(
    generator: Generator, seed: int = 0, count: int = 8, frames: int = 15, labels: Sequence[str] | None = None
) -> Film:
    """Returns a film of the first latents of a seed through all classes, or the chosen ones; a strip has each once.

    frames: of the way from one class to the next.
    """
    generator.check_drawable()
    if not generator.sampler.conditional:
        raise ConfigError("classes cannot be: the generator of this run does not use labels; use interpolate.")
    number = len(labels) if labels is not None else generator.sampler.spec.num_classes
    chosen = generator.labels(number, labels)
    assert chosen is not None
    latents = generator.latents(seed, count).expand(number, -1, -1)
    film = through(generator, latents, chosen[:, None].expand(-1, count), frames, loop=True, fps=15.0)
    names = generator.sampler.spec.names(chosen)
    nearest = frames // 2 if can_mix(generator.sampler.network, latents[0, :2]) else 0
    titles = [names[(n + nearest) // frames % number] for n in range(film.count)]
    return Film(film.stacks, film.count, film.fps, titles, keys=[n * frames for n in range(number)])


def through(generator: Generator, latents: Tensor, labels: Tensor | None, frames: int, loop: bool, fps: float) -> Film:
    """Returns a film through keyframes: latents (K, P, Z) and labels (K, P), `frames` from one to the next.

    Classes that differ are mixed on the way; in a network where they cannot be, they change at the keyframes.
    """
    if frames < 1:
        raise ConfigError(f"--frames={frames} must be at least 1.")
    segments = len(latents) - (not loop)
    crossing = labels is not None and bool((labels != labels[:1]).any())
    smooth = crossing and can_mix(generator.sampler.network, latents[0, :2])
    if crossing and not smooth:
        log.warning("this generator has no embedding of the labels that can be mixed: classes change at the keyframes")

    def stacks(numbers: Sequence[int]) -> Iterator[np.ndarray]:
        paths = latents.shape[1]
        for block in blocks(numbers, max(1, CHUNK // paths)):
            at = torch.tensor(block)
            share = ((at % frames) / frames).repeat_interleave(paths)
            first, second = at // frames % len(latents), (at // frames + 1) % len(latents)
            z = between(generator.prior, latents[first].flatten(0, 1), latents[second].flatten(0, 1), share)
            known = None if labels is None else labels[first].flatten()
            if smooth:
                assert labels is not None
                with mixed(generator.sampler.network, labels[second].flatten(), share):
                    pixels = generator.pixels(z, known)
            else:
                pixels = generator.pixels(z, known)
            yield from pixels.reshape(len(block), paths, *pixels.shape[1:])

    return Film(stacks, segments * frames + (not loop), fps)


def blocks(numbers: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]
