"""The averaged generator of a run, with latents and images of seeds as `python -m gan_runner.sample` has them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gan_runner.assembly.trained import make_sampler, use_weights
from gan_runner.errors import ConfigError
from gan_runner.evaluation.foreign import UNREADABLE
from gan_runner.evaluation.sampler import Sampler
from gan_runner.film.training import check_drawable
from gan_runner.metric.pools import CHUNK
from gan_runner.model.latent import Latent
from gan_runner.noise import Noise
from gan_runner.records.grid import to_pixels
from gan_runner.records.weights import Weights
from gan_runner.sampling.source import in_turn, requested_classes


@dataclass(frozen=True)
class Generator:
    """The averaged generator at one step of a run, with the run's configuration and its discriminator's state."""

    folder: Path
    step: int
    config: Mapping[str, Any]
    sampler: Sampler
    discriminator: Mapping[str, Tensor]

    @property
    def prior(self) -> Latent:
        return self.sampler.latent

    def check_drawable(self) -> None:
        """ConfigError if its images are no pictures."""
        check_drawable(self.sampler.spec, "; the verb map shows points in the plane")

    def latents(self, seed: int, count: int, setting: str = "--count") -> Tensor:
        """Returns (count, Z): the latents of the first images of `sample --seed`. setting: the name of `count`."""
        if not 1 <= count <= CHUNK:
            raise ConfigError(f"{setting}={count} must be between 1 and {CHUNK}.")
        return self.prior.sample(self.noise(seed))[:count]

    def noise(self, seed: int) -> Noise:
        return Noise((seed, "sample", 0), CHUNK, self.sampler.device)

    def labels(self, count: int, chosen: Sequence[str] | None = None, seed: int = 0) -> Tensor | None:
        """Returns (count,): the chosen classes in turn, by number or name; by default every class.

        Of an unconditional generator those that `sample` gives it, which it ignores; None without classes.
        """
        labels = in_turn(requested_classes(self.sampler, chosen), count)
        if labels is None:
            drawn = self.sampler.random_labels(self.noise(seed))
            return None if drawn is None else drawn[:count]
        return labels

    def pixels(self, z: Tensor, labels: Tensor | None) -> np.ndarray:
        """Returns the images (B, C, H, W) uint8 of latents (B, Z)."""
        return to_pixels(self.sampler.images(z, labels), self.sampler.spec)


def load(path: Path, checkpoint: str = "last", trusted: Sequence[str] = (), average: str | None = None) -> Generator:
    """Returns the generator of a run folder. Arguments as those of `sample.load`."""
    if not path.is_dir():
        raise ConfigError(f"{path} is no run folder; name one like outputs/default.")

    def use(weights: Weights) -> Generator:
        sampler = make_sampler(weights)
        return Generator(path, weights.step, weights.config, sampler, weights.networks["discriminator"])

    found = use_weights(path, trusted, checkpoint, use, average)
    if not isinstance(found.prior, Latent):
        raise ConfigError(
            f"model.latent={type(found.prior).__name__} is a prior of your own, of which no path is known."
        )
    found.sampler.estimate_statistics()
    return found


def read_latents(path: Path, prior: Latent) -> Tensor:
    """Returns the array z (K, Z) of an .npz file, such as `project` writes."""
    try:
        with np.load(path, allow_pickle=False) as content:
            z = torch.from_numpy(np.asarray(content["z"], np.float32))
    except UNREADABLE as error:
        raise ConfigError(f"--latents={path} cannot be read; give an .npz file with z, as project writes.") from error
    if z.dim() != 2 or z.shape[1] != prior.dim or not len(z) or not z.isfinite().all():
        raise ConfigError(f"--latents={path} has z of shape {tuple(z.shape)}; this run needs (K, {prior.dim}), finite.")
    return z
