"""Truncation of the prior: images for each psi, and the precision and recall that each costs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from gan_runner.assembly.objects import make_dataset, make_evaluator
from gan_runner.assembly.structure import OF_METRICS
from gan_runner.cli.requested_metrics import RequestedMetrics, configured
from gan_runner.device import Device
from gan_runner.errors import ConfigError
from gan_runner.evaluation.evaluator import subject_of
from gan_runner.film.frames import Film
from gan_runner.latent.generator import Generator
from gan_runner.latent.prior import truncated
from gan_runner.metric.pools import CHUNK, Chunk, Pool
from gan_runner.noise import Noise
from gan_runner.records.scores import REPORT
from gan_runner.spec import to_levels

DEFAULTS = {"normal": (0.5, 0.75, 1.0, 1.5, 2.0, float("inf")), "uniform": (0.25, 0.5, 0.75, 1.0)}  # of psi, by prior
OF_QUALITY_AND_VARIETY = ("PrecisionRecall", "DensityCoverage")  # classes of metrics


class Cost(NamedTuple):
    """Values of metrics for one psi."""

    psi: float
    values: Mapping[str, float]


def truncate(
    generator: Generator,
    psi: Sequence[float] | None = None,
    seed: int = 0,
    count: int = 8,
    labels: Sequence[str] | None = None,
    fps: float = 2.0,
) -> Film:
    """Returns a film with a frame for each psi (see `truncated`); the largest gives the images of `sample --seed`."""
    generator.check_drawable()
    generator.latents(seed, count)  # checks the count
    classes = generator.labels(count, labels, seed)
    psi = psi or DEFAULTS[generator.prior.distribution]

    def stacks(numbers: Sequence[int]) -> Iterator[np.ndarray]:
        for number in numbers:
            z = truncated(generator.prior, generator.noise(seed), psi[number])
            yield generator.pixels(z[:count], classes)

    return Film(stacks, len(psi), fps, [f"{each:g}" for each in psi], keys=range(len(psi)))


def metrics_of(generator: Generator) -> list[str]:
    """Returns the run's own metrics that separate quality from variety."""
    nodes = {name: node for name, node in generator.config["metric"].items() if name not in OF_METRICS}
    return [name for name, node in nodes.items() if node["_target_"].rpartition(".")[2] in OF_QUALITY_AND_VARIETY]


def costs(
    generator: Generator, psi: Sequence[float], metrics: Sequence[str], n_fake: int | None = None, split: str = REPORT
) -> Iterator[Cost]:
    """Yields the metrics of each psi, by the protocol of `python -m gan_runner.evaluate`."""
    config = configured(RequestedMetrics(list(metrics), split, n_fake), generator.config)
    dataset = make_dataset(config)
    if not dataset.splits.get(split):
        raise ConfigError(f"--split={split} has no images in this dataset.")
    subject = subject_of(dataset, players=False, conditional=generator.sampler.conditional)
    evaluator = make_evaluator(config, dataset, subject, Device("cpu"), "fp32", [split])
    assert evaluator is not None  # `configured` refuses a configuration without metrics
    if evaluator.unfit():
        raise ConfigError(*evaluator.unfit())
    for each in psi:
        yield Cost(each, evaluator(pool_of(generator, each, evaluator.seed), None, split, "ema").values)


def pool_of(generator: Generator, psi: float, seed: int) -> Pool:
    """Returns samples without the tails of the prior; for the largest psi those of the run's metrics."""
    sampler = generator.sampler

    def read(number: int) -> Chunk:
        noise = Noise((seed, "sample", number), CHUNK, sampler.device)
        z = truncated(generator.prior, noise, psi)
        labels = sampler.random_labels(noise)
        if sampler.conditional:
            assert labels is not None
            labels = (number * CHUNK + labels.new_tensor(range(CHUNK))) % sampler.spec.num_classes
        images = to_levels(sampler.images(z, labels), sampler.spec)
        return Chunk(images, labels if sampler.conditional else None)

    return Pool(read)
