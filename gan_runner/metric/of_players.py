"""Metrics on the discriminator: the quality of its features and scores, and its overfitting."""

import math
from typing import ClassVar

import torch

from gan_runner.metric.inputs import Subject, View, require_counts
from gan_runner.metric.linear_probe import linear_probe
from gan_runner.metric.pools import Judged
from gan_runner.metric.test_error import error_rate


def without_players(subject: Subject) -> str:
    return "" if subject.players else "asks the discriminator, and there are samples alone"


def mean_score(view: View, images: Judged) -> float:
    labels = images.labels if view.subject.labelled else None
    return float(view.players().scores(images.images, labels).double().mean())


class ErrorRate:
    """test_error, validation_error: share of the split that the averaged discriminator assigns to a wrong class.

    For discriminators that are classifiers (Salimans et al. 2016). Select on the validation split alone.
    """

    better: ClassVar[dict[str, str]] = {"validation_error": "low"}

    def unfit(self, subject: Subject) -> str:
        if subject.players and not subject.classifies:
            return "is for discriminators that learn the classes; choose loss=semi_supervised"
        if not subject.splits.get("test"):
            return (
                "is taken on the test split, in which dataset has no image; of image_folder: dataset.held_out above 0"
            )
        return without_players(subject)

    def __call__(self, view: View) -> dict[str, float]:
        splits = [name for name in ("validation", "test") if view.subject.splits.get(name)]
        return {f"{name}_error": self.error(name, view) for name in splits}

    def error(self, split: str, view: View) -> float:
        images, game = view.real(split=split), view.players(averaged=True)
        view.note(f"{split}_error")
        return error_rate([(game.classify(images.images), images.labels)])


class HeldOutWasserstein:
    """held_out_wasserstein: E D(x) - E D(G(z)) with held-out images x, for losses that estimate this distance.

    The value uses the live players, and is comparable only between equal discriminators.
    """

    def __init__(self, n_real: int | None = None, n_fake: int = 10_000):
        require_counts(n_real=n_real, n_fake=n_fake)
        self.n_real, self.n_fake = n_real, n_fake

    def unfit(self, subject: Subject) -> str:
        if subject.players and subject.estimate != "wasserstein":
            return "is for losses whose scores estimate that distance; choose loss=wgan, wgan_gp or wgan_lp"
        return without_players(subject)

    def __call__(self, view: View) -> dict[str, float]:
        real = mean_score(view, view.real(self.n_real))
        fake = view.players().fake_scores(view.fake(self.n_fake).count)
        return {"held_out_wasserstein": real - float(fake.double().mean())}


class DiscriminatorGap:
    """discriminator_gap: E D(training images) - E D(held-out images), 0 without overfitting.

    discriminator_gap_share: gap over |E D(training images) - E D(samples)|; 1: held-out images score like samples.
    """

    better: ClassVar[dict[str, str]] = {"discriminator_gap_share": "low"}

    def __init__(self, n_real: int | None = None, n_fake: int = 10_000):
        require_counts(n_real=n_real, n_fake=n_fake)
        self.n_real, self.n_fake = n_real, n_fake

    def unfit(self, subject: Subject) -> str:
        return without_players(subject)

    def __call__(self, view: View) -> dict[str, float]:
        held_out = view.real(self.n_real)
        train = mean_score(view, view.train(held_out.count))
        fake = float(view.players().fake_scores(view.fake(self.n_fake).count).double().mean())
        gap = train - mean_score(view, held_out)
        share = gap / abs(train - fake) if train != fake else math.nan
        return {"discriminator_gap": gap, "discriminator_gap_share": share}


class LinearProbe:
    """linear_probe: accuracy on held-out images of a linear classifier of the discriminator's features.

    The features are the input of the discriminator's last layer; the classifier learns from n_train training images.
    """

    better: ClassVar[dict[str, str]] = {"linear_probe": "high"}

    def __init__(self, n_real: int | None = None, n_train: int = 10_000):
        require_counts(n_real=n_real, n_train=n_train)
        self.n_real, self.n_train = n_real, n_train

    def unfit(self, subject: Subject) -> str:
        if subject.players and not subject.labelled:
            return "needs labels, which dataset does not have"
        if subject.packed:
            return "needs features of single images, which a discriminator of packs does not have; use model.pack=1"
        return without_players(subject)

    def __call__(self, view: View) -> dict[str, float]:
        train, held_out = view.train(self.n_train), view.real(self.n_real)
        # a conditional discriminator gets one class for all images, since its features would contain the true label
        seen = [view.players().features(each.images, torch.zeros_like(each.labels)) for each in (train, held_out)]
        return {"linear_probe": linear_probe(seen[0], train.labels, seen[1], held_out.labels)}
