"""Improved precision and recall (Kynkaanniemi et al. 2019)."""

from typing import NamedTuple

from torch import Tensor

from gan_runner.metric.neighbours import contained, radii


class PrecisionRecall(NamedTuple):
    precision: float  # share of fake rows in a ball around a real row: quality, from 0 to 1
    recall: float  # share of real rows in a ball around a fake row: variety, from 0 to 1


def precision_recall(
    real: Tensor, fake: Tensor, k: int = 3, real_radii: Tensor | None = None, fake_radii: Tensor | None = None
) -> PrecisionRecall:
    """Precision and recall of features real (N, D) and fake (M, D).

    A ball around a row reaches to the k-th nearest other row of its own set, inclusive.
    `real_radii` (N,), `fake_radii` (M,): pass `radii(real, k)`, `radii(fake, k)` if they are computed already.
    """
    real_radii = radii(real, k) if real_radii is None else real_radii
    fake_radii = radii(fake, k) if fake_radii is None else fake_radii
    precise = contained(real, real_radii, fake, closed=True).balls_around_point > 0
    recalled = contained(fake, fake_radii, real, closed=True).balls_around_point > 0
    return PrecisionRecall(float(precise.double().mean()), float(recalled.double().mean()))
