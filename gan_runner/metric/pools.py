"""Real images and samples with their features, each computed once and shared by all metrics."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from gan_runner.metric.cache import Cache, Content
from gan_runner.metric.frechet import Moments, moments
from gan_runner.metric.neighbours import nearest

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
