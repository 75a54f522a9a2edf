"""Toy distributions, compared with their definitions, and the endless stream of points."""

import math
from itertools import islice

import pytest
import torch
from sklearn.datasets import make_moons, make_swiss_roll
from torch import Tensor
from torch.testing import assert_close

from gan_runner.dataset.curves import SwissRoll, TwoMoons
from gan_runner.dataset.gaussians import Grid, Line, Ring
from gan_runner.dataset.point_masses import PointMasses
from gan_runner.dataset.points import BLOCK, Points
from tests.conftest import make_run

CPU = torch.device("cpu")
TOYS = {"ring": Ring(), "grid": Grid(), "line": Line(), "swiss roll": SwissRoll(), "two moons": TwoMoons()}


def stream(data: Points, size: int, start: int, count: int, seed: int = 0) -> Tensor:
    """(count * size, coordinates) of the training split."""
    batches = islice(data.split("train").batches(size, CPU, start, seed), count)
    return torch.cat([batch.images for batch in batches]).flatten(1)


@pytest.mark.parametrize("start", [0, 7, BLOCK - 1, BLOCK, 2 * BLOCK + 5])
@pytest.mark.parametrize("size", [3, 64, BLOCK + 1])
def test_the_stream_is_a_function_of_its_position(start: int, size: int):
    whole = stream(Ring(), 1000, 0, 36)
    assert torch.equal(stream(Ring(), size, start, 2), whole[start : start + 2 * size])


