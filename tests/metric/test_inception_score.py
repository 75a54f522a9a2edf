"""Inception score, at its two ends and where it can be computed by hand."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from gan_runner.metric.inception_score import inception_score


def certain(classes: Tensor, k: int, margin: float = 1000.0) -> Tensor:
    return margin * one_hot(classes, k).float()


@pytest.mark.parametrize("margin", [0.0, 3.0, 1000.0], ids=["unsure", "undecided", "certain"])
def test_predictions_that_are_all_alike_score_one(margin: float):
    found = inception_score(certain(torch.full((500,), 3), 10, margin))
    assert found.mean == pytest.approx(1, abs=1e-9)
    assert found.std == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("k", [2, 10])
def test_certain_predictions_of_all_classes_alike_score_their_number(k: int):
    assert inception_score(certain(torch.arange(k).repeat(100), k), splits=1) == (pytest.approx(k, rel=1e-9), 0)


def test_three_classes_of_ten_score_three():
    assert inception_score(certain(torch.arange(3).repeat(100), 10), splits=1).mean == pytest.approx(3, rel=1e-9)


def test_undecided_predictions_score_what_their_entropy_leaves():
    """Of two classes, .9 to .1 either way: log IS = log 2 - H(.9)."""
    logits = torch.tensor([[math.log(0.9), math.log(0.1)], [math.log(0.1), math.log(0.9)]]).repeat(50, 1)
    entropy = -0.9 * math.log(0.9) - 0.1 * math.log(0.1)
    assert inception_score(logits, splits=1).mean == pytest.approx(math.exp(math.log(2) - entropy), rel=1e-6)


def test_splits_are_shuffled_and_their_deviation_is_that_of_a_population():
    """Rows in the order of their classes would give splits of one class each, and a score of 1."""
    logits = certain(torch.arange(10).repeat_interleave(200), 10)
    found = inception_score(logits)
    assert 9 < found.mean < 10
    assert 0 < found.std < 0.2
    two = inception_score(logits[:400:40], splits=2)  # five rows a split
    scores = (two.mean - two.std, two.mean + two.std)
    assert all(1 <= score <= 5 + 1e-9 for score in scores)


@pytest.mark.parametrize("splits", [0, 6], ids=["none", "more than samples"])
def test_splits_without_samples_are_refused(splits: int):
    with pytest.raises(ValueError, match=f"splits={splits}"):
        inception_score(torch.zeros(5, 3), splits)
