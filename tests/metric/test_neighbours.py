"""Neighbours and balls, against scikit-learn's trees, which look at differences only."""

import pytest
import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor
from torch.testing import assert_close

from gan_runner.metric import neighbours
from gan_runner.metric.neighbours import contained, nearest, radii


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def by_tree(points: Tensor, among: Tensor, k: int) -> Tensor:
    found = NearestNeighbors(n_neighbors=k, algorithm="kd_tree").fit(among.double().numpy())
    return torch.from_numpy(found.kneighbors(points.double().numpy())[0])


def at(points: Tensor, among: Tensor, indices: Tensor) -> Tensor:
    """The distances that the indices stand for: of two neighbours at one distance either may come first."""
    return (points[:, None].double() - among[indices].double()).norm(dim=2)


CLOUDS = {
    "a Gaussian of 16 dimensions": (normal(700, 16), normal(3000, 16, seed=1)),
    "a plane": (normal(700, 2), normal(3000, 2, seed=1)),
    "far from the origin": (normal(700, 16) + 1000, normal(3000, 16, seed=1) + 1000),
    "two clusters far apart, each within a millionth": (
        1e-4 * normal(700, 16) + 100 * torch.arange(700)[:, None] % 200,
        1e-4 * normal(3000, 16, seed=1) + 100 * torch.arange(3000)[:, None] % 200,
    ),
    "one far outlier": (normal(700, 16), torch.cat([normal(2999, 16, seed=1), torch.full((1, 16), 1e4)])),
    "fewer than a block": (normal(5, 3), normal(7, 3, seed=1)),
}


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("cloud", CLOUDS)
def test_neighbours_and_their_distances_are_those_of_a_tree(cloud: str, k: int):
    points, among = CLOUDS[cloud]
    found = nearest(points, among, k)
    assert_close(found.distances, by_tree(points, among, k), rtol=1e-10, atol=0)
    assert_close(at(points, among, found.indices), found.distances, rtol=1e-10, atol=0)


@pytest.mark.parametrize("cloud", CLOUDS)
def test_no_row_is_its_own_neighbour(cloud: str):
    among = CLOUDS[cloud][1]
    found = nearest(among, among, k=3, skip_self=True)
    assert_close(found.distances, by_tree(among, among, 4)[:, 1:], rtol=1e-10, atol=0)
    assert_close(at(among, among, found.indices), found.distances, rtol=1e-10, atol=0)
    assert not (found.indices == torch.arange(len(among))[:, None]).any()


def test_copies_are_at_distance_zero_exactly_however_large_the_norm():
    among = 1e3 * normal(3000, 64)
    found = nearest(among[:100].clone(), among)
    assert torch.equal(found.distances, torch.zeros(100, 1, dtype=torch.float64))
    assert torch.equal(found.indices[:, 0], torch.arange(100))


def test_a_copy_is_a_neighbour_even_where_the_row_itself_is_not():
    among = normal(2000, 8).repeat(2, 1)
    found = nearest(among, among, skip_self=True)
    assert found.distances.abs().max() == 0
    assert torch.equal(found.indices[:, 0], (torch.arange(4000) + 2000) % 4000)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch):
    points, among = normal(700, 16), normal(3000, 16, seed=1)
    reach = radii(among, 4)
    whole = nearest(points, among, 3), contained(among, reach, points, closed=True)
    monkeypatch.setattr(neighbours, "ROWS", 97)
    monkeypatch.setattr(neighbours, "COLUMNS", 101)
    monkeypatch.setattr(neighbours, "BLOCK", 16 * 59)
    monkeypatch.setattr(neighbours, "DIFFERENCES", 50)
    cut = nearest(points, among, 3), contained(among, radii(among, 4), points, closed=True)
    for one, other in zip(whole[0] + whole[1], cut[0] + cut[1], strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize("closed", [True, False], ids=["closed balls", "open balls"])
def test_balls_hold_what_the_differences_say(cloud: str, closed: bool):
    points, centers = (rows[:300] for rows in CLOUDS[cloud])
    reach = radii(centers, 2)
    apart = (points[:, None].double() - centers[None].double()).norm(dim=2)
    inside = apart <= reach if closed else apart < reach
    found = contained(centers, reach, points, closed)
    assert torch.equal(found.balls_around_point, inside.sum(1))
    assert torch.equal(found.points_in_ball, inside.sum(0))


@pytest.mark.parametrize("scale", [1.0, 1e3], ids=["ordinary norms", "large norms"])
def test_a_neighbour_at_the_radius_is_in_the_closed_ball_and_not_in_the_open_one(scale: float):
    rows = scale * normal(1000, 64) + scale
    reach = radii(rows, 3)
    assert torch.equal(contained(rows, reach, rows, closed=True).points_in_ball, torch.full((1000,), 4))
    assert torch.equal(contained(rows, reach, rows, closed=False).points_in_ball, torch.full((1000,), 3))


def test_a_ball_of_radius_zero_holds_copies_if_closed_and_nothing_if_open():
    rows = normal(100, 32).repeat(3, 1)
    assert contained(rows, radii(rows, 2), rows, closed=True).points_in_ball.eq(3).all()
    assert contained(rows, radii(rows, 2), rows, closed=False).points_in_ball.eq(0).all()


@pytest.mark.parametrize(
    ("k", "rows", "skip_self", "said"),
    [(0, 5, False, "k=0"), (6, 5, False, "use 6 points"), (5, 5, True, "use 6 points"), (1, 4, True, "same rows")],
    ids=["no neighbours", "more than there are", "more than there are others", "not the same rows"],
)
def test_neighbours_that_cannot_be_are_refused(k: int, rows: int, skip_self: bool, said: str):
    with pytest.raises(ValueError, match=said):
        nearest(normal(5, 2), normal(rows, 2), k, skip_self)
