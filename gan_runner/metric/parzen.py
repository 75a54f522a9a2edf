"""The Parzen-window log-likelihood of the first GAN papers (Goodfellow et al. 2014, parzen_ll.py)."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gan_runner.errors import require

SIGMAS = tuple(np.logspace(-1, 0, 10).tolist())
SAMPLES = 10_000  # samples of the generator in the published tables
VALIDATION = 1000  # validation images that choose sigma in the published tables
NUMBERS = 2_000_000  # values in one block of squared distances: 16 MB in float64


class Parzen(NamedTuple):
    sigma: float  # the candidate with the highest likelihood on the validation images
    mean: float  # log-likelihood of a test image, nats
    standard_error: float  # standard error of `mean`: population deviation / sqrt(test images)


def parzen_log_likelihood(
    samples: Tensor, validation: Tensor, test: Tensor, sigmas: Sequence[float] = SIGMAS
) -> Parzen:
    """Mean log p(x) of test (M, d) under Gaussians around samples (n, d), sigma chosen on validation (V, d).

    All values are in [0, 1]; with twice the range the result is d log 2 lower. The published protocol has 10,000
    samples, 1000 validation images and 10 sigmas from .1 to 1. The measure is weak: training images themselves score
    lower than k-means centroids (Theis et al. 2016).
    """
    for name, rows in (("samples", samples), ("validation", validation), ("test", test)):
        low, high = (float(bound) for bound in rows.aminmax())
        require(low >= 0 and high <= 1, f"{name} from {low:.3g} to {high:.3g}: rescale the pixels to [0, 1] first")
    tried = log_densities(validation, samples, sigmas).mean(1)
    sigma = sigmas[int(tried.argmax())]
    found = log_densities(test, samples, [sigma])[0]
    return Parzen(sigma, float(found.mean()), float(found.std(correction=0)) / math.sqrt(len(test)))


def log_densities(points: Tensor, centers: Tensor, sigmas: Sequence[float]) -> Tensor:
    """(sigmas, N) float64: log p(x) = logsumexp_i(-|x - mu_i|^2 / (2 sigma^2)) - log n - d log(sigma sqrt(2 pi)).

    For points x (N, d) and centers mu (n, d). All sigmas share the distances, which come from a product in float64.
    """
    middle = centers.mean(0)
    mu = (centers - middle).double()
    size = mu.square().sum(1)
    parts = []
    for some in points.split(max(1, NUMBERS // len(mu))):
        x = (some - middle).double()
        squared = torch.addmm(size, x, mu.T, alpha=-2).add_(x.square().sum(1, keepdim=True)).clamp_(min=0)
        parts.append(torch.stack([torch.logsumexp(squared / (-2 * sigma**2), 1) for sigma in sigmas]))
    scale = [centers.shape[1] * math.log(sigma * math.sqrt(2 * math.pi)) for sigma in sigmas]
    return torch.cat(parts, 1) - math.log(len(mu)) - size.new_tensor(scale)[:, None]
