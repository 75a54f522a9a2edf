"""The transforms of ADA, compared with their effect on pixels; its probability, compared with the formula."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from gan_runner.augment.ada import ADA, GEOMETRY
from gan_runner.augment.color import recolored
from gan_runner.augment.corruption import band_matrices, filter_bank, filtered, gains
from gan_runner.augment.geometry import SYM6, Resampling, blit
from gan_runner.schedule import Progress, Schedule
from gan_runner.spec import ImageSpec
from tests.augment.test_diffaugment import SHAPES, START, draw, pictures

CPU = torch.device("cpu")
OFF = dict.fromkeys(("xflip", "rotate90", "xint", *GEOMETRY), 0.0) | dict.fromkeys(
    ("brightness", "contrast", "lumaflip", "hue", "saturation"), 0.0
)
ALL = {"imgfilter": 1.0, "noise": 1.0, "cutout": 1.0}
EACH = (*OFF, *ALL)


def ada(shape: tuple[int, ...] = (3, 16, 16), batch_size: int = 64, **settings: object) -> ADA:
    return ADA(ImageSpec(*shape), CPU, batch_size, **settings)  # type: ignore[arg-type]


def only(name: str, shape: tuple[int, ...] = (3, 16, 16)) -> ADA:
    return ada(shape, **(OFF | {name: 1.0, "probability": 1.0}))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_with_probability_0_the_images_stay_to_the_last_bit(shape: tuple[int, ...]):
    images = pictures(16, *shape)
    assert torch.equal(ada(shape, **ALL)(images, draw(16), START), images)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_with_probability_1_images_of_any_shape_change_and_stay_finite(shape: tuple[int, ...]):
    images = pictures(64, *shape)
    seen = ada(shape, probability=1.0, **ALL)(images, draw(64), START)
    assert seen.shape == images.shape
    assert seen.isfinite().all()
    assert (seen != images).flatten(1).any(1).all()


@pytest.mark.parametrize("name", EACH)
def test_a_transform_takes_place_with_the_probability_times_its_factor(name: str):
    """A draw without effect (no flip, no shift) does not count; with one channel, hue has no effect."""
    images = pictures(1000, 3, 8, 8)
    seen = ada((3, 8, 8), **(OFF | {name: 0.5, "probability": 0.6}))(images, draw(1000), START)
    unseen = {"xflip": 1 / 2, "rotate90": 1 / 4, "lumaflip": 1 / 2, "xint": 1 / 4, "imgfilter": 1 - (1 - 0.7**4) / 0.3}
    share = (seen != images).flatten(1).any(1).float().mean().item()
    assert share == pytest.approx(0.3 * (1 - unseen.get(name, 0)), abs=0.05)


# ---- geometry


def test_the_filter_is_orthogonal_and_kills_polynomials():
    """The defining properties of a wavelet with 6 vanishing moments."""
    taps = torch.tensor(SYM6, dtype=torch.float64)
    for shift in range(6):
        product = (taps[2 * shift :] * taps[: 12 - 2 * shift]).sum()
        assert product.item() == pytest.approx(float(shift == 0), abs=1e-10)
    places, signs = torch.arange(12, dtype=torch.float64), torch.tensor([1.0, -1.0] * 6, dtype=torch.float64)
    for power in range(6):
        assert (signs * places**power * taps).sum().item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_resampling_in_place_gives_the_images_back(shape: tuple[int, ...]):
    images = pictures(4, *shape)
    seen = Resampling(*shape[1:], CPU)(images, torch.eye(2).expand(4, 2, 2), torch.zeros(4, 2))
    assert_close(seen, images, rtol=0, atol=5e-5)


MAPS = {
    "scaled and stretched": ([[1.2, 0.0], [0.0, 0.8]], [0.0, 0.0]),
    "turned": ([[0.8, -0.6], [0.6, 0.8]], [0.0, 0.0]),
    "moved": ([[1.0, 0.0], [0.0, 1.0]], [1.3, -0.7]),
    "all of it": ([[0.9, -0.3], [0.2, 1.1]], [0.6, 2.2]),
}


@pytest.mark.parametrize(("linear", "shift"), MAPS.values(), ids=MAPS)
def test_a_plane_is_resampled_exactly(linear: list[list[float]], shift: list[float]):
    """For an image that is linear in x and y, away from the border, where it is mirrored."""
    y, x = torch.meshgrid(torch.arange(24.0) - 11.5, torch.arange(32.0) - 15.5, indexing="ij")
    (a, b), (c, d) = linear
    u, v = x - shift[0], y - shift[1]
    expected = 0.02 * (a * u + b * v) + 0.03 * (c * u + d * v)
    inside = ((a * u + b * v).abs() < 9) & ((c * u + d * v).abs() < 5) & (y.abs() < 8) & (x.abs() < 12)
    seen = Resampling(24, 32, CPU)((0.02 * x + 0.03 * y)[None, None], torch.tensor([linear]), torch.tensor([shift]))
    assert inside.sum() > 50
    assert_close(seen[0, 0][inside], expected[inside], rtol=0, atol=2e-4)


@pytest.mark.parametrize("turns", range(4))
def test_a_quarter_turn_by_resampling_is_one_by_copying(turns: int):
    grid = torch.linspace(0, math.pi, 24)
    smooth = (torch.cos(grid)[:, None] * torch.cos(2 * grid))[None, None]  # level at the border
    cos, sin = [(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)][turns]
    seen = Resampling(24, 24, CPU)(smooth, torch.tensor([[[cos, sin], [-sin, cos]]]), torch.zeros(1, 2))
    zero = torch.zeros(1)
    copied = blit(smooth, zero, zero + turns, zero, zero)
    assert torch.equal(copied, smooth.rot90(-turns, (2, 3)))
    assert_close(seen, copied, rtol=0, atol=0.02)


def test_copied_pixels_are_mirrored_turned_and_moved():
    images = pictures(4, 3, 7, 7)
    zero = torch.zeros(4)
    assert torch.equal(blit(images, zero, zero, zero, zero), images)
    assert torch.equal(blit(images, zero + 1, zero, zero, zero), images.flip(3))
    assert torch.equal(blit(images, zero, zero + 2, zero, zero), images.flip((2, 3)))
    padded = torch.nn.functional.pad(images, (2, 0, 0, 1), mode="reflect")
    assert torch.equal(blit(images, zero, zero, zero - 1, zero + 2), padded[:, :, 1:, :7])


# ---- colour


def recolor(images: Tensor, **changes: float) -> Tensor:
    neutral = {"brightness": 0.0, "contrast": 1.0, "flip": 0.0, "hue": 0.0, "saturation": 1.0}
    return recolored(images, **{name: torch.full((len(images),), v) for name, v in (neutral | changes).items()})


def test_colours_change_as_their_names_say():
    images = pictures(4, 3, 5, 5)
    luma = images.mean(1, keepdim=True)
    assert_close(recolor(images, brightness=0.3), images + 0.3)
    assert_close(recolor(images, contrast=1.7), images * 1.7)
    assert_close(recolor(images, saturation=0.0), luma.expand_as(images), atol=1e-6, rtol=0)
    assert_close(recolor(images, saturation=2.0), luma + 2 * (images - luma))
    assert_close(recolor(images, flip=1.0), images - 2 * luma)
    assert_close(recolor(images, hue=2 * math.pi / 3), images.roll(1, 1), atol=1e-6, rtol=0)
    turned = recolor(images, hue=0.7)
    assert_close(turned.mean(1, keepdim=True), luma, atol=1e-6, rtol=0)
    assert_close(turned.square().sum(1), images.square().sum(1))


def test_colours_are_changed_in_the_order_of_the_paper():
    images = pictures(4, 3, 5, 5)
    steps = {"brightness": 0.3, "contrast": 1.7, "flip": 1.0, "hue": 0.7, "saturation": 0.4}
    one_by_one = images
    for name, value in steps.items():
        one_by_one = recolor(one_by_one, **{name: value})
    assert_close(recolor(images, **steps), one_by_one)


def test_a_grey_image_of_one_channel_changes_as_one_of_three():
    grey, steps = pictures(4, 1, 5, 5), {"brightness": 0.3, "contrast": 1.7, "flip": 1.0, "hue": 0.7, "saturation": 0.4}
    assert_close(recolor(grey, **steps).expand(-1, 3, -1, -1), recolor(grey.expand(-1, 3, -1, -1), **steps))


# ---- bands, noise, holes


def test_the_bands_add_up_to_the_image_and_the_lowest_holds_its_mean():
    bank = filter_bank()
    assert_close(bank.sum(0), torch.eye(1, 43)[0].roll(21))
    assert_close(bank.sum(1), torch.tensor([1.0, 0.0, 0.0, 0.0]), atol=1e-6, rtol=0)
    assert_close(band_matrices(8).sum(0), torch.eye(8), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("band", "frequency"), [(0, 0.02), (1, 3 / 32), (2, 3 / 16), (3, 3 / 8)])
def test_a_band_passes_its_octave(band: int, frequency: float):
    wave = torch.cos(2 * math.pi * frequency * (torch.arange(43) - 21.0))
    responses = (filter_bank() * wave).sum(1)
    assert responses.argmax() == band
    assert responses[band] > 0.6


def test_amplified_bands_keep_the_expected_power():
    """The gains of four bands, one at a time; the weights are 1/f, so most power is in the lowest band."""
    assert_close(gains(torch.ones(2, 4)), torch.ones(2, 4))
    power = torch.tensor([10.0, 1.0, 1.0, 1.0]) / 13
    low = gains(torch.tensor([[3.0, 1.0, 1.0, 1.0]]))
    assert_close(low, torch.tensor([[3.0, 1.0, 1.0, 1.0]]) / math.sqrt((90 + 3) / 13))
    assert_close((power * low.square()).sum(), torch.tensor(1.0))


def test_a_constant_image_is_amplified_as_the_lowest_band_is():
    images, gain = torch.ones(2, 3, 6, 9), torch.tensor([[1.5, 1.0, 2.0, 0.5], [1.0, 3.0, 1.0, 1.0]])
    seen = filtered(images, gain, band_matrices(6), band_matrices(9))
    assert_close(seen, images * torch.tensor([2.25, 1.0])[:, None, None, None])


def test_noise_is_white_and_its_deviation_that_of_half_a_normal():
    seen = only("noise")(torch.zeros(500, 3, 16, 16), draw(500), START)
    deviations = seen.flatten(1).std(1)
    assert deviations.square().mean().sqrt().item() == pytest.approx(0.1, rel=0.1)
    assert seen.mean().abs() < 1e-3


def test_a_hole_has_half_a_side_and_is_clipped_by_the_border():
    seen = only("cutout", (1, 16, 16))(torch.ones(500, 1, 16, 16), draw(500), START)
    cleared = (seen == 0).sum((1, 2, 3))
    assert cleared.max() == 64
    assert 16 <= cleared.min() < 25


# ---- gradients


@pytest.mark.long
@pytest.mark.parametrize("augment", [ada((3, 6, 5), probability=0.7, **ALL)], ids=["every transform"])
def test_the_augmentation_is_differentiable_twice(augment: ADA):
    """In double precision, for a nonlinear score of the augmented images, as in a penalty."""
    images = pictures(3, 3, 6, 5).double().requires_grad_(True)
    weight = torch.randn(3, 6, 5, dtype=torch.float64, requires_grad=True)

    def score(images: Tensor, weight: Tensor) -> Tensor:
        return torch.tanh((augment(images, draw(3), START) * weight).sum((1, 2, 3)))

    assert torch.autograd.gradcheck(score, (images, weight))
    assert torch.autograd.gradgradcheck(score, (images, weight))


def test_an_image_is_augmented_without_regard_to_the_others():
    augment, images = ada(probability=0.8, **ALL), pictures(8, 3, 16, 16)
    changed = torch.cat([-images[:1], images[1:]])
    one, other = (augment(batch, draw(8), START) for batch in (images, changed))
    assert torch.equal(one[1:], other[1:])
    assert not torch.equal(one[0], other[0])


# ---- the probability


def test_the_probability_follows_the_signs_of_the_scores():
    """Every 4 updates of 64 images p moves by 256 / 500,000 towards a mean sign of 0.6, and not below 0."""
    augment, stride = ada(), 4 * 64 / 500_000
    shares = [0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.7, 0.6, 0.5, 0.9, 0.9, 0.9, *[0.0] * 8]  # mean signs .8, .55, .6 - .2, -1
    expected = [0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    for update, (share, before) in enumerate(zip(shares, expected, strict=True)):
        logged = augment.adapt({"accuracy/real": torch.tensor(share)}, update, START)
        assert logged["augment/probability"].item() == pytest.approx(before * stride, abs=1e-9), update
    for update in range(4 * 3000):
        augment.adapt({"accuracy/real": torch.tensor(1.0)}, update, START)
    assert augment.adaptive == 1


def test_the_probability_may_follow_a_schedule():
    augment = ada(probability=Schedule(start=0.0, end=0.55, shape="cosine"))
    seen = [augment.adapt({}, 0, Progress(step, 100))["augment/probability"].item() for step in (0, 50, 100)]
    assert seen == pytest.approx([0, 0.275, 0.55])


WRONG = {
    "a probability above 1": ({"probability": 1.5}, "probability=1.5 is a probability"),
    "a schedule above 1": ({"probability": Schedule(end=2.0)}, r"probability.end=2.0 is a probability"),
    "a factor above 1": ({"hue": 2.0}, "hue=2.0 is a probability"),
    "a factor below 0": ({"hue": -1.0}, "hue=-1.0 must be 0 or more"),
    "no transform": (OFF, "augment=none"),
    "a target that no sign reaches": ({"target": 2.0}, "target=2.0"),
    "no update": ({"every": 0}, "every=0"),
    "no image": ({"speed_images": 0.0}, "speed_images=0.0"),
}


@pytest.mark.parametrize(("settings", "words"), WRONG.values(), ids=WRONG)
def test_a_wrong_setting_is_refused(settings: dict[str, object], words: str):
    with pytest.raises(ValueError, match=words):
        ada(**settings)


def test_colours_of_two_channels_are_refused():
    with pytest.raises(ValueError, match=r"brightness=1.0 .* 1 or 3 channels, and the data have 2"):
        ada((2, 8, 8))
