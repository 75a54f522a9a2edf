"""Copying, underfitting and healthy samples are distinguished; compared with scipy and scikit-learn."""

import math
from typing import NamedTuple

import pytest
import torch
from scipy.stats import mannwhitneyu
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from gan_runner.metric import memorization
from gan_runner.metric.frechet import frechet_distance, moments
from gan_runner.metric.memorization import (
    cell_centers,
    copying,
    excess,
    memorization_distance,
    mifid,
    nearest_ratio,
    one_nearest_neighbour_accuracy,
)
from gan_runner.metric.neighbours import nearest


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Scene(NamedTuple):
    """Ten clusters in 16 dimensions."""

    train: Tensor
    held_out: Tensor
    healthy: Tensor
    copied: Tensor  # training rows, all but exactly
    underfit: Tensor


def scene() -> Scene:
    centers = 5 * normal(10, 16, seed=9)
    train, held_out, healthy = (centers[torch.arange(1000) % 10] + normal(1000, 16, seed=s) for s in range(3))
    copied = train.flip(0) + 0.01 * normal(1000, 16, seed=3)
    return Scene(train, held_out, healthy, copied, healthy + 1.5 * normal(1000, 16, seed=4))


SCENE = scene()


def to_train(rows: Tensor) -> Tensor:
    return nearest(rows, SCENE.train).distances[:, 0]


def ratio(fake: Tensor) -> float:
    return nearest_ratio(to_train(fake), to_train(SCENE.held_out))


def c_t(fake: Tensor, count: int = 1) -> float:
    middle = cell_centers(SCENE.train, count)
    fake_cells, held_out_cells = (nearest(rows, middle).indices[:, 0] for rows in (fake, SCENE.held_out))
    return copying(to_train(fake), to_train(SCENE.held_out), fake_cells, held_out_cells)


def accuracy(real: Tensor, fake: Tensor) -> memorization.OneNearestNeighbour:
    return one_nearest_neighbour_accuracy(
        nearest(real, real, skip_self=True).distances[:, 0],
        nearest(real, fake).distances[:, 0],
        nearest(fake, fake, skip_self=True).distances[:, 0],
        nearest(fake, real).distances[:, 0],
    )


def test_the_ratio_is_one_for_health_little_for_copies_and_large_for_underfitting():
    assert ratio(SCENE.healthy) == pytest.approx(1, abs=0.03)
    assert ratio(SCENE.copied) < 0.05
    assert ratio(SCENE.train) == 0
    assert ratio(SCENE.underfit) > 1.3


def test_held_out_data_that_were_trained_on_are_refused():
    with pytest.raises(ValueError, match="held out"):
        nearest_ratio(torch.ones(3), torch.zeros(3))


@pytest.mark.parametrize("count", [1, 10], ids=["one cell", "ten cells"])
def test_the_sign_of_c_t_tells_copying_from_underfitting(count: int):
    assert c_t(SCENE.copied, count) < -10
    assert c_t(SCENE.underfit, count) > 10
    assert abs(c_t(SCENE.healthy, count)) < 3


def test_half_copies_are_caught_too():
    half = torch.cat([SCENE.copied[:500], SCENE.healthy[500:]])
    assert c_t(half) < -5


def test_copies_in_one_cell_of_ten_are_diluted_as_their_share_of_held_out_rows():
    mixed = SCENE.healthy.clone()
    mixed[::10] = SCENE.train[::10]  # the first cluster
    alone = copying(to_train(mixed)[::10], to_train(SCENE.held_out)[::10])
    assert alone < -10
    assert c_t(mixed, 10) == pytest.approx(c_t(SCENE.healthy, 10) + 0.1 * alone, abs=0.35)


@pytest.mark.parametrize("fake", [SCENE.healthy, SCENE.copied, SCENE.underfit], ids=["healthy", "copied", "underfit"])
def test_the_z_score_is_that_of_the_u_of_scipy(fake: Tensor):
    ours, theirs = to_train(fake), to_train(SCENE.held_out)[:700]
    u = mannwhitneyu(ours.numpy(), theirs.numpy()).statistic
    n, m = 700, 1000
    assert excess(ours, theirs) == pytest.approx((u - n * m / 2 + 0.5) / math.sqrt(n * m * (n + m + 1) / 12), rel=1e-9)


def test_ties_count_half():
    same = torch.ones(30)
    assert excess(same, same) == pytest.approx(0.5 / math.sqrt(900 * 61 / 12))
    assert copying(same, same) == pytest.approx(excess(same, same))
    assert excess(torch.zeros(30), same) < -6


def test_the_z_score_of_one_distribution_is_a_standard_normal():
    drawn = torch.tensor([excess(normal(80, seed=s), normal(60, seed=s + 1000)) for s in range(400)])
    assert float(drawn.mean()) == pytest.approx(0, abs=4 / 20)
    assert float(drawn.std()) == pytest.approx(1, abs=4 / 28)