@pytest.mark.parametrize("data", TOYS.values(), ids=TOYS)
def test_no_point_comes_twice_and_none_is_of_the_held_sample(data: Points):
    points = torch.cat([stream(data, 1000, 0, 3 * BLOCK // 1000), data.images.flatten(1)])
    # float32 has few numbers on a line, so that some of 50,000 fall together by chance
    assert len(points.unique(dim=0)) >= (0.999 if data.spec.size == 2 else 0.98) * len(points)


def test_seeds_give_other_points_and_one_seed_the_same():
    assert torch.equal(stream(Grid(), 10, 0, 1, seed=1), stream(Grid(), 10, 0, 1, seed=1))
    assert not torch.equal(stream(Grid(), 10, 0, 1, seed=0), stream(Grid(), 10, 0, 1, seed=1))
    assert torch.equal(Grid().images, Grid().images)


def test_splits_for_judging_are_finite_and_apart():
    parts = {name: TOYS["ring"].split(name) for name in ("train", "validation", "test")}
    images = torch.cat([part.images for part in parts.values()])
    assert torch.equal(images, TOYS["ring"].images)
    assert len(images.unique(dim=0)) == len(images) == 30_000
    validation = parts["validation"]
    epoch = torch.cat([batch.images for batch in islice(validation.batches(100, CPU, 0, 0), 100)])
    assert torch.equal(epoch.unique(dim=0), validation.images.unique(dim=0))


def test_a_gaussian_on_the_line_has_its_mean_deviation_and_density():
    data = Line(mean=-2.0, std=0.25)
    points = stream(data, 1000, 0, 100)
    assert points.shape == (100_000, 1)
    assert points.mean().item() == pytest.approx(-2, abs=4 * 0.25 / math.sqrt(100_000))
    assert points.std().item() == pytest.approx(0.25, rel=0.01)
    assert (points + 2).pow(4).mean().item() == pytest.approx(3 * 0.25**4, rel=0.05)
    assert_close(data.log_density(points[:9]), torch.distributions.Normal(-2, 0.25).log_prob(points[:9, 0]))


@pytest.mark.parametrize("data", [Ring(3, 1.0, 0.2), Grid(2, 1.0, 0.3)], ids=["ring", "grid"])
def test_a_density_in_the_plane_holds_all_mass_and_that_of_each_place(data: Ring | Grid):
    ticks = torch.linspace(-3, 3, 601)
    places = torch.cartesian_prod(ticks, ticks)
    density = data.log_density(places).exp() * 0.01**2
    assert density.sum().item() == pytest.approx(1, abs=1e-4)
    right = stream(data, 1000, 0, 100)[:, 0] > 0.5
    assert density[places[:, 0] > 0.5].sum().item() == pytest.approx(right.float().mean().item(), abs=0.01)


CURVES = {
    "swiss roll": (SwissRoll(), make_swiss_roll(100_000, noise=0.25, random_state=0)[0][:, [0, 2]] / 7.5),
    "two moons": (TwoMoons(), make_moons(100_000, noise=0.05, random_state=0)[0]),
}


@pytest.mark.parametrize(("data", "theirs"), CURVES.values(), ids=CURVES)
def test_curves_are_those_of_scikit_learn(data: Points, theirs):
    """Compares the share of points in each cell of a coarse grid."""
    counts = [
        torch.histogramdd(points.double(), [12, 12], range=[-2.5, 2.5, -2.5, 2.5]).hist
        for points in (stream(data, 1000, 0, 100), torch.from_numpy(theirs))
    ]
    assert counts[1].sum() == 100_000
    assert (counts[0] - counts[1]).abs().max() < 6 * math.sqrt(counts[1].max())
    assert ((counts[0] > 0) == (counts[1] > 0)).float().mean() > 0.95


def test_without_noise_points_lie_on_the_curves():
    x, y = stream(TwoMoons(noise=0.0), 1000, 0, 10).T
    upper, lower = (x**2 + y**2).sqrt(), ((x - 1) ** 2 + (y - 0.5) ** 2).sqrt()
    assert_close(torch.minimum((upper - 1).abs(), (lower - 1).abs()), torch.zeros(10_000), atol=1e-6, rtol=0)
    assert (((upper - 1).abs() < 1e-6) & (y >= -1e-6)).float().mean().item() == pytest.approx(0.5, abs=0.02)
    roll = stream(SwissRoll(noise=0.0, scale=1.0), 1000, 0, 10)
    t = roll.norm(dim=1)  # the spiral's radius is its angle
    assert_close(torch.stack([t * t.cos(), t * t.sin()], dim=1), roll, atol=1e-3, rtol=0)
    assert t.min().item() == pytest.approx(1.5 * math.pi, abs=0.02)
    assert t.max().item() == pytest.approx(4.5 * math.pi, abs=0.02)


@pytest.mark.parametrize(("name", "factor"), [("ring8", 2 / 1.414), ("grid25", 1 / 2.828)])
def test_both_published_scalings_are_the_same_picture(name: str, factor: float):
    """improved_wgan_training divides a ring of radius 2 by 1.414, and the grid by 2.828."""
    pacgan, gulrajani = (
        make_run(f"dataset={n}", "model=toy", "device=cpu").dataset for n in (name, f"{name}_gulrajani")
    )
    assert_close(gulrajani.centers, factor * pacgan.centers, rtol=1e-5, atol=1e-5)
    deviation = {"ring8": 0.02 / 1.414, "grid25": 0.05 / 2.828}[name]
    assert gulrajani.std == pytest.approx(deviation, rel=1e-5)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_point_masses_never_move(channels: int):
    assert stream(PointMasses(3.0, channels), 64, 5, 2).unique(dim=0).tolist() == [[3.0] + [0.0] * (channels - 1)]


REFUSED = {
    "a mass without width": (Line, {"std": 0.0}, "std=0.0 must be above 0; dataset=point_masses"),
    "negative noise": (TwoMoons, {"noise": -1.0}, "noise=-1.0 must be 0 or more"),
    "a scale of nothing": (SwissRoll, {"scale": 0.0}, "scale=0.0 must be above 0"),
}


@pytest.mark.parametrize(("data", "settings", "sentence"), REFUSED.values(), ids=REFUSED)
def test_a_setting_that_means_nothing_is_refused(data: type, settings: dict, sentence: str):
    with pytest.raises(ValueError, match=sentence):
        data(**settings)


@pytest.mark.parametrize(
    "name", ["ring8", "grid25", "gaussian_1d", "mixture_1d", "swiss_roll", "two_moons", "point_masses"]
)
def test_a_run_goes_on_in_the_stream_where_it_stopped(name: str):
    overrides = (f"dataset={name}", "model=toy", "model.generator.widths=[8]", "model.discriminator.widths=[8]")
    runs = [make_run(*overrides, "loss=wgan_gp", "train.batch_size=1500", "device=cpu") for _ in range(2)]
    for _ in range(3):
        runs[0].step()
    runs[1].load_state(runs[0].state())
    first, again = (next(run.batches.for_discriminator).images for run in runs)
    assert torch.equal(first, again)
