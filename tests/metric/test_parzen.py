"""The Parzen-window log-likelihood, against closed forms and scikit-learn's kernel density."""

import math

import pytest
import torch
from sklearn.neighbors import KernelDensity
from torch import Tensor

from gan_runner.metric import parzen
from gan_runner.metric.parzen import SIGMAS, log_densities, parzen_log_likelihood


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("sigma", "expected"), [(0.2, 541.35), (0.1, 1084.78)])
def test_an_image_that_is_the_only_centre_has_the_likelihood_of_the_peak(sigma: float, expected: float):
    image = uniform(1, 784)
    assert float(log_densities(image, image.clone(), [sigma])) == pytest.approx(expected, abs=0.005)
    found = parzen_log_likelihood(image, image, image, [sigma])
    assert found == (sigma, pytest.approx(-392 * math.log(2 * math.pi * sigma**2), rel=1e-9), 0)


def test_a_centre_at_a_distance_loses_its_square_over_twice_the_variance():
    image, other = torch.zeros(1, 784), torch.zeros(1, 784)
    other[0, :9] = 1
    lost = log_densities(image, image, [0.5]) - log_densities(image, other, [0.5])
    assert float(lost) == pytest.approx(9 / (2 * 0.25), rel=1e-9)


@pytest.mark.parametrize("sigma", [0.1, 0.4])
def test_the_densities_are_those_of_scikit_learn(sigma: float):
    samples, test = uniform(300, 20), uniform(100, 20, seed=1)
    density = KernelDensity(bandwidth=sigma, leaf_size=300).fit(samples.double().numpy())
    expected = torch.from_numpy(density.score_samples(test.double().numpy()))
    assert float((log_densities(test, samples, [sigma])[0] / expected - 1).abs().max()) < 1e-6
    found = parzen_log_likelihood(samples, test[:10], test, [sigma])
    assert found.mean == pytest.approx(float(expected.mean()), rel=1e-6)
    assert found.standard_error == pytest.approx(float(expected.numpy().std()) / 10, rel=1e-6)


def test_sigma_is_the_best_of_the_protocol_on_validation_alone():
    assert list(SIGMAS) == pytest.approx([10 ** (-1 + i / 9) for i in range(10)])
    samples, near, far = uniform(500, 8), uniform(200, 8, seed=1), torch.ones(200, 8)
    by_hand = {
        sigma: KernelDensity(bandwidth=sigma).fit(samples.double().numpy()).score(near.double().numpy()) / len(near)
        for sigma in SIGMAS
    }
    best = max(by_hand, key=by_hand.__getitem__)
    assert best not in (SIGMAS[0], SIGMAS[-1])
    assert parzen_log_likelihood(samples, near, far).sigma == best
    assert parzen_log_likelihood(samples, far, near).sigma > best


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch):
    samples, test = uniform(300, 20), uniform(100, 20, seed=1)
    whole = parzen_log_likelihood(samples, test, test)
    monkeypatch.setattr(parzen, "NUMBERS", 1000)
    assert parzen_log_likelihood(samples, test, test) == pytest.approx(whole, rel=1e-12)


def test_samples_like_the_data_score_more_than_others():
    data = (uniform(900, 64) < 0.2).float()
    worse = (uniform(300, 64, seed=1) < 0.5).float()
    good = parzen_log_likelihood(data[:300], data[300:600], data[600:])
    bad = parzen_log_likelihood(worse, data[300:600], data[600:])
    assert good.mean > bad.mean + 3 * (good.standard_error + bad.standard_error)


@pytest.mark.parametrize("wrong", [0, 1, 2], ids=["samples", "validation", "test"])
def test_pixels_from_minus_one_are_refused(wrong: int):
    sets = [uniform(5, 4), uniform(5, 4), uniform(5, 4)]
    sets[wrong] = 2 * sets[wrong] - 1
    with pytest.raises(ValueError, match=f"{('samples', 'validation', 'test')[wrong]} from -0"):
        parzen_log_likelihood(*sets)
