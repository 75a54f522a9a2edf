"""Every loss of both players, its value and its gradients, against formulas in numpy and finite differences of those.

The scores are few, all different, and no more alike for real than for fake; all in float64.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy.special import lambertw

from gan_runner.loss.adversarial import (
    BoundaryEquilibrium,
    EnergyBased,
    FDivergence,
    Hinge,
    LeastSquares,
    Minimax,
    NonSaturating,
    RelativisticAverage,
    RelativisticPaired,
    Wasserstein,
    WassersteinDivergence,
)

Array = np.ndarray
Formula = Callable[[Array, Array], float]  # of real and fake scores

REAL, FAKE = np.array([0.9, -1.35, 2.2, 0.15]), np.array([-0.4, 1.1, 0.35, -2.05])
STEP = 1e-5


class Case(NamedTuple):
    loss: object
    discriminator: Formula
    generator: Formula
    paired: bool = False  # one fake to each real one; else there are fewer fakes


def sigma(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def log_loss(real: Array, fake: Array) -> float:
    return -np.log(sigma(real)).mean() - np.log(1 - sigma(fake)).mean()


def smoothed(real: Array, fake: Array) -> float:
    return -(0.8 * np.log(sigma(real)) + 0.2 * np.log(1 - sigma(real))).mean() - np.log(1 - sigma(fake)).mean()


def average_standard(one: Array, other: Array) -> float:
    return -np.log(sigma(one - other.mean())).mean() - np.log(1 - sigma(other - one.mean())).mean()


def average_squares(one: Array, other: Array) -> float:
    return ((one - other.mean() - 1) ** 2).mean() + ((other - one.mean() + 1) ** 2).mean()


def average_hinge(one: Array, other: Array) -> float:
    return np.maximum(0, 1 - (one - other.mean())).mean() + np.maximum(0, 1 + (other - one.mean())).mean()


def began() -> BoundaryEquilibrium:
    loss = BoundaryEquilibrium(rate=0.0)
    loss.load_state_dict({"k": torch.tensor(0.3, dtype=torch.float64)})
    return loss


def jeffrey(t: Array) -> Array:
    w = lambertw(np.exp(1 - t)).real
    return w + 1 / w + t - 2


# divergence -> g(v) and f*(t), as tables 2 and 6 of Nowozin et al. 2016 have them
CONJUGATES: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "total_variation": (lambda v: np.tanh(v) / 2, lambda t: t),
    "kl": (lambda v: v, lambda t: np.exp(t - 1)),
    "reverse_kl": (lambda v: -np.exp(-v), lambda t: -1 - np.log(-t)),
    "pearson": (lambda v: v, lambda t: t**2 / 4 + t),
    "neyman": (lambda v: 1 - np.exp(-v), lambda t: 2 - 2 * np.sqrt(1 - t)),
    "squared_hellinger": (lambda v: 1 - np.exp(-v), lambda t: t / (1 - t)),
    "jeffrey": (lambda v: v, jeffrey),
    "js": (lambda v: np.log(2) - np.log(1 + np.exp(-v)), lambda t: -np.log(2 - np.exp(t))),
    "gan": (lambda v: -np.log(1 + np.exp(-v)), lambda t: -np.log(1 - np.exp(t))),
}


def f_gan(name: str, trick: bool) -> Case:
    g, conjugate = CONJUGATES[name]
    return Case(
        FDivergence(name, trick),
        lambda real, fake: conjugate(g(fake)).mean() - g(real).mean(),
        lambda real, fake: -g(fake).mean() if trick else -conjugate(g(fake)).mean(),
    )


def minus_fake(real: Array, fake: Array) -> float:
    return -fake.mean()


CASES = {
    "minimax": Case(Minimax(), log_loss, lambda real, fake: np.log(1 - sigma(fake)).mean()),
    "non-saturating": Case(NonSaturating(), log_loss, lambda real, fake: -np.log(sigma(fake)).mean()),
    "smoothed labels": Case(NonSaturating(0.8), smoothed, lambda real, fake: -np.log(sigma(fake)).mean()),
    "least squares": Case(
        LeastSquares(-0.5, 1.5, 0.25),
        lambda real, fake: ((real - 1.5) ** 2).mean() / 2 + ((fake + 0.5) ** 2).mean() / 2,
        lambda real, fake: ((fake - 0.25) ** 2).mean() / 2,
    ),
    "hinge": Case(
        Hinge(), lambda real, fake: np.maximum(0, 1 - real).mean() + np.maximum(0, 1 + fake).mean(), minus_fake
    ),
    "wasserstein": Case(Wasserstein(), lambda real, fake: fake.mean() - real.mean(), minus_fake),
    "wgan_div": Case(WassersteinDivergence(), lambda real, fake: fake.mean() - real.mean(), minus_fake),
    "ebgan": Case(EnergyBased(0.8), lambda real, fake: (-real).mean() + np.maximum(0, 0.8 - -fake).mean(), minus_fake),
    "began": Case(began(), lambda real, fake: (-real).mean() - 0.3 * (-fake).mean(), minus_fake),
    "rsgan": Case(
        RelativisticPaired(),
        lambda real, fake: -np.log(sigma(real - fake)).mean(),
        lambda real, fake: -np.log(sigma(fake - real)).mean(),
        paired=True,
    ),
    **{
        f"relativistic average, {form}": Case(
            RelativisticAverage(form), formula, lambda real, fake, formula=formula: formula(fake, real)
        )
        for form, formula in (
            ("standard", average_standard),
            ("least_squares", average_squares),
            ("hinge", average_hinge),
        )
    },
    **{
        f"f-gan {name}, {'trick' if trick else 'saturating'}": f_gan(name, trick)
        for name in CONJUGATES
        for trick in (True, False)
    },
}


def slopes(formula: Formula, real: Array, fake: Array) -> tuple[Array, Array]:
    """Central differences in each score."""

    def moved(side: int, place: int, by: float) -> float:
        scores = [real.copy(), fake.copy()]
        scores[side][place] += by
        return formula(*scores)

    found = [
        [(moved(side, place, STEP) - moved(side, place, -STEP)) / (2 * STEP) for place in range(len(scores))]
        for side, scores in enumerate((real, fake))
    ]
    return np.array(found[0]), np.array(found[1])


@pytest.mark.parametrize("player", ["discriminator", "generator"])
@pytest.mark.parametrize("name", CASES)
def test_value_and_gradients_are_those_of_the_published_formula(name: str, player: str):
    case = CASES[name]
    fake_scores = FAKE if case.paired else FAKE[:3]
    real, fake = (torch.tensor(scores, requires_grad=True) for scores in (REAL, fake_scores))
    formula = getattr(case, player)
    value = case.loss.discriminator(real, fake) if player == "discriminator" else case.loss.generator(fake, real)
    assert value.item() == pytest.approx(formula(REAL, fake_scores), rel=1e-12)
    gradients = torch.autograd.grad(value, (real, fake), allow_unused=True, materialize_grads=True)
    for gradient, expected in zip(gradients, slopes(formula, REAL, fake_scores), strict=True):
        assert gradient.numpy() == pytest.approx(expected, rel=1e-6, abs=1e-8)


def test_every_divergence_has_its_formula_here():
    from gan_runner.loss.adversarial import DIVERGENCES

    assert CONJUGATES.keys() == DIVERGENCES.keys()
