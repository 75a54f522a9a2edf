"""Range and independence of the transforms of ADA, read from images whose pixels are their coordinates."""

import math

import pytest
import torch
from torch import Tensor

from tests.augment.test_ada import OFF, ada
from tests.augment.test_diffaugment import START, draw

COUNT, HEIGHT, WIDTH = 400, 16, 32


def seen(*names: str, images: Tensor | None = None) -> Tensor:
    """Returns COUNT images, transformed only by these transforms, each with probability 1."""
    images = planes() if images is None else images
    augment = ada(tuple(images.shape[1:]), **(OFF | dict.fromkeys(names, 1.0) | {"probability": 1.0}))
    return augment(images, draw(COUNT), START)


def planes() -> Tensor:
    """Red: x coordinate, green: y coordinate, in pixels from the centre."""
    y, x = torch.meshgrid(torch.arange(HEIGHT) - HEIGHT / 2, torch.arange(WIDTH) - WIDTH / 2, indexing="ij")
    return torch.stack([x, y, torch.zeros_like(x)]).expand(COUNT, -1, -1, -1).contiguous()


def shifts(images: Tensor) -> tuple[Tensor, Tensor]:
    """The shift of the centre pixel to the right and down."""
    x, y = images[:, :2, HEIGHT // 2, WIDTH // 2].unbind(1)
    return -x, -y


def slopes(images: Tensor) -> Tensor:
    """(COUNT, 2, 2): derivatives of the source coordinates (x, y) with respect to x and y, at the centre."""
    middle = images[:, :2, HEIGHT // 2, WIDTH // 2]
    along = images[:, :2, HEIGHT // 2, WIDTH // 2 + 1] - middle, images[:, :2, HEIGHT // 2 + 1, WIDTH // 2] - middle
    return torch.stack(along, 2)


def correlation(*draws: Tensor) -> float:
    return float((torch.stack(draws).corrcoef() - torch.eye(len(draws))).abs().max())


def test_whole_shifts_reach_an_eighth_of_their_own_side():
    right, down = shifts(seen("xint"))
    assert set(right.tolist()) == set(range(-4, 5))
    assert set(down.tolist()) == set(range(-2, 3))
    assert correlation(right, down) < 0.15


def test_shifts_by_parts_of_pixels_have_a_deviation_of_an_eighth_of_their_own_side():
    right, down = shifts(seen("xfrac"))
    assert right.std().item() == pytest.approx(WIDTH / 8, rel=0.12)
    assert down.std().item() == pytest.approx(HEIGHT / 8, rel=0.12)
    assert correlation(right, down) < 0.15


def test_scaling_is_alike_along_both_sides():
    found = slopes(seen("scale"))
    factors = found.diagonal(dim1=1, dim2=2)
    assert (factors[:, 0] - factors[:, 1]).abs().max() < 1e-2
    assert found[:, 0, 1].abs().max() < 1e-2
    assert factors[:, 0].log2().std().item() == pytest.approx(0.2, rel=0.1)


def test_stretching_one_side_shrinks_the_other():
    found = slopes(seen("aniso"))
    assert found.det().sub(1).abs().max() < 2e-2
    assert found[:, 0, 0].log2().std().item() == pytest.approx(0.2, rel=0.1)
    assert found[:, 1, 1].log2().std().item() == pytest.approx(0.2, rel=0.1)


def test_turns_keep_lengths_and_go_all_the_way_round():
    found = slopes(seen("rotate"))
    assert (found @ found.mT - torch.eye(2)).abs().max() < 2e-2
    angles = torch.atan2(found[:, 1, 0], found[:, 0, 0])
    assert angles.std().item() == pytest.approx(2 * math.pi / 12**0.5, rel=0.1)  # of a uniform angle


def test_brightness_and_contrast_are_drawn_apart_with_the_published_deviations():
    images = torch.tensor([-0.5, 0.5]).view(1, 1, 1, 2).expand(COUNT, 3, 2, 2)
    low, high = seen("brightness", "contrast", images=images)[:, 0, 0].unbind(1)
    contrast, brightness = high - low, (high + low) / 2 / (high - low)
    assert contrast.log2().std().item() == pytest.approx(0.5, rel=0.1)
    assert brightness.std().item() == pytest.approx(0.2, rel=0.1)
    assert correlation(contrast.log2(), brightness) < 0.15


def test_saturation_is_doubled_or_halved_by_one_deviation_and_hues_go_all_the_way_round():
    images = torch.tensor([0.6, 0.0, -0.6]).view(1, 3, 1, 1).expand(COUNT, 3, 2, 2)
    changed = seen("saturation", "hue", images=images)[:, :, 0, 0]
    distance = changed.norm(dim=1) / images[0, :, 0, 0].norm()
    across = (changed @ torch.tensor([1.0, -2.0, 1.0])) / 6**0.5  # at right angles to the colour, and to the greys
    angle = torch.atan2(across, changed @ torch.tensor([1.0, 0.0, -1.0]) / 2**0.5)
    assert distance.log2().std().item() == pytest.approx(1.0, rel=0.1)
    assert angle.std().item() == pytest.approx(2 * math.pi / 12**0.5, rel=0.1)
    assert correlation(distance.log2(), angle) < 0.15
