"""Density and coverage (Naeem et al. 2020)."""

from typing import NamedTuple

from torch import Tensor

from gan_runner.metric.neighbours import contained, radii


class DensityCoverage(NamedTuple):
    density: float  # mean number of balls around a fake, over k: about 1 if the sets have one distribution
    coverage: float  # share of real balls that contain a fake, from 0 to 1


def density_coverage(real: Tensor, fake: Tensor, k: int = 5, real_radii: Tensor | None = None) -> DensityCoverage:
    """density = sum_ij 1[|y_j - x_i| < r_i] / (k M), coverage = mean_i 1[some |y_j - x_i| < r_i].

    x_i are rows of `real` (N, D), y_j rows of `fake` (M, D), and r_i is the distance of x_i to its k-th nearest other
    real row. Sets of one distribution have an expected coverage of 1 - prod_{i=1..k} (N - i) / (M + N - i), about
    1 - 2^-k if N = M: .96875 at k = 5. If fakes crowd where real ones are dense, the density exceeds 1.
    `real_radii` (N,): pass `radii(real, k)` if it is computed already.
    """
    real_radii = radii(real, k) if real_radii is None else real_radii
    around, inside = contained(real, real_radii, fake, closed=False)
    return DensityCoverage(float(around.double().mean()) / k, float((inside > 0).double().mean()))
