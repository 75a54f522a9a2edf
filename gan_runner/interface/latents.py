"""The latent space of a loaded model in Python: films and pictures, as `python -m gan_runner.latent` makes them."""

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gan_runner.errors import ConfigError
from gan_runner.film.frames import Film
from gan_runner.film.training import of_training
from gan_runner.interface.isolation import settings_kept
from gan_runner.latent import interpolate as paths_between
from gan_runner.latent.directions import directions
from gan_runner.latent.generator import Generator, load
from gan_runner.latent.neighbours import Neighbours, neighbours
from gan_runner.latent.plane import plane_map
from gan_runner.latent.project import Projection, project
from gan_runner.latent.truncate import DEFAULTS, costs, metrics_of, truncate

if TYPE_CHECKING:
    import pandas as pd

Labels = Sequence[int | str] | None
Folder = str | os.PathLike[str]


class LatentSpace:
    """Films of a run's generator. Labels are classes of a conditional run, by number or name, in turn."""

    path: Path
    checkpoint: str
    trust: tuple[str, ...]
    average: str | None
    step: int

    @cached_property
    def generator(self) -> Generator:
        which = "best" if self.checkpoint == "best" else str(self.step)
        with settings_kept():
            return load(self.path, which, self.trust, self.average)

    def interpolate(
        self,
        seeds: Sequence[int] = range(8),
        frames: int = 30,
        paths: int = 1,
        loop: bool = True,
        labels: Labels = None,
        cross: bool = False,
        fps: float = 30.0,
        latents: Tensor | None = None,
    ) -> Film:
        """Returns a film from seed to seed, or through `latents` (K, Z).

        frames: from one to the next. paths: images of each seed, side by side. cross: changes to the next of the labels
        at each seed.
        """
        of_path = (frames, paths, loop, listed(labels), cross, fps)
        return paths_between.interpolate(self.generator, seeds, *of_path, latents)

    def classes(self, seed: int = 0, count: int = 8, frames: int = 15, labels: Labels = None) -> Film:
        """Returns a film of the first latents of a seed through all classes."""
        return paths_between.classes(self.generator, seed, count, frames, listed(labels))

    def truncate(
        self, psi: Sequence[float] | None = None, seed: int = 0, count: int = 8, labels: Labels = None
    ) -> Film:
        """Returns a film with a frame for each psi: samples without the tails of the prior."""
        return truncate(self.generator, psi, seed, count, listed(labels))

    def truncation_costs(
        self,
        psi: Sequence[float] | None = None,
        metrics: Sequence[str] | None = None,
        n_fake: int | None = None,
        split: str = "test",
    ) -> "pd.DataFrame":
        """Returns the metrics of each psi, by default precision and recall if the run has them."""
        import pandas as pd

        names = metrics_of(self.generator) if metrics is None else metrics
        if not names:
            raise ConfigError("this run has no metric of precision and recall; name one: metrics=[...].")
        chosen = psi or DEFAULTS[self.generator.prior.distribution]
        with settings_kept():
            found = list(costs(self.generator, chosen, names, n_fake, split))
        return pd.DataFrame([cost.values for cost in found], index=pd.Index([cost.psi for cost in found], name="psi"))

    def directions(
        self,
        seed: int = 0,
        count: int = 8,
        steps: int = 9,
        extent: float = 5.0,
        labels: Labels = None,
        latents: Tensor | None = None,
    ) -> Film:
        """Returns a film of one latent, moved along the directions that change the images most."""
        return directions(self.generator, seed, count, steps, extent, listed(labels), latents=latents)

    def neighbours(
        self,
        seed: int = 0,
        count: int = 8,
        k: int = 8,
        features: str = "pixels",
        n_train: int = 50_000,
        labels: Labels = None,
    ) -> Neighbours:
        """Returns samples with their nearest training images: `film`, and `distances` (count, k)."""
        with settings_kept():
            return neighbours(self.generator, seed, count, k, features, n_train, listed(labels))

    def project(
        self,
        image: Folder,
        restarts: int = 4,
        steps: int = 300,
        features: str = "discriminator",
        weight: float = 0.1,
        seed: int = 0,
        labels: Labels = None,
    ) -> Projection:
        """Returns latents of a photo, the best first: `latents`, `labels`, `errors`, and the `film` of the way."""
        of_descent = (restarts, steps, features, weight, seed, listed(labels))
        with settings_kept(), torch.enable_grad():
            return project(self.generator, Path(image), *of_descent)

    def map(self) -> Film:
        """Returns a film of how a grid of z lands, for points in the plane."""
        return plane_map(self.generator)


def listed(labels: Labels) -> list[str] | None:
    return None if labels is None else [str(label) for label in labels]


def training_film(*folders: Folder, origin: str = "samples", fps: float = 10.0, trust: Sequence[str] = ()) -> Film:
    """Returns a film of the fixed samples of run folders over their training, side by side.

    origin: samples, the pictures in the folders, or checkpoints.
    """
    if origin not in ("samples", "checkpoints"):
        raise ConfigError(f"origin={origin} should be samples or checkpoints.")
    return of_training([Path(folder) for folder in folders], origin, fps, trust)
