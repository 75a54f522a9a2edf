"""Improved precision and recall (Kynkaanniemi et al. 2019)."""

from typing import NamedTuple

from torch import Tensor

from gan_runner.metric.neighbours import contained, radii


class PrecisionRecall(NamedTuple):
    precision: float  # share of fakes in a ball around a real one: quality, from 0 to 1
    recall: float  # share of reals in a ball around a fake one: variety, from 0 to 1


def precision_recall(
    real: Tensor, fake: Tensor, k: int = 3, real_radii: Tensor | None = None, fake_radii: Tensor | None = None
) -> PrecisionRecall:
    """Of features real (N, D) and fake (M, D); a ball reaches to the k-th nearest other of its own set, inclusive.

    `real_radii` (N,) and `fake_radii` (M,) are `radii(real, k)` and `radii(fake, k)` where the caller has them already.
    """
    real_radii = radii(real, k) if real_radii is None else real_radii
    fake_radii = radii(fake, k) if fake_radii is None else fake_radii
    precise = contained(real, real_radii, fake, closed=True).balls_around_point > 0
    recalled = contained(fake, fake_radii, real, closed=True).balls_around_point > 0
    return PrecisionRecall(float(precise.double().mean()), float(recalled.double().mean()))
