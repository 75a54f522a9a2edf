"""The inputs of metrics, and what a metric declares."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from gan_runner.errors import ConfigError, require
from gan_runner.metric.pools import Extractor, Judged, Pool
from gan_runner.spec import ImageSpec


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
