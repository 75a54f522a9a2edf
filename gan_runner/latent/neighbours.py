"""The nearest training images of samples."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gan_runner.assembly.objects import make_dataset
from gan_runner.cli.requested_metrics import cache_folder
from gan_runner.errors import ConfigError
from gan_runner.evaluation.evaluator import Evaluator, subject_of
from gan_runner.film.frames import Film
from gan_runner.latent.generator import Generator
from gan_runner.metric.cache import Cache
from gan_runner.metric.neighbours import nearest
from gan_runner.metric.of_features import unfit


class Neighbours(NamedTuple):
    """A picture of samples beside their nearest training images, and the distances (N, k) between them."""

    film: Film
    distances: Tensor


def neighbours(
    generator: Generator,
    seed: int = 0,
    count: int = 8,
    k: int = 8,
    features: str = "pixels",
    n_train: int = 50_000,
    labels: Sequence[str] | None = None,
) -> Neighbours:
    """Returns the first images of `sample --seed`, each with its k nearest of the first `n_train` training images.

    features: pixels (from 0 to 1), or classifier, the dataset's.
    """
    generator.check_drawable()
    evaluator = evaluator_of(generator.config)
    reason = unfit(features, evaluator.subject)
    if evaluator.dataset.endless:
        raise ConfigError("neighbours cannot be: this dataset has no fixed training images.")
    if reason:
        raise ConfigError(f"--features={features} {reason}.")
    if n_train < 1:
        raise ConfigError(f"--n-train={n_train} must be at least 1.")
    there = min(n_train, evaluator.dataset.splits["train"])
    if not 1 <= k <= there:
        raise ConfigError(f"--k={k} must be between 1 and {there}, the training images that are searched.")
    extractor, train = evaluator.extractor(features), evaluator.pool("train")
    samples = torch.from_numpy(generator.pixels(generator.latents(seed, count), generator.labels(count, labels, seed)))
    found = nearest(extractor(samples).vectors, train.features(extractor, there).vectors, k)
    images = evaluator.dataset.split("train").images

    def stacks(numbers: Sequence[int]) -> Iterator[np.ndarray]:
        for number in numbers:
            yield (images[found.indices[:, number - 1]] if number else samples).numpy()

    titles = ["sample", *(str(rank) for rank in range(1, k + 1))]
    return Neighbours(Film(stacks, k + 1, 2.0, titles, keys=range(k + 1)), found.distances)


def evaluator_of(config: Mapping[str, Any]) -> Evaluator:
    """Returns the real images and feature extractors of a run, on the CPU, without a metric."""
    dataset = make_dataset(config)
    cache = Cache(str(cache_folder(config) or ""))
    subject = subject_of(dataset, players=False)
    return Evaluator({}, dataset, subject, cache, 0, torch.device("cpu"), "fp32", [])
