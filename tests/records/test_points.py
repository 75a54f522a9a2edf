"""Pictures of toy data: what is drawn, against hand calculations and the networks themselves."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from gan_runner.records import points as plot
from gan_runner.records.points import Scene
from gan_runner.spec import ImageSpec
from gan_runner.training.showcase import scene
from tests.conftest import make_run, weights

NORMAL = ("model.latent.distribution=normal", "model.latent.low=null", "model.latent.high=null")
SMALL = ("model=toy", "model.generator.widths=[8]", "model.discriminator.widths=[8]", "device=cpu")


class Identity(nn.Module):
    """x = z; its one weight is of no use, and there because an optimizer wants one."""

    def __init__(self, widths: list[int], activation: str, norm: str, dropout: float, conditioning: str):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return z[:, :, None, None] + 0 * self.unused


def game(real: Tensor, fake: Tensor, score: Callable[[Tensor], Tensor], probability: bool = True) -> Scene:
    return Scene("step 7", real, torch.rand(len(fake), 1), fake, score, lambda points: None, probability)


def first(points: Tensor) -> Tensor:
    return points[:, 0]


@pytest.mark.parametrize("coordinates", [1, 2])
@pytest.mark.parametrize("probability", [True, False])
@pytest.mark.parametrize("score", [first, lambda points: torch.zeros(len(points))], ids=["a slope", "a flat one"])
@pytest.mark.parametrize("fakes", [torch.randn, torch.zeros, lambda *shape: 1e30 * torch.ones(shape)])
def test_any_game_is_drawn_without_a_warning(recwarn, coordinates, probability, score, fakes):
    drawn = plot.picture(game(torch.randn(500, coordinates), fakes(400, coordinates), score, probability))
    assert drawn.dtype == np.uint8
    assert drawn.shape == {1: (500, 700, 3), 2: (440, 900, 3)}[coordinates]
    assert drawn.std() > 10
    assert not recwarn.list


def test_the_best_discriminator_by_hand():
    """p = (.5, .3, .2, 0), q = (.2, .2, .6, 0)."""
    p, q = np.array([0.5, 0.3, 0.2, 0.0]), np.array([0.2, 0.2, 0.6, 0.0])
    np.testing.assert_allclose(plot.best(p, q), [5 / 7, 3 / 5, 1 / 4, math.nan])


def test_a_histogram_is_a_density_of_all_points_also_of_those_outside():
    points = torch.tensor([[0.1], [0.2], [0.7], [5.0]])
    np.testing.assert_allclose(plot.histogram(points, np.array([0.0, 0.5, 1.0])), [2 / (4 * 0.5), 1 / (4 * 0.5)])


def test_the_frame_holds_the_data_and_the_origin_and_says_what_it_leaves_out():
    middle, half = plot.window(torch.tensor([[2.0, 1.0], [4.0, 1.5]]))
    np.testing.assert_allclose(middle, [2.0, 0.75])
    assert half == pytest.approx(4 * 0.65)
    assert plot.outside(np.array([[0.0, 0.0], [4.7, 0.0], [0.0, -1.9], [2.0, 2.0]]), middle, half) == ", 50 % outside"
    assert plot.outside(np.array([[0.0, 0.0]]), middle, half) == ""
    assert plot.window(torch.zeros(3, 2))[1] > 0


def test_crowded_points_are_told_from_lonely_ones():
    points = np.array([[0.1, 0.1]] * 7 + [[0.9, 0.9], [1.1, 0.9], [-0.1, 0.1]])
    np.testing.assert_allclose(plot.crowding(points), [math.log(8)] * 8 + [0.0, 0.0])


SHOWN = {
    "a line": (ImageSpec(1, 1, 1, value_range=None), True),
    "a plane": (ImageSpec(2, 1, 1, value_range=None), True),
    "space": (ImageSpec(3, 1, 1, value_range=None), False),
    "classes": (ImageSpec(2, 1, 1, 2, value_range=None), False),
    "one pixel": (ImageSpec(1, 1, 1), False),
}


@pytest.mark.parametrize(("spec", "shown"), SHOWN.values(), ids=SHOWN)
def test_only_unbounded_points_without_classes_on_a_line_or_in_a_plane_are_shown(spec: ImageSpec, shown: bool):
    assert plot.can_show(spec) == shown


@pytest.mark.parametrize(("loss", "probability"), [("gan", True), ("minimax", True), ("hinge", False), ("wgan", False)])
def test_a_score_is_a_probability_only_where_the_loss_makes_it_one(loss: str, probability: bool):
    drawn = scene(make_run(*SMALL, "dataset=ring8", f"loss={loss}"))
    assert drawn.probability == probability
    points = torch.tensor([[0.3, -2.0], [1.0, 0.0]])
    scores = drawn.score(points)
    judged = 1 / (1 + np.exp(-scores.numpy())) if probability else scores.numpy()
    np.testing.assert_allclose(drawn.judged(points), judged, rtol=1e-6)


def test_the_players_that_are_shown_are_the_live_ones_and_stay_as_they_are():
    batch_norm = ("model.generator.norm=batch", "model.discriminator.dropout=0.5", "loss=sngan")
    run = make_run(*SMALL, *batch_norm, "dataset=two_moons", "train.ema_half_life_images=1e6")
    for _ in range(3):
        run.step()
    before, shown, again = weights(run), scene(run), scene(run)
    points = torch.randn(5, 2)
    assert_close(shown.fake, again.fake, rtol=0, atol=0)
    assert_close(shown.score(points), shown.score(points), rtol=0, atol=0)
    assert_close(weights(run), before, rtol=0, atol=0)
    generator, discriminator = run.generator.network, run.discriminator.network
    assert generator.training
    assert discriminator.training
    with torch.no_grad():
        assert_close(shown.fake, generator.eval()(shown.latent, None).flatten(1))
        assert not torch.allclose(shown.fake, run.ema.network.eval()(shown.latent, None).flatten(1))
        assert_close(shown.score(points), discriminator.eval()(points.view(5, 2, 1, 1), None))


def test_a_discriminator_of_a_held_generator_becomes_the_best_one():
    """Between N(1, 1/4) and N(0, 1) the best score is log p / q, a parabola with its top at 4/3."""
    held = ("model.generator._target_=tests.records.test_points.Identity", "optimizer.generator.lr=0")
    run = make_run("experiment=gaussian_1d", *NORMAL, *held, "train.total_steps=150", "device=cpu")
    for _ in range(150):
        run.step()
    shown = scene(run)
    x = torch.linspace(-0.5, 2.0, 26).unsqueeze(1)
    known = torch.sigmoid(math.log(2) - 2 * (x - 1).square() + x.square() / 2).squeeze(1)
    assert np.abs(shown.judged(x) - known.numpy()).max() < 0.05
    edges = np.linspace(-0.55, 2.05, 27)
    drawn = plot.best(np.exp(shown.log_density(x).numpy()), plot.histogram(shown.fake, edges))
    np.testing.assert_allclose(drawn, known, atol=0.07)


def test_the_frame_of_data_at_0_has_the_circle_of_the_dirac_gan():
    middle, half = plot.window(torch.zeros(5, 1))
    assert middle.tolist() == [0]
    assert 2**0.5 < half < 4
