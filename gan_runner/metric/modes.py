"""Mode coverage of a generator: modes of a mixture of Gaussians, classes, or triples of digits."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from gan_runner.errors import require

SAMPLES = 2500  # points in the published tables
STACKED_SAMPLES = 26_000  # images of stacked MNIST in the published tables
NEAR = 3  # standard deviations from a center to a good point, at most


class Modes(NamedTuple):
    found: int  # modes with at least one good point
    high_quality: float  # share of good points; 98.89 % for the mixture itself, more if its modes are too narrow
    reverse_kl: float  # nats, from the good points' share of each mode to the uniform one; infinite without a point
    reverse_kl_nearest: float  # the same; without a good point, of all points, each at its nearest center


class ClassModes(NamedTuple):
    found: int  # classes with at least one sample
    reverse_kl: float  # nats, from the samples' share of each class to the uniform one; log K if all are of one
    total_variation: float  # distance to the uniform shares: half the sum of the differences, from 0 to 1 - 1/K
    share: Tensor  # (K,) float64, of each class


def modes(points: Tensor, centers: Tensor, std: float) -> Modes:
    """Mode coverage of points (N, 2) for centers (K, 2). A point within 3 std of its nearest center is good.

    The rule of VEEGAN (Srivastava et al. 2017) and PacGAN (Lin et al. 2018), which use 2500 points.
    """
    distance, nearest = torch.cdist(points.double(), centers.double()).min(dim=1)
    good = nearest[distance <= NEAR * std]
    counts = torch.bincount(good, minlength=len(centers)).double()
    if len(good) == 0:
        share = torch.bincount(nearest, minlength=len(centers)).double() / len(points)
        return Modes(0, 0.0, math.inf, _reverse_kl(share))
    reverse_kl = _reverse_kl(counts / len(good))
    return Modes(int((counts > 0).sum()), len(good) / len(points), reverse_kl, reverse_kl)


def class_modes(predicted: Tensor, classes: int) -> ClassModes:
    """Mode coverage from classes 0 .. classes - 1 predicted for N >= 1 samples, (N,) int64. One sample finds a mode.

    n samples of the uniform distribution over K find K (1 - (1 - 1/K)^n) modes, and KL = (K - 1) / (2 n) for n >> K.
    """
    require(len(predicted) > 0, "no samples, no modes: use 1 or more")
    share = torch.bincount(predicted, minlength=classes).double() / len(predicted)
    require(len(share) == classes, f"class {len(share) - 1} among {classes}: use classes from 0 to {classes - 1}")
    return ClassModes(int((share > 0).sum()), _reverse_kl(share), float((share - 1 / classes).abs().sum() / 2), share)


def stacked_modes(digits: Tensor) -> ClassModes:
    """Mode coverage of stacked MNIST from predicted digits (N, 3) int64; each of the 1000 triples is a mode.

    The rule of PacGAN (Lin et al. 2018), which uses 26,000 samples: the uniform distribution then has KL = .0192.
    """
    require(digits.ndim == 2 and digits.shape[1] == 3, f"digits of shape {tuple(digits.shape)}: use (N, 3)")
    return class_modes(digits @ digits.new_tensor([100, 10, 1]), 1000)


def _reverse_kl(share: Tensor) -> float:
    """KL(share || uniform) = sum p log(K p), nats, from 0 to log K; 0 log 0 = 0."""
    return float(torch.special.xlogy(share, share * len(share)).sum())
