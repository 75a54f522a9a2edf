"""What a metric sees: a generator's samples, real images, and features of both, each made once and shared by all."""

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

NEAREST = 5  # neighbours of an image that are looked for, at least
CHUNK = 256  # images that are made, and looked at, together


class Chunk(NamedTuple):
    """Some images in a row, on the CPU."""

    images: Tensor  # (B, C, H, W): uint8 pixels, or float32 points
    labels: Tensor | None  # (B,) int64


class Features(NamedTuple):
    vectors: Tensor  # (B, D) float32
    logits: Tensor | None = None  # (B, K) float32, of the extractor's own classes


class Extractor(Protocol):
    """images -> features, one image at a time as far as the numbers go."""

    name: str  # with what they are compared: network and layer
    digest: str  # of its weights
    accuracy: float | None  # on test images, where it was trained on the dataset's own labels
    cheap: bool  # is it as fast as reading what it found before?

    def __call__(self, images: Tensor) -> Features: ...


class Players(Protocol):
    """The players as they are, for what is measured on the discriminator."""

    def scores(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """Stored images (N, C, H, W) -> raw scores (N,)."""

    def fake_scores(self, count: int) -> Tensor:
        """Of samples of the generator that the discriminator answers: the live one."""

    def features(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """(N, D): what the discriminator's last layer sees."""

    def classify(self, images: Tensor) -> Tensor:
        """(N, K) logits of the averaged discriminator, where it knows the classes."""


@dataclass(frozen=True)
class Subject:
    """What a metric may ask before it is used: does it apply at all?"""

    spec: ImageSpec
    splits: Mapping[str, int]
    labelled: bool  # has the dataset labels?
    endless: bool = False  # are training images drawn anew for ever?
    conditional: bool = False  # does the generator use labels?
    classifies: bool = False  # is the discriminator a classifier, trained on labels?
    estimate: str | None = None  # what the loss estimates
    packed: bool = False  # does the discriminator score several images at once?
    players: bool = True  # are there a generator and a discriminator, or samples alone?
    centers: Tensor | None = None  # (K, coordinates) of the modes, where the data are a mixture of Gaussians
    std: float = 0.0
    log_density: Callable[[Tensor], Any] | None = None  # of points (N, coordinates), where it is known
    stacked: bool = False  # are the images three digits each, red, green and blue?
    repeats: Callable[[str], bool] = lambda split: False  # is every image of a split also a training image?

    @property
    def pictures(self) -> bool:
        return self.spec.value_range is not None and self.spec.height * self.spec.width > 1

    def kind(self, features: str) -> str:
        """auto: those of a classifier of the dataset where there can be one, else pixels."""
        usual = "classifier" if self.labelled and self.pictures else "pixels"
        return usual if features == "auto" else features


class Pool:
    """Images of one origin, from the first on; what was read of them stays."""

    def __init__(
        self, read: Callable[[int], Chunk], length: int | None = None, cache: Cache | None = None, key: str = ""
    ):
        """read(number) -> a chunk of CHUNK images, or of what is left; length: None for as many as one likes.

        cache: for what is learned of real images, which `key` tells apart from others; samples have none.
        """
        self.read, self.length, self.cache, self.key = read, length, cache, key
        self.chunks: list[Chunk] = []
        self.seen: dict[str, list[Features]] = {}  # by extractor, a chunk each
        self.known: dict[str, Content] = {}  # what was found out about them, by its key

    def number(self, count: int) -> int:
        """Of chunks."""
        return -(-count // CHUNK)

    def chunk(self, number: int) -> Chunk:
        """Of real images none is kept: they are in memory already."""
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
        """Of the first `count`; of real images, what the cache has is not computed."""
        name, wanted = f"{extractor.name} {extractor.digest}", self.number(count)
        if len(self.seen.get(name, ())) < wanted:
            self.seen[name] = self.looked_at(extractor, name, wanted)
        vectors, logits = zip(*self.seen[name][:wanted], strict=True)
        known = [each for each in logits if each is not None]
        return Features(torch.cat(vectors)[:count], torch.cat(known)[:count] if known else None)

    def looked_at(self, extractor: Extractor, name: str, wanted: int) -> list[Features]:
        """At least the first `wanted` chunks, those first that are known."""
        if self.cache is None or extractor.cheap:
            return self.extended(self.seen.get(name, []), extractor, wanted)

        def extend(found: dict[str, Any] | None) -> dict[str, Any] | None:
            known = [Features(*chunk) for chunk in found["features"]] if found is not None else []
            if len(known) >= wanted:
                return None
            return {"features": [tuple(chunk) for chunk in self.extended(known, extractor, wanted)]}

        content = self.cache.found_or_made("features", f"{self.key} {name}", extend)
        return [Features(*chunk) for chunk in content["features"]]

    def extended(self, known: list[Features], extractor: Extractor, wanted: int) -> list[Features]:
        return known + [extractor(self.chunk(number).images) for number in range(len(known), wanted)]

    def found_out(self, key: str, make: Callable[[], Content]) -> Content:
        """What depends on these images alone, or with `key` on other real ones; of real images it is cached."""
        if key not in self.known:
            if self.cache is None:
                self.known[key] = make()
            else:
                here = f"{self.key} {key}"
                self.known[key] = self.cache.found_or_made(
                    "numbers", here, lambda found: make() if found is None else None
                )
        return self.known[key]


@dataclass
class Judged:
    """The first `count` images of a pool, as one metric sees them; what it asks for is noted in the stamp."""

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
        """(count,); ValueError where there are none."""
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
        """(count, D) float32."""
        return self.pool.features(self.found(kind, weights), self.count).vectors

    def logits(self, kind: str, weights: str | None = None) -> Tensor:
        """(count, K) float32; ValueError where there are none."""
        logits = self.pool.features(self.found(kind, weights), self.count).logits
        if logits is None:
            raise ValueError(f"it asks for logits of {kind}, which names no classes")
        return logits

    def moments(self, kind: str, weights: str | None = None) -> Moments:
        found = self.found_out("moments", kind, weights, lambda: moments(self.features(kind, weights))._asdict())
        return Moments(**found)

    def distances(self, kind: str, weights: str | None = None, k: int = 1) -> Tensor:
        """(count, k): to the nearest other images of the set, ascending."""
        most = max(k, min(NEAREST, self.count - 1))  # so that metrics with several k share one search

        def search() -> Content:
            features = self.features(kind, weights)
            return {"distances": nearest(features, features, most, skip_self=True).distances}

        found: Tensor = self.found_out(f"distances {most}", kind, weights, search)["distances"]
        return found[:, :k]

    def found_out(
        self, what: str, kind: str, weights: str | None, make: Callable[[], Content], *others: "Judged"
    ) -> Content:
        """What depends on features of these images, and of other real ones."""
        extractor = self.found(kind, weights)
        sets = ", ".join(f"{each.pool.key} {each.count}" for each in (self, *others))
        return self.pool.found_out(f"{what} of {extractor.name} {extractor.digest} of {sets}", make)


@dataclass
class View:
    """Of one generator, against one split of the real images."""

    subject: Subject
    split: str
    pools: Mapping[str, Pool]  # of real images, by split
    samples: Pool
    extractor: Callable[[str, str | None], Extractor]
    seed: int
    game: Players | None = None
    stamp: dict[str, Any] = field(default_factory=dict)  # what the metric at work has asked for
    stamps: dict[str, dict[str, Any]] = field(default_factory=dict)  # of single values, where it asked several things
    warnings: list[str] = field(default_factory=list)
    pictures: dict[str, tuple[Tensor, int]] = field(default_factory=dict)  # name -> images and columns of a grid

    def begin(self) -> None:
        """For the next metric, which has used nothing yet."""
        self.stamp, self.stamps = {}, {}

    def real(self, count: int | None = None, split: str | None = None) -> Judged:
        """The first images of a split, by default of the one that is judged and all of them."""
        name = split or self.split
        pool = self.pools[name]
        assert pool.length is not None
        if count is not None and count > pool.length:
            raise ConfigError(too_many(count, name, pool.length))
        count = count or pool.length
        self.stamp |= {"n_real": count, "split": name, "real_hash": pool.key}
        return Judged(pool, count, self.extractor, self.stamp)

    def train(self, count: int) -> Judged:
        """Training images, at most `count`, as a second reference."""
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
        self.stamp |= {} if averaged else {"weights": "live"}  # as they play
        return self.game

    def note(self, *values: str) -> None:
        """What was asked for last is what these values depend on, whatever is asked for after them."""
        self.stamps |= {value: dict(self.stamp) for value in values}

    def warn(self, sentence: str) -> None:
        self.warnings.append(sentence)

    def show(self, name: str, images: Tensor, columns: int) -> None:
        """A picture for TensorBoard and the run folder."""
        self.pictures[name] = (images, columns)


class Metric(Protocol):
    """A number, or several, that says how good a generator or a discriminator is. A user's class needs no base.

    It may say in `better` which values are better "low" or "high", so that they can select, in `unfit` why it does not
    apply, in the second half of a sentence, and in `features` what it looks at images with; each an attribute, or a
    method that is given the subject.
    """

    def __call__(self, view: View) -> dict[str, float]: ...


def require_counts(**counts: int | None) -> None:
    """ValueError unless each is null, or enough to compare."""
    for name, count in counts.items():
        require(count is None or count >= 2, f"{name}={count} must be at least 2")


def too_many(count: int, split: str, there: int) -> str:
    return f"metric.n_real={count} is more than the {there} images of the {split} split; use null for all."


def declared(metric: Metric, name: str, subject: Subject, otherwise: Any) -> Any:
    """What a metric says of itself, if it says it."""
    found = getattr(metric, name, otherwise)
    return found(subject) if callable(found) else found
