"""The whole loop against theory: two point masses, the generator held (REFERENCE 1.5)."""

from pathlib import Path

import pytest

from tests.conftest import metrics, train_in


def test_wgan_gp_between_two_point_masses_finds_the_closed_form(tmp_path: Path):
    """W = 2, lambda = 10: slope 1 + W / (2 lambda) = 1.1, estimate W + W^2 / (2 lambda) = 2.2, penalty 0.1."""
    folder = train_in(tmp_path / "run", "experiment=point_masses", "device=cpu")
    last = metrics(folder)[-1]
    assert last["wasserstein/estimate"] == pytest.approx(2.2, abs=0.1)
    assert last["gradient_norm/gradient"] == pytest.approx(1.1, abs=0.03)
    assert last["penalty/gradient"] == pytest.approx(0.1, abs=0.03)
    assert last["loss/discriminator"] == pytest.approx(-2.1, abs=0.1)
    assert last["score/gap"] == last["wasserstein/estimate"]
