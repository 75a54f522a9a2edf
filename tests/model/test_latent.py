import pytest
import torch

from gan_runner.model.latent import Latent
from gan_runner.noise import Noise

NOISE = Noise((0,), 10_000, torch.device("cpu"))


def test_the_normal_prior_has_unit_variance():
    z = Latent(3).sample(NOISE)
    assert z.shape == (10_000, 3)
    assert z.mean().abs() < 0.02
    assert abs(z.std() - 1) < 0.02


@pytest.mark.parametrize(("low", "high"), [(None, None), (0.0, 1.0), (-(3**0.5), 3**0.5), (0.0, 0.0)])
def test_the_uniform_prior_fills_its_bounds(low: float | None, high: float | None):
    z = Latent(3, "uniform", low, high).sample(NOISE)
    low, high = (-1.0, 1.0) if low is None else (low, high)
    assert z.min().item() == pytest.approx(low, abs=0.01)
    assert z.max().item() == pytest.approx(high, abs=0.01)
    assert z.mean().item() == pytest.approx((low + high) / 2, abs=0.03)


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_every_dimension_has_draws_of_its_own(distribution: str):
    z = Latent(4, distribution).sample(NOISE)
    assert (z.T.corrcoef() - torch.eye(4)).abs().max() < 0.05
    assert len(z.unique()) > 0.99 * z.numel()


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"dim": 0}, "dim=0"),
        ({"distribution": "gauss"}, "distribution='gauss' is none of normal, uniform"),
        ({"low": 0.0}, "low and high belong to distribution=uniform"),
        ({"distribution": "uniform", "low": 1.0, "high": 0.0}, "swap them"),
    ],
)
def test_impossible_priors_are_refused(settings: dict, word: str):
    with pytest.raises(ValueError, match=word):
        Latent(**settings)
