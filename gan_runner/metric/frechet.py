"""Frechet distance of two sets of features (Heusel et al. 2017); with Inception's features this is FID."""

from typing import NamedTuple

import torch
from torch import Tensor

from gan_runner.errors import require

NUMBERS = 4_000_000  # values in one block of rows: 32 MB in float64


class Moments(NamedTuple):
    mean: Tensor  # (D,) float64
    covariance: Tensor  # (D, D) float64, over count - 1
    rows: int  # D or fewer rows give a singular covariance, and few rows bias the distance upward


def moments(features: Tensor) -> Moments:
    """Mean and unbiased covariance of features (N, D), N >= 2, summed in float64 about the mean of the first rows.

    For any point c: C = (S_2 - S_1 S_1'/N) / (N - 1), with S_1 = sum(x - c) and S_2 = sum (x - c)(x - c)'. A point c
    among the data avoids cancellation if the mean is large compared with the deviation.
    """
    count, size = features.shape
    require(count >= 2, f"{count} rows of features have no covariance: use 2 or more")
    step = max(1, NUMBERS // max(1, size))
    origin = features[:step].double().mean(0)
    first, second = torch.zeros_like(origin), origin.new_zeros(size, size)
    for start in range(0, count, step):
        block = features[start : start + step].double() - origin
        first += block.sum(0)
        second.addmm_(block.T, block)
    covariance = (second - torch.outer(first, first) / count) / (count - 1)
    return Moments(origin + first / count, covariance, count)


def frechet_distance(real: Moments, fake: Moments) -> float:
    """|m_r - m_f|^2 + Tr(C_r + C_f - 2 (C_r C_f)^(1/2)), 0 or more; by torch-fidelity, from eigenvalues of C_r C_f.

    Singular covariances reduce the accuracy: the root amplifies the rounding error of a zero eigenvalue. A negative
    result is a rounding error.
    """
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

    statistics = [{"mu": m.mean.cpu().numpy(), "sigma": m.covariance.cpu().numpy()} for m in (real, fake)]
    return float(fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID])
