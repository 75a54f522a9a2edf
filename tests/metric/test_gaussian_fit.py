"""The Gaussian fit against the exact optima of f-GAN's mixture, and against Gaussians in closed form."""

import math

import pytest
import torch

from gan_runner.dataset.gaussians import Line, Mixture
from gan_runner.metric.gaussian_fit import divergences
from gan_runner.metric.of_points import GaussianFit
from tests.metric.views import view_of

BEST = {  # the divergence that is least -> mean, deviation, all five divergences
    "kl": (1.0100, 1.8304, (0.2881, 0.3545, 0.1366, 0.6426, 0.7576)),
    "reverse_kl": (1.5841, 1.6294, (0.3648, 0.2507, 0.1377, 0.6155, 1.4801)),
    "js": (1.3125, 1.7525, (0.3049, 0.2769, 0.1298, 0.5819, 0.9840)),
    "jeffrey": (1.3249, 1.7023, (0.3107, 0.2684, 0.1303, 0.5791, 1.0298)),
    "pearson": (0.5663, 1.9268, (0.3171, 0.5671, 0.1677, 0.8843, 0.6616)),
}


@pytest.mark.parametrize("divergence", BEST)
def test_divergences_of_the_mixture_are_the_exact_ones_and_least_at_their_own_optimum(divergence: str):
    mean, std, values = BEST[divergence]
    density = Mixture().log_density
    assert list(divergences(density, mean, std, 30.0).values()) == pytest.approx(values, abs=2e-4)
    here = divergences(density, mean, std, 30.0)[divergence]
    for step in (-0.02, 0.02):
        assert divergences(density, mean + step, std, 30.0)[divergence] > here
        assert divergences(density, mean, std + step, 30.0)[divergence] > here


def test_divergences_of_two_gaussians_are_the_closed_forms():
    """KL(N(1, .5^2) | N(0, 1)) = log(1 / .5) + (.25 + 1) / 2 - 1/2."""
    found = divergences(Line().log_density, 0.0, 1.0, 10.0)
    forward, backward = math.log(2) + 1.25 / 2 - 0.5, -math.log(2) + (1 + 1) / (2 * 0.25) - 0.5
    assert found["kl"] == pytest.approx(forward, abs=1e-4)
    assert found["reverse_kl"] == pytest.approx(backward, abs=1e-4)
    assert found["jeffrey"] == pytest.approx(forward + backward, abs=1e-4)


def test_the_fit_is_of_the_samples():
    samples, data = torch.tensor([0.0, 2.0, 4.0, 6.0])[:, None, None, None], Line()
    splits = {"test": (data.images[:50], None)}
    found = GaussianFit(n_fake=4)(view_of(splits, (samples, None), log_density=data.log_density))
    assert found["fit_mean"] == 3
    assert found["fit_std"] == pytest.approx(math.sqrt(20 / 3))
    assert found["fit_kl"] > 1
    same = torch.zeros(4, 1, 1, 1)
    assert GaussianFit(n_fake=4)(view_of(splits, (same, None), log_density=data.log_density))["fit_js"] == math.inf


def test_data_without_a_density_are_refused():
    view = view_of({"test": (torch.zeros(4, 2, 1, 1), None)}, (torch.zeros(4, 2, 1, 1), None))
    assert "known density" in GaussianFit().unfit(view.subject)