def test_cells_with_few_rows_of_either_kind_do_not_count():
    far, near = torch.ones(40), torch.zeros(40)
    fake, held_out = torch.cat([far, near[:5]]), torch.cat([near, far])
    in_two = torch.tensor([0] * 40 + [1] * 5), torch.tensor([0] * 40 + [1] * 40)
    assert copying(fake, held_out, *in_two, enough=20) == excess(far, near)
    assert copying(fake, held_out, *in_two, enough=5) == pytest.approx(
        (excess(far, near) + excess(near[:5], far)) / 2, rel=1e-9
    )
    assert math.isnan(copying(fake, held_out, *in_two, enough=50))


def test_cells_weigh_by_their_share_of_held_out_rows():
    fake, held_out = torch.cat([torch.ones(30), torch.zeros(30)]), torch.cat([torch.zeros(90), torch.ones(30)])
    fake_cells, held_out_cells = torch.arange(60) // 30, (torch.arange(120) >= 90).long()
    up, down = excess(torch.ones(30), torch.zeros(90)), excess(torch.zeros(30), torch.ones(30))
    assert copying(fake, held_out, fake_cells, held_out_cells) == pytest.approx(0.75 * up + 0.25 * down)


def test_cells_are_the_clusters_of_the_training_rows():
    centers = cell_centers(SCENE.train, 10)
    by_cluster = nearest(SCENE.held_out, centers).indices.view(100, 10)  # rows of one cluster lie in one column
    assert (by_cluster == by_cluster.mode(0).values).double().mean() > 0.75
    assert torch.equal(centers, cell_centers(SCENE.train, 10))


def test_the_memorization_distance_is_one_less_the_best_cosine(monkeypatch: pytest.MonkeyPatch):
    fake, train = normal(200, 16), normal(300, 16, seed=1)
    cosine = torch.nn.functional.cosine_similarity(fake[:, None].double(), train[None].double(), dim=2)
    expected = float((1 - cosine.abs().amax(1)).mean())
    assert memorization_distance(fake, train) == pytest.approx(expected, rel=1e-6)
    monkeypatch.setattr(memorization, "ROWS", 7)
    monkeypatch.setattr(memorization, "COLUMNS", 11)
    assert memorization_distance(fake, train) == pytest.approx(expected, rel=1e-6)


def test_copies_and_their_multiples_have_no_memorization_distance():
    assert memorization_distance(SCENE.train[:50].clone(), SCENE.train) < 1e-12
    assert memorization_distance(-3 * SCENE.train[:50], SCENE.train) < 1e-12
    assert memorization_distance(torch.eye(4)[:1], torch.eye(4)[1:]) == 1


def test_mifid_charges_for_a_small_distance_alone():
    assert mifid(20.0, 0.05) == pytest.approx(400)
    assert mifid(20.0, 0.0999) == pytest.approx(20 / 0.0999)
    assert mifid(20.0, 0.1) == pytest.approx(20)
    assert mifid(20.0, 0.5) == pytest.approx(20)
    assert math.isfinite(mifid(20.0, 0.0))


def test_copies_pass_the_frechet_distance_and_fail_mifid():
    def scores(fake: Tensor) -> tuple[float, float]:
        fid = frechet_distance(moments(SCENE.held_out), moments(fake))
        return fid, mifid(fid, memorization_distance(fake, SCENE.train))

    healthy, copied = scores(SCENE.healthy), scores(SCENE.copied)
    assert copied[0] == pytest.approx(healthy[0], rel=0.5)
    assert copied[1] > 100 * healthy[1]


def test_one_nearest_neighbour_is_the_leave_one_out_of_scikit_learn():
    real, fake = SCENE.held_out[:300], SCENE.underfit[:300]
    rows, labels = torch.cat([real, fake]).double().numpy(), torch.arange(600) // 300
    neighbour = KNeighborsClassifier(2, algorithm="kd_tree").fit(rows, labels).kneighbors(rows)[1][:, 1]
    right = (labels[torch.from_numpy(neighbour)] == labels).double()
    expected = [float(part.mean()) for part in (right, right[:300], right[300:])]
    assert accuracy(real, fake) == pytest.approx(expected, abs=1e-12)


def test_one_nearest_neighbour_is_half_for_alike_one_apart_and_none_for_copies():
    alike = accuracy(SCENE.held_out, SCENE.healthy)
    assert alike.accuracy == pytest.approx(0.5, abs=0.05)
    assert accuracy(SCENE.train, SCENE.train + 1000) == (1, 1, 1)
    assert accuracy(SCENE.train, SCENE.copied) == (0, 0, 0)


def test_a_collapsed_generator_fools_the_nearest_neighbour_of_the_reals_alone():
    found = accuracy(SCENE.held_out, SCENE.train[:1] + 1e-3 * normal(1000, 16))
    assert found.fake > 0.99
    assert found.real > 0.9


def test_equal_distances_count_half():
    assert one_nearest_neighbour_accuracy(torch.ones(4), torch.ones(4), torch.ones(4), torch.ones(4)) == (0.5, 0.5, 0.5)
