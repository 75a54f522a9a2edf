"""Computes the metrics of a run's present networks, as a pure function of their weights."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from gan_runner.dataset.gaussians import Gaussians
from gan_runner.dataset.images import ImageDataset
from gan_runner.dataset.points import Points
from gan_runner.dataset.stacked_mnist import StackedMNIST
from gan_runner.errors import ConfigError
from gan_runner.evaluation.selection import Evaluation
from gan_runner.metric.cache import Cache
from gan_runner.metric.classifier import Classifier
from gan_runner.metric.fidelity import SOURCES, Fidelity
from gan_runner.metric.inputs import Metric, Players, Subject, View, declared, too_many
from gan_runner.metric.pixels import Pixels
from gan_runner.metric.pools import CHUNK, Chunk, Extractor, Pool
from gan_runner.records.scores import REPORT, SELECTION

log = logging.getLogger(__name__)

VERSION = "0.1.0"  # of gan_runner, since which all metrics give the same values


class Evaluator:
    """Computes the metrics of one run: loads real images and extractors once, measures the players at each call."""

    def __init__(
        self,
        metrics: Mapping[str, Metric],
        dataset: ImageDataset,
        subject: Subject,
        cache: Cache,
        seed: int,
        device: torch.device,
        precision: str,
        splits: Sequence[str],
    ):
        """precision: of the samples, for the protocol of every value. splits: the splits to evaluate."""
        self.metrics, self.dataset, self.subject, self.cache = metrics, dataset, subject, cache
        self.seed, self.device, self.splits = seed, device, splits
        self.origin = {"precision": precision, "seed": seed, "version": VERSION}
        self.of_live: set[str] = set()  # metrics of the live networks, which no average changes
        self.extractors: dict[tuple[str, str | None], Extractor] = {}
        self.pools: dict[str, Pool] = {}
        self.warned: set[str] = set()

    @property
    def better(self) -> dict[str, str]:
        """Name of a value -> "low" or "high", for all values that can select checkpoints."""
        ways = [declared(metric, "better", self.subject, {}) for metric in self.metrics.values()]
        return {name: way for known in ways for name, way in known.items()}

    @property
    def selection(self) -> str:
        """The split that is evaluated during the training."""
        return SELECTION if self.dataset.splits.get(SELECTION) else REPORT

    def unfit(self) -> list[str]:
        """Returns a sentence for each metric that does not apply, and for each split with too few images."""
        reasons = {name: declared(metric, "unfit", self.subject, "") for name, metric in self.metrics.items()}
        sentences = [f"metric.{name} {reason}." for name, reason in reasons.items() if reason]
        counts = {
            count for metric in self.metrics.values() if isinstance(count := getattr(metric, "n_real", None), int)
        }
        for split in self.splits:
            there = self.dataset.splits.get(split)
            sentences += [too_many(count, split, there) for count in sorted(counts) if there and count > there]
            sentences += [
                f"metric.{name} needs {least} images in the {split} split, and dataset has {there}; use a dataset with "
                f"more (of image_folder: dataset.held_out), or leave the metric out."
                for name, metric in self.metrics.items()
                if there and there < (least := max(2, getattr(metric, "k", 1) + 1))
            ]
        return sentences

    def load_extractors(self) -> None:
        """Loads or trains the feature extractors of the metrics."""
        for metric in self.metrics.values():
            kind = declared(metric, "features", self.subject, None)
            if kind is not None:
                self.extractor(kind, getattr(metric, "weights", None))

    def __call__(
        self, samples: Pool, game: Players | None, split: str, weights: str, with_live: bool = True
    ) -> Evaluation:
        """Computes all metrics. weights: ema, live or images; with_live: metrics of the live networks as well."""
        for name in self.dataset.splits:
            if name not in self.pools:  # once: it hashes all images of the split
                self.pools[name] = self.pool(name)
        view = View(self.subject, split, self.pools, samples, self.extractor, self.seed, game)
        values: dict[str, float] = {}
        protocols: dict[str, dict[str, Any]] = {}
        for name, metric in self.metrics.items():
            if name in self.of_live and not with_live:
                continue
            view.begin()
            try:
                found = numbers(metric(view))
            except ValueError as error:
                raise ConfigError(f"metric.{name}: {error}.") from error
            except Exception as error:
                if type(metric).__module__.startswith("gan_runner.") or isinstance(error, ConfigError):
                    raise
                said_so = str(error).split("\n")[0]
                raise ConfigError(
                    f"metric.{name}: {type(metric).__name__} raised {type(error).__name__} ({said_so}); "
                    f"HYDRA_FULL_ERROR=1 shows where."
                ) from error
            twice = sorted(found.keys() & values.keys())
            if twice:
                raise ConfigError(f"metric.{name} gives {twice[0]}, as another metric does; take one of them.")
            values |= found
            if "weights" in view.stamp:
                self.of_live.add(name)
            for value in found:
                stamp = view.stamps.get(value, view.stamp)
                protocols[value] = {"weights": weights, **self.origin, **settings(metric), **stamp}
        for sentence in view.warnings:
            if sentence not in self.warned:
                log.warning(sentence)
        self.warned.update(view.warnings)
        return Evaluation(split, values, protocols, view.pictures)

    def pool(self, name: str) -> Pool:
        part = self.dataset.split(name)

        def read(number: int) -> Chunk:
            rows = slice(number * CHUNK, (number + 1) * CHUNK)
            return Chunk(part.images[rows], part.labels[rows] if part.labels is not None else None)

        return Pool(read, len(part.images), self.cache, part.fingerprint)

    def extractor(self, kind: str, weights: str | None = None) -> Extractor:
        kind = self.subject.kind(kind)
        if (kind, weights) not in self.extractors:
            with torch.random.fork_rng(devices=[]):  # initial weights use the global generator
                self.extractors[kind, weights] = self.made(kind, weights)
        return self.extractors[kind, weights]

    def made(self, kind: str, weights: str | None) -> Extractor:
        if kind == "pixels":
            return Pixels(self.subject.spec)
        if kind in SOURCES:
            return Fidelity(kind, weights, self.device)
        labelled = self.dataset.digits if isinstance(self.dataset, StackedMNIST) and kind == "digits" else self.dataset
        test = next(labelled.split(n) for n in (REPORT, SELECTION, "train") if labelled.splits.get(n))
        return Classifier(labelled.split("train"), test, self.cache, self.device)


def numbers(found: Any) -> dict[str, float]:
    """Returns the values of a metric as floats by name; ValueError if it returns anything but a mapping to numbers."""
    if not isinstance(found, Mapping):
        raise ValueError(f"it returns {type(found).__name__}, and should return a dictionary of numbers by their names")
    try:
        return {str(name): float(number) for name, number in found.items()}
    except (TypeError, OverflowError) as error:
        raise ValueError(f"a value that it returns is no number ({error})") from error


def settings(metric: Metric) -> dict[str, Any]:
    """Returns the plain settings of a metric, except those that other fields of the protocol contain."""
    elsewhere = ("n_real", "n_fake", "n_train", "features", "weights")
    plain = {
        name: value
        for name, value in getattr(metric, "__dict__", {}).items()
        if isinstance(value, bool | int | float | str | list)
    }
    return {name: value for name, value in plain.items() if name not in elsewhere}


def subject_of(dataset: ImageDataset, **players: Any) -> Subject:
    """Returns the Subject of a dataset; players: its fields that describe the networks."""
    mixture = {"centers": dataset.centers, "std": dataset.std} if isinstance(dataset, Gaussians) else {}
    labelled, stacked = dataset.labels is not None, isinstance(dataset, StackedMNIST)
    density = {}
    if isinstance(dataset, Points) and dataset.log_density(dataset.images[:1].flatten(1)) is not None:
        density = {"log_density": dataset.log_density}
    facts = {
        "endless": dataset.endless,
        "stacked": stacked,
        "repeats": dataset.repeats,
        **mixture,
        **density,
        **players,
    }
    return Subject(dataset.spec, dataset.splits, labelled, **facts)
