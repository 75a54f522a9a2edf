"""Inputs of metrics: samples, real images, and features of both, each computed once and shared by all metrics."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from gan_runner.errors import ConfigError, require
from gan_runner.metric.cache import Cache, Content
from gan_runner.metric.frechet import Moments, moments
from gan_runner.metric.neighbours import nearest
from gan_runner.spec import ImageSpec

NEAREST = 5  # neighbours of an image that are searched, at least
CHUNK = 256  # images that are generated, and passed to an extractor, together


class Chunk(NamedTuple):
    """Some consecutive images, on the CPU."""

    images: Tensor  # (B, C, H, W): uint8 pixels, or float32 points
    labels: Tensor | None  # (B,) int64


class Features(NamedTuple):
    vectors: Tensor  # (B, D) float32
    logits: Tensor | None = None  # (B, K) float32, of the extractor's own classes


class Extractor(Protocol):
    """A function images -> features, in which the features of an image do not depend on the other images."""

    name: str  # network and layer
    digest: str  # hash of its weights
    accuracy: float | None  # on test images, if it was trained on the labels of the dataset
    cheap: bool  # whether it is as fast as reading its earlier results from the cache

    def __call__(self, images: Tensor) -> Features: ...


class Players(Protocol):
    """The two players, for metrics of the discriminator."""

    def scores(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """Returns raw scores (N,) of stored images (N, C, H, W)."""

    def fake_scores(self, count: int) -> Tensor:
        """Returns raw scores (count,) of samples of the live generator, against which the discriminator is trained."""

    def features(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """Returns (N, D), the input of the discriminator's last layer."""

    def classify(self, images: Tensor) -> Tensor:
        """Returns logits (N, K) of the averaged discriminator, if it predicts classes."""


@dataclass(frozen=True)
class Subject:
    """The facts about data and run from which a metric decides whether it applies."""

    spec: ImageSpec
    splits: Mapping[str, int]
    labelled: bool  # whether the dataset has labels
    endless: bool = False  # whether the training images are always new
    conditional: bool = False  # whether the generator uses labels
    classifies: bool = False  # whether the discriminator is a classifier, trained on labels
    estimate: str | None = None  # the distance that the loss estimates
    packed: bool = False  # whether the discriminator scores several images at once
    players: bool = True  # whether a generator and a discriminator exist, or only samples
    centers: Tensor | None = None  # (K, coordinates) of the modes, if the data are a mixture of Gaussians
    std: float = 0.0
    log_density: Callable[[Tensor], Any] | None = None  # of points (N, coordinates), where it is known
    stacked: bool = False  # whether the dataset is stacked MNIST, with a digit in each channel
    repeats: Callable[[str], bool] = lambda split: False  # whether every image of a split is also a training image

    @property
    def pictures(self) -> bool:
        return self.spec.value_range is not None and self.spec.height * self.spec.width > 1

    def kind(self, features: str) -> str:
        """Resolves "auto": a classifier of the dataset if the data are labelled pictures, else pixels."""
        usual = "classifier" if self.labelled and self.pictures else "pixels"
        return usual if features == "auto" else features


