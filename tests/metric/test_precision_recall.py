"""Precision, recall, density and coverage, compared with balls by scikit-learn and with theoretical values."""

import math

import pytest
import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor
from torch.testing import assert_close

from gan_runner.metric.density_coverage import density_coverage
from gan_runner.metric.neighbours import nearest
from gan_runner.metric.precision_recall import precision_recall


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def balls(centers: Tensor, points: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """(points, centers): the distances; (centers,): the radii; by trees in float64."""
    trees = NearestNeighbors(algorithm="kd_tree").fit(centers.double().numpy())
    radii = trees.kneighbors(n_neighbors=k)[0][:, -1]
    distances, indices = trees.kneighbors(points.double().numpy(), n_neighbors=len(centers))
    return torch.zeros(len(points), len(centers)).double().scatter_(
        1, torch.from_numpy(indices), torch.from_numpy(distances)
    ), torch.from_numpy(radii)


def expected_coverage(count: int, k: int) -> float:
    return 1 - math.prod((count - i) / (2 * count - i) for i in range(1, k + 1))


SETS = {
    "alike": (normal(400, 8), normal(300, 8, seed=1)),
    "narrower": (normal(400, 8), 0.6 * normal(300, 8, seed=1)),
    "shifted": (normal(400, 8), normal(300, 8, seed=1) + 0.7),
}


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("name", SETS)
def test_precision_and_recall_are_those_of_balls_drawn_by_scikit_learn(name: str, k: int):
    real, fake = SETS[name]
    to_real, real_radii = balls(real, fake, k)
    to_fake, fake_radii = balls(fake, real, k)
    found = precision_recall(real, fake, k)
    assert found.precision == pytest.approx(float((to_real <= real_radii).any(1).double().mean()), abs=1e-12)
    assert found.recall == pytest.approx(float((to_fake <= fake_radii).any(1).double().mean()), abs=1e-12)


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("name", SETS)
def test_density_and_coverage_are_those_of_balls_drawn_by_scikit_learn(name: str, k: int):
    real, fake = SETS[name]
    distances, radii = balls(real, fake, k)
    inside = (distances < radii).double()
    found = density_coverage(real, fake, k)
    assert found.density == pytest.approx(float(inside.sum()) / (k * len(fake)), rel=1e-12)
    assert found.coverage == pytest.approx(float(inside.any(0).double().mean()), rel=1e-12)


def test_identical_sets_have_full_precision_and_recall_and_sets_apart_have_none():
    rows = normal(500, 16)
    assert precision_recall(rows, rows.clone()) == (1, 1)
    assert precision_recall(rows, rows + 1000) == (0, 0)
    assert density_coverage(rows, rows + 1000) == (0, 0)


def test_a_copy_of_the_reals_lies_in_k_open_balls_of_each():
    """Its own, and those of which it is one of the k - 1 nearest: k on average, for every ball holds exactly k."""
    rows = normal(500, 16)
    assert density_coverage(rows, rows.clone()) == (pytest.approx(1, abs=1e-12), 1)


def test_alike_sets_have_the_density_and_coverage_that_theory_gives():
    """E density = 1, E coverage = 1 - prod_{i=1..k} (N - i) / (M + N - i), whatever the distribution."""
    count, k, draws = 600, 5, 8
    expected = expected_coverage(count, k)
    found = torch.tensor(
        [density_coverage(normal(count, 4, seed=s), normal(count, 4, seed=s + 100), k) for s in range(draws)]
    )
    assert expected_coverage(10_000, 5) == pytest.approx(0.968773, abs=1e-6)
    spread = found.std(0) / draws**0.5
    assert (spread < torch.tensor([0.02, 0.004])).all()
    assert ((found.mean(0) - torch.tensor([1, expected])).abs() < 4 * spread).all()


def test_narrow_fakes_are_precise_and_recall_little():
    real = normal(1000, 8)
    alike, narrow = (
        precision_recall(real, normal(1000, 8, seed=1)),
        precision_recall(real, 0.4 * normal(1000, 8, seed=1)),
    )
    assert narrow.precision > alike.precision + 0.05
    assert narrow.recall < alike.recall / 2
    assert density_coverage(real, 0.4 * normal(1000, 8, seed=1)).density > 1.5


def test_three_of_ten_clusters_keep_precision_and_density_and_lose_recall_and_coverage():
    centers = 30 * normal(10, 8)
    real = centers[torch.arange(2000) % 10] + normal(2000, 8)
    fake = centers[torch.arange(600) % 3] + normal(600, 8, seed=1)
    whole = centers[torch.arange(2000) % 10] + normal(2000, 8, seed=1)
    few, all_of_them = precision_recall(real, fake), precision_recall(real, whole)
    assert few.precision == pytest.approx(all_of_them.precision, abs=0.07)
    assert few.recall == pytest.approx(0.3 * all_of_them.recall, abs=0.05)
    few_dense, all_dense = density_coverage(real, fake), density_coverage(real, whole)
    assert few_dense.density == pytest.approx(all_dense.density, rel=0.15)
    assert few_dense.coverage == pytest.approx(0.3 * all_dense.coverage, abs=0.03)


def test_radii_that_the_caller_has_change_nothing():
    real, fake = SETS["alike"]
    of_real = nearest(real, real, 5, skip_self=True).distances
    of_fake = nearest(fake, fake, 5, skip_self=True).distances
    assert precision_recall(real, fake, 3, of_real[:, 2], of_fake[:, 2]) == precision_recall(real, fake)
    assert density_coverage(real, fake, 5, of_real[:, 4]) == density_coverage(real, fake)
    assert density_coverage(real, fake, 5, of_real[:, 2]) != density_coverage(real, fake)


def test_scale_and_place_change_nothing():
    real, fake = SETS["shifted"]
    for moved in (lambda rows: 1000 * rows, lambda rows: rows + 4):
        assert_close(precision_recall(moved(real), moved(fake)), precision_recall(real, fake), rtol=0.01, atol=0.01)


def test_a_point_at_the_radius_counts_for_precision_and_recall_and_not_for_density_and_coverage():
    real, fake = (
        torch.tensor([[0.0], [1.0]]),
        torch.tensor([[-1.0], [-2.0]]),
    )  # radii of 1; one pair 1 apart, others more
    assert precision_recall(real, fake, k=1) == (0.5, 0.5)
    assert density_coverage(real, fake, k=1) == (0, 0)
    assert density_coverage(real, fake + 0.01, k=1) == (0.5, 0.5)
