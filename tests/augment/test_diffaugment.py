"""Flip and DiffAugment, compared with their effect on pixels."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from gan_runner.augment.diffaugment import POLICIES, DiffAugment, color, cutout, part_of, translation
from gan_runner.augment.flip import Flip
from gan_runner.noise import Noise
from gan_runner.schedule import Progress

START = Progress(0, 100)
SHAPES = {"small": (1, 5, 5), "digits": (1, 28, 28), "photographs": (3, 32, 32), "wide": (3, 6, 20)}


def draw(count: int, seed: int = 0) -> Noise:
    return Noise((seed, "test"), count, torch.device("cpu"))


def pictures(count: int, *shape: int) -> Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_half_of_the_images_are_mirrored_and_the_others_stay(shape: tuple[int, ...]):
    images = pictures(400, *shape)
    seen = Flip()(images, draw(400), START)
    mirrored = (seen == images.flip(3)).flatten(1).all(1)
    assert (mirrored | (seen == images).flatten(1).all(1)).all()
    assert 150 < mirrored.sum() < 250
    assert torch.equal(Flip(0.0)(images, draw(400), START), images)
    assert torch.equal(Flip(1.0)(images, draw(400), START), images.flip(3))


def test_color_keeps_what_it_should():
    """Channel differences of a pixel are scaled by one factor; only brightness changes the mean of an image."""
    images = pictures(1000, 3, 4, 4)
    seen = color(images, draw(1000))
    moved = (seen - images).mean((1, 2, 3))
    assert -0.5 <= moved.min() < -0.45
    assert 0.45 < moved.max() <= 0.5
    spread = (seen - seen.mean(1, keepdim=True)) / (images - images.mean(1, keepdim=True))  # saturation x contrast
    factor = spread.flatten(1).median(1).values
    assert_close(spread, factor[:, None, None, None].expand_as(spread), rtol=1e-2, atol=1e-2)
    assert factor.min() >= 0
    assert 2.5 < factor.max() < 3
    grey, grey_seen = images.mean(1), seen.mean(1)
    contrast = grey_seen.std((1, 2)) / grey.std((1, 2))
    assert 0.5 <= contrast.min() < 0.55
    assert 1.45 < contrast.max() <= 1.5
    drawn = torch.stack([moved, factor / contrast, contrast])  # brightness, saturation, contrast
    assert (drawn.corrcoef() - torch.eye(3)).abs().max() < 0.1  # each of its own


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_translation_moves_by_whole_pixels_and_fills_with_zeros(shape: tuple[int, ...]):
    height, width = shape[1:]
    images, (down, right) = pictures(300, *shape), (part_of(height, 1 / 8), part_of(width, 1 / 8))
    padded = torch.nn.functional.pad(images, (right, right, down, down))
    windows = padded.unfold(2, height, 1).unfold(3, width, 1).permute(0, 2, 3, 1, 4, 5)  # (B, y, x, C, H, W)
    found = (windows == translation(images, draw(300))[:, None, None]).flatten(3).all(3)
    assert found.any(2).any(1).all()
    assert found.any(0).all()  # each of the shifts occurs


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_cutout_clears_one_rectangle_that_the_border_clips(shape: tuple[int, ...]):
    images = torch.ones(400, *shape)
    seen = cutout(images, draw(400))
    assert set(seen.unique().tolist()) == {0.0, 1.0}
    for side, lines in ((shape[1], seen.amin((1, 3))), (shape[2], seen.amin((1, 2)))):
        cleared = (lines == 0).sum(1)
        assert cleared.max() == part_of(side, 1 / 2)
        assert cleared.min() == part_of(side, 1 / 2) - part_of(side, 1 / 2) // 2
        starts = (lines[:, 1:] != lines[:, :-1]).sum(1)
        assert starts.max() == (2 if side > 2 else 1)
    rectangle = (seen.amin((1, 3))[:, :, None] == 0) & (seen.amin((1, 2))[:, None, :] == 0)
    assert torch.equal(seen == 0, rectangle[:, None].expand_as(seen))


@pytest.mark.parametrize(("side", "shift", "cut"), [(5, 1, 3), (8, 1, 4), (11, 1, 6), (28, 4, 14), (32, 4, 16)])
def test_shares_of_a_side_are_rounded_as_the_authors_round_them(side: int, shift: int, cut: int):
    assert (part_of(side, 1 / 8), part_of(side, 1 / 2)) == (shift, cut)


def test_a_policy_is_applied_in_its_order():
    images = pictures(8, 3, 16, 16)
    for policy in (["cutout", "color"], ["color", "cutout"]):
        seen = DiffAugment(policy)(images, draw(8), START)
        expected = images
        for name in policy:
            expected = POLICIES[name](expected, draw(8).scoped(name))
        assert torch.equal(seen, expected)
        assert bool((seen == 0).any()) == (policy[-1] == "cutout")


@pytest.mark.parametrize(
    ("policy", "words"),
    [(["colour"], "did you mean 'color'"), ([], "augment=none"), (["color", "color"], "name each once")],
    ids=["misspelt", "empty", "twice"],
)
def test_a_wrong_policy_is_refused(policy: list[str], words: str):
    with pytest.raises(ValueError, match=rf"policy=.*{words}"):
        DiffAugment(policy)
