"""Kernel distance, against the kernel of scikit-learn and what an unbiased estimate must do."""

import pytest
import torch
from sklearn.metrics.pairwise import polynomial_kernel
from torch import Tensor

from gan_runner.metric.kernel import kernel_distance


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def by_scikit_learn(real: Tensor, fake: Tensor) -> float:
    """Unbiased squared MMD of the whole sets."""
    xx, yy, xy = (polynomial_kernel(a, b, degree=3, coef0=1) for a, b in ((real, real), (fake, fake), (real, fake)))
    n, m = xy.shape
    within = (xx.sum() - xx.trace()) / (n * (n - 1)) + (yy.sum() - yy.trace()) / (m * (m - 1))
    return float(within - 2 * xy.mean())


def test_one_subset_of_all_rows_is_what_the_kernel_of_scikit_learn_gives():
    real, fake = normal(300, 16), 1.2 * normal(300, 16, seed=1) + 0.2
    found = kernel_distance(real, fake, subsets=1, subset_size=300)
    assert found.mean == pytest.approx(by_scikit_learn(real.double(), fake.double()), rel=1e-9)
    assert found.std == 0


def test_rows_whose_square_is_their_size_have_a_kernel_of_eight():
    """k(x, x) = (x.x / d + 1)^3 = 8; opposite points have k = 0, so that two such points lie 8 + 8 - 0 apart."""
    ones = torch.ones(50, 12)
    assert kernel_distance(ones, -ones).mean == pytest.approx(16, rel=1e-12)
    assert kernel_distance(ones, ones).mean == pytest.approx(0, abs=1e-12)


def test_two_halves_of_one_set_are_zero_apart_within_the_deviation_of_the_mean():
    rows = normal(8000, 8)
    found = kernel_distance(rows[:4000], rows[4000:], subsets=40, subset_size=100)
    assert abs(found.mean) < 4 * found.std / 40**0.5
    assert found.std > 0


def test_a_shift_is_seen_at_its_size():
    """In one dimension k = 1 + 3 xy + 3 (xy)^2 + (xy)^3: the differences of three moments, squared and weighted so.

    Of N(0, 1) they are 0, 1, 0; of N(s, 1) they are s, 1 + s^2, 3 s + s^3.
    """
    shift = 0.5
    expected = 3 * shift**2 + 3 * shift**4 + (3 * shift + shift**3) ** 2
    found = kernel_distance(normal(20_000, 1), normal(20_000, 1, seed=1) + shift, subsets=50, subset_size=800)
    assert found.mean == pytest.approx(expected, abs=4 * found.std / 50**0.5)
    assert found.std < expected


def test_sets_smaller_than_a_subset_are_taken_whole():
    real, fake = normal(60, 4), normal(40, 4, seed=1) + 1
    taken = [kernel_distance(real, fake, subsets=5, subset_size=size) for size in (40, 1000)]
    assert taken[0] == taken[1]


def test_the_seed_chooses_the_subsets():
    real, fake = normal(300, 4), normal(300, 4, seed=1)
    one, again, other = (kernel_distance(real, fake, 3, 50, seed) for seed in (1, 1, 2))
    assert one == again
    assert one != other


def test_single_rows_are_refused():
    with pytest.raises(ValueError, match="1 fake rows"):
        kernel_distance(normal(5, 2), normal(1, 2))
