"""Samples of a conditional generator, compared with the requested classes."""

import pytest
import torch
from torch import Tensor

from gan_runner.metric.conditional import agreement, intra_frechet
from gan_runner.metric.frechet import frechet_distance, moments


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


LABELS = torch.arange(3000) % 3
CENTERS = 5 * normal(3, 4, seed=7)
REAL, FAKE = (CENTERS[LABELS] + normal(3000, 4, seed=s) for s in (0, 1))


def test_agreement_is_the_share_of_requests_fulfilled():
    assert agreement(torch.tensor([1, 2, 3, 4]), torch.tensor([1, 2, 0, 4])) == 0.75
    assert agreement(LABELS, LABELS) == 1
    assert agreement(LABELS, (LABELS + 1) % 3) == 0


def test_a_generator_that_does_not_listen_agrees_by_chance():
    asked = torch.randint(10, (10_000,), generator=torch.Generator().manual_seed(0))
    drawn = torch.randint(10, (10_000,), generator=torch.Generator().manual_seed(1))
    assert agreement(drawn, asked) == pytest.approx(0.1, abs=4 * 0.003)


def test_the_distance_within_classes_is_the_mean_of_those_of_the_classes():
    shift = torch.tensor([0.0, 1.0, 2.0])[LABELS][:, None]
    of_class = [LABELS.eq(c) for c in range(3)]
    one_by_one = [frechet_distance(moments(REAL[rows]), moments((REAL + shift)[rows])) for rows in of_class]
    assert one_by_one == pytest.approx([0, 4, 16], abs=1e-6)
    assert intra_frechet(REAL, LABELS, REAL + shift, LABELS) == pytest.approx(20 / 3, rel=1e-6)


def test_classes_confused_are_seen_within_the_classes_and_not_over_all():
    confused = (LABELS + 1) % 3
    assert frechet_distance(moments(REAL), moments(FAKE)) < 0.2
    assert intra_frechet(REAL, LABELS, FAKE, LABELS) < 0.2
    assert intra_frechet(REAL, LABELS, FAKE, confused) > 20


@pytest.mark.parametrize("short", ["real", "fake", "unasked"])
def test_a_class_without_two_rows_is_named(short: str):
    labels = torch.where(LABELS == 2, 1, LABELS)
    labels[0] = 2
    real_labels, fake_labels = (labels, LABELS) if short == "real" else (LABELS, labels)
    if short == "unasked":
        fake_labels = labels.clamp(max=1)
    with pytest.raises(ValueError, match="class 2 has"):
        intra_frechet(REAL, real_labels, FAKE, fake_labels)


def test_as_many_answers_as_requests():
    with pytest.raises(ValueError, match="3 predicted classes for 2"):
        agreement(torch.zeros(3), torch.zeros(2))
