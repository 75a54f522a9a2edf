"""Frechet distance, against closed forms for Gaussians and the matrix root of scipy."""

import pytest
import torch
from scipy.linalg import sqrtm
from torch import Tensor
from torch.testing import assert_close

from gan_runner.metric import frechet
from gan_runner.metric.frechet import Moments, frechet_distance, moments

F64 = torch.float64


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def gaussian(mean: float, variances: Tensor) -> Moments:
    return Moments(torch.full((len(variances),), mean, dtype=F64), torch.diag(variances), 10_000)


def mixed(rows: int, size: int, seed: int) -> Tensor:
    """Features whose covariance is far from diagonal."""
    return normal(rows, size, seed=seed) @ normal(size, size, seed=seed + 1) + normal(size, seed=seed + 2)


def test_two_isotropic_gaussians_differ_by_their_means_and_deviations():
    wide, narrow = torch.full((8,), 2.0**2, dtype=F64), torch.full((8,), 0.5**2, dtype=F64)
    expected = 8 * 0.3**2 + 8 * (2.0 - 0.5) ** 2
    assert frechet_distance(gaussian(0.3, wide), gaussian(0.0, narrow)) == pytest.approx(expected, rel=1e-9)


def test_diagonal_covariances_differ_by_the_roots_of_their_entries():
    a, b = torch.tensor([1.0, 4.0, 9.0], dtype=F64), torch.tensor([4.0, 4.0, 0.25], dtype=F64)
    expected = float((a.sqrt() - b.sqrt()).square().sum())
    assert frechet_distance(gaussian(1.0, a), gaussian(1.0, b)) == pytest.approx(expected, rel=1e-9)


def test_drawn_gaussians_come_as_near_to_the_closed_form_as_sampling_allows():
    real, fake = 2 * normal(20_000, 4), normal(20_000, 4, seed=1) + 0.5
    expected = 4 * 0.5**2 + 4 * (2 - 1) ** 2
    deviation = 2 * (4 * 0.25 + 4) ** 0.5 * (5 / 20_000) ** 0.5  # of 2 |shift| times that of the mean, and of the roots
    assert frechet_distance(moments(real), moments(fake)) == pytest.approx(expected, abs=4 * deviation)


def test_a_set_is_at_no_distance_from_itself():
    found = moments(mixed(3000, 32, 0))
    assert abs(frechet_distance(found, found)) < 1e-6 * float(found.covariance.trace())


def test_halves_of_one_set_lie_apart_by_the_bias_of_few_rows_alone():
    """n rows each of N(0, I_D): 2 D / n from the means, |C_1 - C_2|^2 / 4 = D (D + 1) / 2n from the covariances."""
    rows = normal(20_000, 16)
    few = frechet_distance(moments(rows[:500]), moments(rows[500:1000]))
    many = frechet_distance(moments(rows[:10_000]), moments(rows[10_000:]))
    for found, count in ((few, 500), (many, 10_000)):
        assert found == pytest.approx(2 * 16 / count + 16 * 17 / (2 * count), rel=0.25)


@pytest.mark.parametrize("size", [2, 16, 64])
def test_the_distance_is_that_of_the_matrix_root_of_scipy(size: int):
    real, fake = moments(mixed(2000, size, 0)), moments(mixed(2000, size, 10))
    root = torch.from_numpy(sqrtm((real.covariance @ fake.covariance).numpy()).real)
    expected = (real.mean - fake.mean).square().sum() + (real.covariance + fake.covariance - 2 * root).trace()
    assert frechet_distance(real, fake) == pytest.approx(float(expected), rel=1e-6)


def test_moments_are_those_of_float64_also_far_from_the_origin(monkeypatch: pytest.MonkeyPatch):
    rows = mixed(1000, 8, 0).float() + 5000
    monkeypatch.setattr(frechet, "NUMBERS", 8 * 77)
    found = moments(rows)
    assert found.rows == 1000
    assert_close(found.mean, rows.double().mean(0), rtol=1e-12, atol=0)
    assert_close(found.covariance, torch.cov(rows.double().T), rtol=1e-9, atol=1e-9)


def test_moments_need_no_copy_of_all_rows_and_do_not_depend_on_the_blocks(monkeypatch: pytest.MonkeyPatch):
    rows = mixed(1000, 8, 3)
    whole = moments(rows)
    monkeypatch.setattr(frechet, "NUMBERS", 1)
    one_by_one = moments(rows)
    assert_close(one_by_one.mean, whole.mean, rtol=1e-12, atol=1e-12)
    assert_close(one_by_one.covariance, whole.covariance, rtol=1e-10, atol=1e-10)


def test_one_row_has_no_covariance():
    with pytest.raises(ValueError, match="1 rows"):
        moments(torch.zeros(1, 3))
