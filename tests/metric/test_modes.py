"""Modes of the ring, of classes and of stacked digits, compared with sampling theory."""

import math

import pytest
import torch
from torch import Tensor

from gan_runner.metric.modes import STACKED_SAMPLES, class_modes, modes, stacked_modes

ANGLES = 2 * math.pi * torch.arange(8) / 8
RING = torch.stack([ANGLES.cos(), ANGLES.sin()], 1)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def digits(count: int, seed: int = 0) -> Tensor:
    return torch.randint(10, (count, 3), generator=generator(seed))


def test_the_ring_itself_has_all_its_modes_and_98_89_percent_of_good_points():
    count = 50_000
    center = RING[torch.randint(8, (count,), generator=generator())]
    found = modes(center + 0.01 * torch.randn(count, 2, generator=generator(1)), RING, 0.01)
    share = 1 - math.exp(-4.5)
    assert share == pytest.approx(0.9889, abs=1e-4)
    assert found.found == 8
    assert found.high_quality == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / count))
    assert 0 < found.reverse_kl < 4 * 7 / (2 * count)


def test_a_ring_that_is_too_narrow_has_more_good_points_than_the_ring():
    center = RING[torch.arange(5000) % 8]
    assert modes(center + 0.005 * torch.randn(5000, 2, generator=generator()), RING, 0.01).high_quality > 0.999


def test_three_clusters_of_eight_are_three_modes():
    found = modes(RING[torch.arange(300) % 3], RING, 0.01)
    assert found == (3, 1.0, pytest.approx(math.log(8 / 3)), pytest.approx(math.log(8 / 3)))


def test_without_a_good_point_the_nearest_centers_count_and_otherwise_only_good_points():
    between = RING[:2].repeat(50, 1) * 1.5
    found = modes(between, RING, 0.01)
    assert found[:2] == (0, 0.0)
    assert math.isinf(found.reverse_kl)
    assert found.reverse_kl_nearest == pytest.approx(math.log(8 / 2))
    one = modes(torch.cat([between, RING[5:6]]), RING, 0.01)
    assert one.reverse_kl == one.reverse_kl_nearest == pytest.approx(math.log(8))


def test_one_triple_of_digits_is_one_mode_and_log_1000_from_uniform():
    found = stacked_modes(torch.tensor([[4, 0, 7]]).repeat(50, 1))
    assert found.found == 1
    assert found.reverse_kl == pytest.approx(6.9078, abs=1e-4)
    assert found.total_variation == pytest.approx(0.999)
    assert found.share[407] == 1


def test_every_triple_once_is_perfect():
    every = torch.cartesian_prod(*[torch.arange(10)] * 3)
    assert stacked_modes(every)[:3] == (1000, pytest.approx(0, abs=1e-12), pytest.approx(0, abs=1e-12))


def test_triples_are_not_confused_by_the_order_of_their_digits():
    assert stacked_modes(torch.tensor([[1, 2, 3], [3, 2, 1], [2, 1, 3], [1, 2, 3]])).found == 3


def test_the_published_number_of_samples_finds_every_mode_and_is_0192_from_uniform():
    draws = [stacked_modes(digits(STACKED_SAMPLES, seed)) for seed in range(10)]
    assert all(draw.found == 1000 for draw in draws)
    kl = torch.tensor([draw.reverse_kl for draw in draws])
    assert float(kl.mean()) == pytest.approx(0.0193, abs=4 * float(kl.std()) / 10**0.5)
    assert kl.std() < 0.002
    variation = sum(draw.total_variation for draw in draws) / 10  # E|p - q| of a Poisson count of 26
    assert variation == pytest.approx(math.sqrt(2 / (math.pi * 26)) / 2, rel=0.03)


@pytest.mark.parametrize(("count", "expected"), [(1000, 632.3), (10_000, 999.95)])
def test_few_samples_find_as_many_modes_as_chance_allows(count: int, expected: float):
    found = torch.tensor([stacked_modes(digits(count, seed)).found for seed in range(30)]).double()
    assert 1000 * (1 - 0.999**count) == pytest.approx(expected, abs=0.06)
    assert float(found.mean()) == pytest.approx(expected, abs=4 * max(0.2, float(found.std())) / 30**0.5)


def test_classes_seen_by_their_share():
    found = class_modes(torch.tensor([0, 0, 0, 2]), 4)
    assert found.share.tolist() == [0.75, 0, 0.25, 0]
    assert found[:3] == (2, pytest.approx(0.75 * math.log(3)), pytest.approx(0.5))


def test_a_generator_of_three_digits_of_ten_loses_seven_modes():
    found = class_modes(torch.arange(300) % 3, 10)
    assert found[:3] == (3, pytest.approx(math.log(10 / 3)), pytest.approx(0.7))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: class_modes(torch.tensor([], dtype=torch.int64), 10), "no samples"),
        (lambda: class_modes(torch.tensor([10]), 10), "class 10 among 10"),
        (lambda: stacked_modes(torch.tensor([1, 2, 3])), r"use \(N, 3\)"),
    ],
    ids=["no samples", "a class too many", "no triples"],
)
def test_predictions_that_cannot_be_are_refused(wrong, said: str):
    with pytest.raises(ValueError, match=said):
        wrong()
