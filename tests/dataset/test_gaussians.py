"""Mixtures of Gaussians, compared with their definition (REFERENCE 6.7)."""

import math

import pytest
import torch

from gan_runner.dataset.gaussians import Gaussians, Grid, Mixture, Ring
from gan_runner.metric.modes import modes


def drawn(data: Gaussians) -> torch.Tensor:
    """100,000 points (N, 2) of the training stream."""
    return next(data.split("train").batches(100_000, torch.device("cpu"), 0, 0)).images.flatten(1)


def test_the_ring_has_eight_modes_evenly_on_the_circle():
    centers = Ring().centers
    assert centers.shape == (8, 2)
    torch.testing.assert_close(centers.norm(dim=1), torch.ones(8))
    gaps = torch.pdist(centers).sort().values[:8]
    torch.testing.assert_close(gaps, torch.full((8,), 2 * math.sin(math.pi / 8)))


def test_the_grid_has_all_pairs_of_even_numbers():
    assert {tuple(c) for c in Grid().centers.tolist()} == {(x, y) for x in range(-4, 5, 2) for y in range(-4, 5, 2)}


@pytest.mark.parametrize("data", [Ring(), Grid(), Ring(3, 2.0, 0.5)], ids=["ring", "grid", "three wide modes"])
def test_points_lie_around_all_centers_alike(data: Gaussians):
    points = drawn(data)
    assert data.spec.shape == (2, 1, 1)
    assert data.spec.value_range is None
    distance, nearest = torch.cdist(points, data.centers).min(dim=1)
    share = torch.bincount(nearest) / len(points)
    torch.testing.assert_close(share, torch.full_like(share, 1 / len(data.centers)), rtol=0.1, atol=0)
    # the mean square distance of a plane Gaussian from its center is 2 std^2
    assert distance.square().mean().item() == pytest.approx(2 * data.std**2, rel=0.03)


def test_the_mixture_itself_is_judged_as_theory_says():
    """High quality 1 - e^-4.5 = 98.89 %, reverse KL of about (K - 1) / 2n = 0.0014."""
    data = Ring()
    judged = [modes(chunk, data.centers, data.std) for chunk in drawn(data).split(2500)]
    assert {result.found for result in judged} == {8}
    assert sum(r.high_quality for r in judged) / 40 == pytest.approx(1 - math.exp(-4.5), abs=0.002)
    assert sum(r.reverse_kl for r in judged) / 40 == pytest.approx(7 / 5000, abs=0.0005)


def test_one_mode_is_log_k_from_uniform_and_far_points_are_none():
    centers = Grid().centers
    assert modes(centers[:1].repeat(9, 1), centers, 0.05)[:3] == (1, 1.0, pytest.approx(math.log(25)))
    assert modes(centers[:1] + torch.tensor([0.151, 0.0]), centers, 0.05)[:3] == (0, 0.0, math.inf)
    assert modes(centers[:1] + torch.tensor([0.149, 0.0]), centers, 0.05)[:2] == (1, 1.0)


def test_the_mixture_of_f_gan_has_its_moments_and_its_density():
    """.33 N(-1, .25^2) + .67 N(2, 2): mean 1.01, variance .67 * 2 + .33 * .0625 + .33 * .67 * 9."""
    data = Mixture()
    points = next(data.split("train").batches(200_000, torch.device("cpu"), 0, 0)).images.flatten(1)
    assert data.spec.shape == (1, 1, 1)
    assert points.mean().item() == pytest.approx(1.01, abs=0.02)
    assert points.var().item() == pytest.approx(0.67 * 2 + 0.33 * 0.0625 + 0.33 * 0.67 * 9, rel=0.02)
    assert (points < -0.3).float().mean().item() == pytest.approx(0.33 * 0.9974 + 0.67 * 0.0519, abs=0.005)
    x = torch.linspace(-12, 16, 20_001)[:, None]
    assert torch.trapezoid(data.log_density(x).exp(), x.squeeze(1)).item() == pytest.approx(1, abs=1e-4)
    at_its_means = 0.33 / (0.25 * math.sqrt(2 * math.pi)) + 0.67 / math.sqrt(4 * math.pi) * math.exp(-9 / 4)
    assert data.log_density(torch.tensor([[-1.0]])).exp().item() == pytest.approx(at_its_means, rel=1e-4)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"weights": [1.0]}, "not 1, 2 and 2"),
        ({"weights": [0.0, 1.0]}, "must all be above 0"),
        ({"stds": [0.1, 0.0]}, "stds=.* must all be above 0"),
    ],
)
def test_mixtures_that_are_none_are_refused(settings: dict, sentence: str):
    with pytest.raises(ValueError, match=sentence):
        Mixture(**settings)
