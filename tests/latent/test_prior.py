"""Paths in the prior, its truncation and its region, by closed forms."""

import math

import pytest
import torch
from scipy.stats import truncnorm
from torch.testing import assert_close

from gan_runner.errors import ConfigError
from gan_runner.latent.prior import between, deviation, slerp, truncated, within
from gan_runner.model.latent import Latent
from gan_runner.noise import Noise

NORMAL, UNIFORM = Latent(20), Latent(20, "uniform", 1.0, 3.0)


def noise(size: int = 1000) -> Noise:
    return Noise((0, "sample", 0), size, torch.device("cpu"))


def test_slerp_keeps_the_norm_and_turns_at_a_constant_rate():
    start, end = torch.eye(3)[:1], torch.eye(3)[1:2]
    angles = torch.linspace(0, 1, 7)[:, None] * math.pi / 2
    expected = torch.cat([angles.cos(), angles.sin(), torch.zeros_like(angles)], dim=1)
    assert_close(slerp(start, end, torch.linspace(0, 1, 7)[:, None]), expected)


@pytest.mark.parametrize("latent", [NORMAL, UNIFORM, Latent(1)], ids=["normal", "uniform", "one coordinate"])
def test_a_path_begins_and_ends_at_its_latents(latent: Latent):
    start, end = latent.sample(noise(8))[:4], latent.sample(noise(8))[4:]
    assert_close(between(latent, start, end, torch.zeros(4)), start)
    assert_close(between(latent, start, end, torch.ones(4)), end)


def test_a_path_of_a_normal_prior_keeps_its_length_and_one_of_a_uniform_prior_is_straight():
    z = NORMAL.sample(noise(2))
    middle = between(NORMAL, z[:1], z[1:], torch.tensor([0.5]))
    assert middle.norm() > 0.99 * z.norm(dim=1).min() > 1.1 * z.mean(0).norm()
    z = UNIFORM.sample(noise(2))
    assert_close(between(UNIFORM, z[:1], z[1:], torch.tensor([0.5])), z.mean(0, keepdim=True))


def test_opposite_latents_are_joined_by_a_straight_line():
    z = torch.ones(1, 3)
    assert_close(slerp(z, -z, torch.tensor([[0.25]])), z / 2)


@pytest.mark.parametrize("psi", [0.1, 0.5, 1.0, 2.0])
def test_a_truncated_normal_has_the_known_deviation_and_keeps_what_lies_within(psi: float):
    z, whole = truncated(NORMAL, noise(5000), psi), NORMAL.sample(noise(5000))
    assert z.abs().max() <= psi
    assert torch.equal(z[whole.abs() <= psi], whole[whole.abs() <= psi])
    assert abs(float(z.std()) / truncnorm(-psi, psi).std() - 1) < 0.02
    assert torch.equal(z, truncated(NORMAL, noise(5000), psi))


def test_a_truncated_uniform_prior_is_a_smaller_box_about_the_same_middle():
    z = truncated(UNIFORM, noise(), 0.5)
    assert 1.5 <= z.min() < 1.51 < 2.49 < z.max() <= 2.5


def test_nothing_is_truncated_at_the_largest_psi():
    assert torch.equal(truncated(NORMAL, noise(), math.inf), NORMAL.sample(noise()))
    assert_close(truncated(UNIFORM, noise(), 1.0), UNIFORM.sample(noise()))


@pytest.mark.parametrize(("latent", "psi"), [(NORMAL, 0.01), (NORMAL, math.nan), (UNIFORM, 1.5), (UNIFORM, math.inf)])
def test_a_psi_that_cannot_be_is_one_sentence(latent: Latent, psi: float):
    with pytest.raises(ConfigError, match=f"--psi={psi:g}"):
        truncated(latent, noise(2), psi)


def test_the_region_of_a_normal_prior_holds_999_of_a_thousand_and_moves_the_others_to_its_border():
    z = NORMAL.sample(noise(100_000))
    kept = within(NORMAL, z)
    outside = (kept != z).any(dim=1)
    assert abs(float(outside.double().mean()) - 0.001) < 0.0004
    radius = kept[outside].norm(dim=1)
    assert_close(radius, torch.full_like(radius, math.sqrt(45.3147)), rtol=1e-4, atol=0)  # quantile of chi2, 20


def test_the_region_of_a_uniform_prior_is_its_box():
    assert_close(within(UNIFORM, torch.tensor([[0.0, 2.0, 9.0]])), torch.tensor([[1.0, 2.0, 3.0]]))


def test_deviations_are_those_of_samples():
    for latent in (NORMAL, UNIFORM):
        assert abs(float(latent.sample(noise(20_000)).std()) - deviation(latent)) < 0.01
