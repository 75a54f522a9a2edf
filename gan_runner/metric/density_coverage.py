"""Density and coverage (Naeem et al. 2020)."""

from typing import NamedTuple

from torch import Tensor

from gan_runner.metric.neighbours import contained, radii


class DensityCoverage(NamedTuple):
    density: float  # balls around a fake, over k: 1 where the sets are alike, more where fakes crowd dense places
    coverage: float  # share of real balls that hold a fake, from 0 to 1


def density_coverage(real: Tensor, fake: Tensor, k: int = 5, real_radii: Tensor | None = None) -> DensityCoverage:
    """Of features real (N, D) and fake (M, D); a ball reaches to a real one's k-th nearest other, exclusive.

    density = sum_ij 1[|y_j - x_i| < r_i] / (k M), coverage = mean_i 1[some |y_j - x_i| < r_i]. Sets that are alike have
    an expected coverage of 1 - prod_{i=1..k} (N - i) / (M + N - i), about 1 - 2^-k where N = M: .96875 at k = 5.
    `real_radii` (N,) is `radii(real, k)` where the caller has it already.
    """
    real_radii = radii(real, k) if real_radii is None else real_radii
    around, inside = contained(real, real_radii, fake, closed=False)
    return DensityCoverage(float(around.double().mean()) / k, float((inside > 0).double().mean()))
