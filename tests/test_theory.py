"""The training loop compared with theory: two point masses, frozen generator (REFERENCE 1.5)."""

from pathlib import Path

import pytest

from tests.conftest import metrics, some, train_in

GP = {"at the rate of the recipe": (), "fast": ("optimizer.lr=3e-3", "train.total_steps=150")}
DIV = {
    "slow": ("optimizer.lr=1e-3", "train.total_steps=1200"),
    "fast": ("optimizer.lr=3e-3", "train.total_steps=300"),
}


@pytest.mark.parametrize("rate", some(GP, []))
def test_wgan_gp_between_two_point_masses_finds_the_closed_form(tmp_path: Path, rate: tuple[str, ...]):
    """W = 2, lambda = 10: slope 1 + W / (2 lambda) = 1.1, estimate W + W^2 / (2 lambda) = 2.2, penalty 0.1."""
    folder = train_in(tmp_path / "run", "experiment=point_masses", "device=cpu", *rate)
    last = metrics(folder)[-1]
    assert last["wasserstein/estimate"] == pytest.approx(2.2, abs=0.1)
    assert last["gradient_norm/gradient"] == pytest.approx(1.1, abs=0.03)
    assert last["penalty/gradient"] == pytest.approx(0.1, abs=0.03)
    assert last["loss/discriminator"] == pytest.approx(-2.1, abs=0.1)
    assert last["score/gap"] == last["wasserstein/estimate"]
    assert last["wasserstein/held_out"] == pytest.approx(2.2, abs=0.1)


@pytest.mark.parametrize("rate", some(DIV, []))
def test_wgan_div_between_two_point_masses_finds_the_closed_form(tmp_path: Path, rate: tuple[str, ...]):
    """REFERENCE 1.6, k = 2, p = 6: gap W^(6/5) / 12^(1/5), penalty gap / 6, and W = gap^(5/6) 12^(1/6)."""
    div = ("loss=wgan_div", "optimizer=adam", "optimizer.generator.lr=0")
    folder = train_in(tmp_path / "run", "experiment=point_masses", *div, "device=cpu", *rate)
    last = metrics(folder)[-1]
    gap = 2**1.2 / 12**0.2
    assert last["score/gap"] == pytest.approx(gap, rel=0.05)
    assert last["penalty/gradient"] == pytest.approx(gap / 6, rel=0.05)
    assert last["divergence/w_div"] == pytest.approx(gap * 5 / 6, rel=0.05)
    assert last["score/gap"] ** (5 / 6) * 12 ** (1 / 6) == pytest.approx(2, rel=0.05)
