"""Agreement of a conditional generator's samples with the requested classes."""

from torch import Tensor

from gan_runner.errors import require
from gan_runner.metric.frechet import frechet_distance, moments


def agreement(predicted: Tensor, requested: Tensor) -> float:
    """Share, from 0 to 1, of fakes whose class `predicted` (N,) by a classifier is `requested` (N,): GAN-test."""
    require(predicted.shape == requested.shape, f"{len(predicted)} predicted classes for {len(requested)} requested")
    return float((predicted == requested).double().mean())


def intra_frechet(real: Tensor, real_labels: Tensor, fake: Tensor, fake_labels: Tensor) -> float:
    """Mean over classes of the Frechet distance within a class (Miyato & Koyama 2018); features (N, D), labels (N,)."""
    classes = sorted({*real_labels.tolist(), *fake_labels.tolist()})
    require(bool(classes), "no labels, no classes: use 2 or more rows of each class")
    return sum(_of_class(c, real[real_labels == c], fake[fake_labels == c]) for c in classes) / len(classes)


def _of_class(label: int, real: Tensor, fake: Tensor) -> float:
    few = min(len(real), len(fake)) < 2
    require(not few, f"class {label} has {len(real)} real and {len(fake)} fake rows: use 2 or more of each")
    return frechet_distance(moments(real), moments(fake))
