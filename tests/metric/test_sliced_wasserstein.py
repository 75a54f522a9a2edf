"""Sliced Wasserstein distances, against closed forms, scipy's distance on a line, and a pyramid made by hand."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve
from scipy.stats import wasserstein_distance
from torch import Tensor
from torch.testing import assert_close

from gan_runner.metric import sliced_wasserstein as module
from gan_runner.metric.sliced_wasserstein import (
    blurred,
    laplacian_pyramid,
    levels,
    pyramid_sliced_wasserstein,
    sliced_wasserstein,
)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_shift_in_the_plane_costs_two_over_pi_of_its_length():
    rows, shift = normal(500, 2), torch.tensor([3.0, -4.0])
    directions = 4000
    deviation = 5 * math.sqrt(0.5 - (2 / math.pi) ** 2) / math.sqrt(directions)  # of the mean of 5 |cos|
    found = sliced_wasserstein(rows, rows[torch.randperm(500)] + shift, directions)
    assert found == pytest.approx(5 * 2 / math.pi, abs=4 * deviation)


@pytest.mark.parametrize("size", [2, 10])
def test_the_second_power_of_a_shift_costs_its_length_over_the_root_of_the_dimension(size: int):
    rows = normal(200, size)
    shift = torch.zeros(size)
    shift[0] = 2.0
    assert sliced_wasserstein(rows, rows + shift, 8000, p=2) == pytest.approx(2 / math.sqrt(size), rel=0.05)


@pytest.mark.parametrize("p", [1, 2])
def test_on_a_line_every_direction_is_the_line(p: float):
    real, fake = normal(400, 1), 2 * normal(400, 1, seed=1) + 0.3
    expected = float((real.sort(0).values - fake.sort(0).values).abs().pow(p).mean() ** (1 / p))
    assert sliced_wasserstein(real, fake, 5, p=p) == pytest.approx(expected, rel=1e-5)
    if p == 1:
        line = wasserstein_distance(real.flatten().numpy(), fake.flatten().numpy())
        assert expected == pytest.approx(line, rel=1e-5)


def test_a_set_is_at_no_distance_from_itself_in_another_order_and_halves_are_close():
    rows = normal(2000, 8)
    assert sliced_wasserstein(rows, rows.flip(0)) == pytest.approx(0, abs=1e-6)
    halves, apart = sliced_wasserstein(rows[:1000], rows[1000:]), sliced_wasserstein(rows[:1000], rows[1000:] + 1)
    assert 0 < halves < 0.1 < apart


def test_blocks_of_directions_change_nothing(monkeypatch: pytest.MonkeyPatch):
    real, fake = normal(100, 5), normal(100, 5, seed=1)
    whole = sliced_wasserstein(real, fake, 64)
    monkeypatch.setattr(module, "PROJECTIONS", 700)
    assert sliced_wasserstein(real, fake, 64) == pytest.approx(whole, rel=1e-6)


def test_the_seed_chooses_the_directions():
    real, fake = normal(100, 5), normal(100, 5, seed=1)
    assert sliced_wasserstein(real, fake, 8, seed=1) == sliced_wasserstein(real, fake, 8, seed=1)
    assert sliced_wasserstein(real, fake, 8, seed=1) != sliced_wasserstein(real, fake, 8, seed=2)


def test_sets_of_unequal_size_are_refused():
    with pytest.raises(ValueError, match="equally many"):
        sliced_wasserstein(normal(5, 2), normal(6, 2))
    with pytest.raises(ValueError, match="equally many"):
        pyramid_sliced_wasserstein(normal(5, 1, 28, 28), normal(6, 1, 28, 28))


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((16, 16), [16]),
        ((32, 32), [32, 16]),
        ((128, 128), [128, 64, 32, 16]),
        ((28, 28), [28, 14]),
        ((56, 28), [56, 28]),
        ((15, 15), [15]),
        ((8, 8), [8]),
    ],
    ids=lambda value: "x".join(map(str, value)),
)
def test_sides_are_halved_down_to_sixteen_or_fourteen_pixels(size: tuple[int, int], expected: list[int]):
    assert [size[0] >> level for level in range(levels(*size))] == expected
    found = pyramid_sliced_wasserstein(normal(3, 1, *size), normal(3, 1, *size, seed=1), patches=2, directions=2)
    assert list(found) == expected


def test_the_filter_and_the_pyramid_are_those_of_mirrored_convolutions():
    images = normal(2, 3, 32, 32)
    binomial = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256
    small = convolve(images.numpy(), binomial[None, None], mode="mirror")
    assert_close(blurred(images), torch.from_numpy(small), rtol=1e-5, atol=1e-6)
    spread = np.zeros_like(images.numpy())
    spread[:, :, ::2, ::2] = small[:, :, ::2, ::2]
    lost = images.numpy() - convolve(spread, 4 * binomial[None, None], mode="mirror")
    fine, coarse = laplacian_pyramid(images, 2)
    assert_close(coarse, torch.from_numpy(small[:, :, ::2, ::2]), rtol=1e-5, atol=1e-6)
    assert_close(fine, torch.from_numpy(lost), rtol=1e-5, atol=1e-5)


def test_a_flat_image_loses_nothing_by_halving():
    fine, coarse = laplacian_pyramid(torch.full((1, 1, 32, 32), 0.7), 2)
    assert_close(coarse, torch.full((1, 1, 16, 16), 0.7))
    assert_close(fine, torch.zeros(1, 1, 32, 32))


def test_patches_are_pieces_of_the_images_normalised_by_channel():
    """Pixels increase by 1 per column and 10 per row, so that a patch identifies its position."""
    ramp = torch.arange(15.0) + 10 * torch.arange(15.0)[:, None]
    images = torch.stack([torch.stack([ramp, -3 * ramp]), torch.stack([ramp + 500, ramp])])
    patches = module._patches(images, 0, 400, seed=0).view(2, 400, 2, 7, 7)
    whole = patches.transpose(1, 2).transpose(0, 1).flatten(1)
    assert_close(whole.mean(1), torch.zeros(2), rtol=0, atol=1e-5)
    assert_close(whole.std(1, correction=0), torch.ones(2), rtol=1e-5, atol=0)
    step = patches[0, :, 0, 0, 1] - patches[0, :, 0, 0, 0]
    assert_close(step, step[:1].expand(400), rtol=1e-4, atol=0)
    assert_close(patches[0, :, 0, 1, 0] - patches[0, :, 0, 0, 0], 10 * step, rtol=1e-4, atol=0)
    corners = patches[0, :, 0, 0, 0] / step[0]
    place = (corners - corners.min()).round()  # 0 .. 88: column + 10 row, from 0 to 8 each
    assert set(place.tolist()) == {column + 10 * row for column in range(9) for row in range(9)}


def test_brightness_and_contrast_of_a_whole_set_cancel():
    real, fake = torch.rand(64, 3, 16, 16), torch.rand(64, 3, 16, 16)
    bytes_ = pyramid_sliced_wasserstein(255 * real, 255 * fake, patches=16, directions=64)
    signed = pyramid_sliced_wasserstein(2 * real - 1, 2 * fake - 1, patches=16, directions=64)
    assert bytes_[16] == pytest.approx(signed[16], rel=1e-3)


def test_a_fine_pattern_is_seen_at_the_fine_level_and_not_at_the_coarse_one():
    """Noise in the real images, a chequerboard in the fakes: the filter removes the board and most of the noise."""
    shapes = torch.nn.functional.interpolate(normal(600, 1, 8, 8), scale_factor=4, mode="bilinear")
    board = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(16, 16)
    real, alike = (shapes + 0.5 * normal(600, 1, 32, 32, seed=1)).split(300)
    board_for_grain = shapes[300:] + 0.5 * board
    near = pyramid_sliced_wasserstein(real, alike, patches=16, directions=128)
    far = pyramid_sliced_wasserstein(real, board_for_grain, patches=16, directions=128)
    assert all(0 < value < 60 for value in near.values())
    assert far[32] > 5 * near[32]
    assert far[16] < 2 * near[16]


def test_a_dead_generator_is_far_and_finite():
    found = pyramid_sliced_wasserstein(normal(50, 1, 16, 16), torch.zeros(50, 1, 16, 16), patches=16, directions=64)
    assert 700 < found[16] < 900  # E|N(0, 1)| = .798


def test_blocks_of_images_keep_the_order_of_the_patches(monkeypatch: pytest.MonkeyPatch):
    images = normal(10, 2, 28, 28) + 5 * torch.arange(10)[:, None, None, None]
    monkeypatch.setattr(module, "IMAGES", 4)
    means = module._patches(images, 1, 8, seed=0).view(10, -1).mean(1)
    assert (means.diff() > 0).all()
