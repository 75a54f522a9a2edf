"""The accuracy of a linear classifier on features."""

import math

import pytest
import torch
from torch import Tensor

from gan_runner.metric.linear_probe import linear_probe


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


LABELS = torch.arange(2000) % 2


def test_two_gaussians_are_told_apart_as_well_as_theory_allows():
    """N(+-1, I) along one of four axes: Phi(1) = 84.1 %."""
    direction = torch.tensor([1.0, 0, 0, 0])
    sets = [(2 * LABELS - 1)[:, None] * direction + normal(2000, 4, seed=s) for s in range(2)]
    expected = 0.5 * (1 + math.erf(1 / math.sqrt(2)))
    assert linear_probe(sets[0], LABELS, sets[1], LABELS) == pytest.approx(expected, abs=4 * 0.0082)


def test_what_no_plane_divides_is_read_by_chance():
    """Labels that are the sign of a product of two features."""
    train, test = normal(2000, 2), normal(2000, 2, seed=1)
    found = linear_probe(train, (train.prod(1) > 0).long(), test, (test.prod(1) > 0).long())
    assert found == pytest.approx(0.5, abs=0.08)
    product = train.prod(1, keepdim=True), test.prod(1, keepdim=True)
    assert linear_probe(product[0], (product[0] > 0)[:, 0].long(), product[1], (product[1] > 0)[:, 0].long()) > 0.98


def test_scale_and_place_of_a_feature_change_nothing():
    train, test = (LABELS[:, None] + normal(2000, 3, seed=s) for s in range(2))
    plain = linear_probe(train, LABELS, test, LABELS)
    scale, shift = torch.tensor([1e4, 1.0, 1e-4]), torch.tensor([3e4, 0.0, 5.0])
    moved = linear_probe(scale * train.double() + shift, LABELS, scale * test.double() + shift, LABELS)
    assert moved == pytest.approx(plain, abs=0.002)


def test_ten_classes_apart_are_all_read():
    labels = torch.arange(500) % 10
    rows = 20 * normal(10, 16)[labels] + normal(500, 16, seed=1)
    assert linear_probe(rows[:250], labels[:250], rows[250:], labels[250:]) == 1
    assert linear_probe(rows[:250], labels[:250], rows[250:], (labels[250:] + 1) % 10) == 0