class Pool:
    """Images of one origin, from the first on, with all computed features."""

    def __init__(
        self, read: Callable[[int], Chunk], length: int | None = None, cache: Cache | None = None, key: str = ""
    ):
        """read(number) -> the chunk of CHUNK images, or of the remaining ones. length: images; None: unlimited.

        cache: stores results about real images, which `key` identifies; None for samples.
        """
        self.read, self.length, self.cache, self.key = read, length, cache, key
        self.chunks: list[Chunk] = []
        self.seen: dict[str, list[Features]] = {}  # extractor -> features of each chunk
        self.known: dict[str, Content] = {}  # key -> results about the images

    def number(self, count: int) -> int:
        """Returns the number of chunks that hold `count` images."""
        return -(-count // CHUNK)

    def chunk(self, number: int) -> Chunk:
        """Returns one chunk. Chunks of real images are not kept, since the dataset has them in memory."""
        if self.cache is not None:
            return self.read(number)
        while len(self.chunks) <= number:
            self.chunks.append(self.read(len(self.chunks)))
        return self.chunks[number]

    def images(self, count: int) -> Tensor:
        return torch.cat([self.chunk(number).images for number in range(self.number(count))])[:count]

    def labels(self, count: int) -> Tensor | None:
        labels = [self.chunk(number).labels for number in range(self.number(count))]
        return None if labels[0] is None else torch.cat([each for each in labels if each is not None])[:count]

    def features(self, extractor: Extractor, count: int) -> Features:
        """Returns the features of the first `count` images; those of real images come from the cache if possible."""
        name, needed = f"{extractor.name} {extractor.digest}", self.number(count)
        if len(self.seen.get(name, ())) < needed:
            self.seen[name] = self.features_of_chunks(extractor, name, needed)
        vectors, logits = zip(*self.seen[name][:needed], strict=True)
        known = [each for each in logits if each is not None]
        return Features(torch.cat(vectors)[:count], torch.cat(known)[:count] if known else None)

    def features_of_chunks(self, extractor: Extractor, name: str, needed: int) -> list[Features]:
        """Returns the features of at least the first `needed` chunks, and computes only the missing ones."""
        if self.cache is None or extractor.cheap:
            return self.extended(self.seen.get(name, []), extractor, needed)

        def extend(found: dict[str, Any] | None) -> dict[str, Any] | None:
            known = [Features(*chunk) for chunk in found["features"]] if found is not None else []
            if len(known) >= needed:
                return None
            return {"features": [tuple(chunk) for chunk in self.extended(known, extractor, needed)]}

        content = self.cache.get_or_compute("features", f"{self.key} {name}", extend)
        return [Features(*chunk) for chunk in content["features"]]

    def extended(self, known: list[Features], extractor: Extractor, needed: int) -> list[Features]:
        return known + [extractor(self.chunk(number).images) for number in range(len(known), needed)]

    def compute_once(self, key: str, make: Callable[[], Content]) -> Content:
        """Returns make(), computed once for each `key`; for real images the result is cached on disk.

        The result may depend only on these images and on other images that `key` names.
        """
        if key not in self.known:
            if self.cache is None:
                self.known[key] = make()
            else:
                here = f"{self.key} {key}"
                self.known[key] = self.cache.get_or_compute(
                    "numbers", here, lambda found: make() if found is None else None
                )
        return self.known[key]


@dataclass
class Judged:
    """The first `count` images of a pool for one metric; the stamp records which features the metric uses."""

    pool: Pool
    count: int
    extractor: Callable[[str, str | None], Extractor]
    stamp: dict[str, Any]

    @property
    def images(self) -> Tensor:
        """(count, C, H, W): uint8 pixels, or float32 points."""
        return self.pool.images(self.count)

    @property
    def labels(self) -> Tensor:
        """(count,) int64; ValueError if the images have no labels."""
        labels = self.pool.labels(self.count)
        if labels is None:
            raise ValueError("it asks for labels of images that have none")
        return labels

    def found(self, kind: str, weights: str | None = None) -> Extractor:
        extractor = self.extractor(kind, weights)
        self.stamp |= {"features": extractor.name, "features_hash": extractor.digest}
        if extractor.accuracy is not None:
            self.stamp["features_accuracy"] = extractor.accuracy
        return extractor

    def features(self, kind: str, weights: str | None = None) -> Tensor:
        """Returns (count, D) float32."""
        return self.pool.features(self.found(kind, weights), self.count).vectors

    def logits(self, kind: str, weights: str | None = None) -> Tensor:
        """Returns (count, K) float32; ValueError if the extractor has no logits."""
        logits = self.pool.features(self.found(kind, weights), self.count).logits
        if logits is None:
            raise ValueError(f"it asks for logits of {kind}, which names no classes")
        return logits

    def moments(self, kind: str, weights: str | None = None) -> Moments:
        found = self.compute_once("moments", kind, weights, lambda: moments(self.features(kind, weights))._asdict())
        return Moments(**found)

    def distances(self, kind: str, weights: str | None = None, k: int = 1) -> Tensor:
        """Returns (count, k): distances to the nearest other images of the set, ascending."""
        most = max(k, min(NEAREST, self.count - 1))  # metrics with different k share one search

        def search() -> Content:
            features = self.features(kind, weights)
            return {"distances": nearest(features, features, most, skip_self=True).distances}

        found: Tensor = self.compute_once(f"distances {most}", kind, weights, search)["distances"]
        return found[:, :k]

    def compute_once(
        self, what: str, kind: str, weights: str | None, make: Callable[[], Content], *others: "Judged"
    ) -> Content:
        """Returns make(), computed once, which depends on features of these images and of `others`, all real."""
        extractor = self.found(kind, weights)
        sets = ", ".join(f"{each.pool.key} {each.count}" for each in (self, *others))
        return self.pool.compute_once(f"{what} of {extractor.name} {extractor.digest} of {sets}", make)


@dataclass
class View:
    """The input of all metrics: samples of one generator, and one split of the real images."""

    subject: Subject
    split: str
    pools: Mapping[str, Pool]  # split -> real images
    samples: Pool
    extractor: Callable[[str, str | None], Extractor]
    seed: int
    game: Players | None = None
    stamp: dict[str, Any] = field(default_factory=dict)  # the inputs that the current metric has used
    stamps: dict[str, dict[str, Any]] = field(default_factory=dict)  # value -> its own inputs, set by `note`
    warnings: list[str] = field(default_factory=list)
    pictures: dict[str, tuple[Tensor, int]] = field(default_factory=dict)  # name -> images and columns of a grid

    def begin(self) -> None:
        """Clears the recorded inputs before the next metric."""
        self.stamp, self.stamps = {}, {}

    def real(self, count: int | None = None, split: str | None = None) -> Judged:
        """Returns the first `count` images of a split; by default all images of the evaluated split."""
        name = split or self.split
        pool = self.pools[name]
        assert pool.length is not None
        if count is not None and count > pool.length:
            raise ConfigError(too_many(count, name, pool.length))
        count = count or pool.length
        self.stamp |= {"n_real": count, "split": name, "real_hash": pool.key}
        return Judged(pool, count, self.extractor, self.stamp)

    def train(self, count: int) -> Judged:
        """Returns at most `count` training images, as a second reference."""
        pool = self.pools["train"]
        assert pool.length is not None
        count = min(count, pool.length)
        self.stamp |= {"n_train": count}
        return Judged(pool, count, self.extractor, self.stamp)

    def fake(self, count: int) -> Judged:
        if self.samples.length is not None and count > self.samples.length:
            raise ConfigError(
                f"metric.n_fake={count} is more than the {self.samples.length} samples that there are; use fewer."
            )
        self.stamp |= {"n_fake": count}
        return Judged(self.samples, count, self.extractor, self.stamp)

    def players(self, averaged: bool = False) -> Players:
        if self.game is None:
            raise ValueError("it asks the discriminator, and there are samples alone")
        self.stamp |= {} if averaged else {"weights": "live"}  # the live discriminator, not the average
        return self.game

    def note(self, *values: str) -> None:
        """Records the current stamp for these values, so that inputs used later do not change it."""
        self.stamps |= {value: dict(self.stamp) for value in values}

    def warn(self, sentence: str) -> None:
        self.warnings.append(sentence)

    def show(self, name: str, images: Tensor, columns: int) -> None:
        """Adds an image grid for TensorBoard and the run folder."""
        self.pictures[name] = (images, columns)


class Metric(Protocol):
    """Computes one or more values of the quality of a generator or a discriminator. A user's class needs no base class.

    Optional attributes, or methods of the subject: `better`, name -> "low" or "high", for values that can select;
    `unfit`, the reason why the metric does not apply, as the second half of a sentence; `features`, the name of its
    extractor.
    """

    def __call__(self, view: View) -> dict[str, float]: ...


def require_counts(**counts: int | None) -> None:
    """ValueError unless each count is None or at least 2."""
    for name, count in counts.items():
        require(count is None or count >= 2, f"{name}={count} must be at least 2")


def too_many(count: int, split: str, there: int) -> str:
    return f"metric.n_real={count} is more than the {there} images of the {split} split; use null for all."


def declared(metric: Metric, name: str, subject: Subject, otherwise: Any) -> Any:
    """Returns an optional attribute of a metric, or the result of its method for `subject`; else `otherwise`."""
    found = getattr(metric, name, otherwise)
    return found(subject) if callable(found) else found
