"""Values of REFERENCE section 1: at p = q, and for three points with p = (.5, .3, .2), q = (.2, .2, .6)."""

import math

import pytest
import torch
from torch import Tensor

from gan_runner.loss.adversarial import ESTIMATES, Minimax, NonSaturating, Wasserstein

P = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
Q = torch.tensor([0.2, 0.2, 0.6], dtype=torch.float64)
JSD = 0.0905658  # of p and q, nats; computed independently


def sample(distribution: Tensor, scores: Tensor) -> Tensor:
    """Scores of ten points drawn exactly in proportion to a distribution over three."""
    return scores.repeat_interleave((10 * distribution).round().long())


ZERO = torch.zeros(10, dtype=torch.float64)
OPTIMAL = torch.log(P / Q)


@pytest.mark.parametrize(
    ("loss", "of_discriminator", "of_generator"),
    [
        (Minimax(), math.log(4), -math.log(2)),
        (NonSaturating(), math.log(4), math.log(2)),
        (Wasserstein(), 0.0, 0.0),
    ],
    ids=["minimax", "non-saturating", "wasserstein"],
)
def test_value_when_nothing_can_be_told_apart(loss, of_discriminator: float, of_generator: float):
    assert loss.discriminator(ZERO, ZERO).item() == pytest.approx(of_discriminator, abs=1e-12)
    assert loss.generator(ZERO, None).item() == pytest.approx(of_generator, abs=1e-12)


@pytest.mark.parametrize(
    ("loss", "of_generator"),
    [(Minimax(), -0.6064200), (NonSaturating(), 1.0012362)],
    ids=["minimax", "non-saturating"],
)
def test_value_of_the_optimal_discriminator_on_three_points(loss, of_generator: float):
    real, fake = sample(P, OPTIMAL), sample(Q, OPTIMAL)
    assert loss.discriminator(real, fake).item() == pytest.approx(1.2051627, abs=1e-6)
    assert loss.generator(fake, None).item() == pytest.approx(of_generator, abs=1e-6)


def test_the_js_estimate_of_the_optimal_discriminator_is_the_divergence():
    tag, formula = ESTIMATES[Minimax().estimate]
    loss = Minimax().discriminator(sample(P, OPTIMAL), sample(Q, OPTIMAL))
    assert tag == "divergence/js_estimate"
    assert formula(loss).item() == pytest.approx(JSD, abs=1e-6)


def test_the_wasserstein_estimate_is_positive_when_the_discriminator_separates():
    """With D(x) = x on p and q over the points 2, 1, 0 the gap is the difference of means, 1.3 - 0.6."""
    points = torch.tensor([2.0, 1.0, 0.0], dtype=torch.float64)
    loss = Wasserstein().discriminator(sample(P, points), sample(Q, points))
    tag, formula = ESTIMATES[Wasserstein().estimate]
    assert tag == "wasserstein/estimate"
    assert formula(loss).item() == pytest.approx(0.7, abs=1e-12)


def test_no_discriminator_does_better_than_the_optimal_one():
    best = Minimax().discriminator(sample(P, OPTIMAL), sample(Q, OPTIMAL))
    for shift in torch.randn(50, 3, dtype=torch.float64):
        other = OPTIMAL + 0.5 * shift
        assert Minimax().discriminator(sample(P, other), sample(Q, other)) > best


@pytest.mark.parametrize("loss", [Minimax(), NonSaturating(), Wasserstein()], ids=lambda loss: type(loss).__name__)
def test_the_generator_wants_higher_scores_and_the_discriminator_wants_a_gap(loss):
    real, fake = (torch.randn(8, dtype=torch.float64, requires_grad=True) for _ in range(2))
    for_real, for_fake = torch.autograd.grad(loss.discriminator(real, fake), (real, fake))
    (for_generator,) = torch.autograd.grad(loss.generator(fake, None), fake)
    assert (for_real < 0).all()
    assert (for_fake > 0).all()
    assert (for_generator < 0).all()


def test_generator_gradients_saturate_in_minimax_alone():
    """Weight per fake: sigma(l) when saturating, 1 - sigma(l) when not; at l = -10 about 5e-5 and 1."""
    fake = torch.full((1,), -10.0, dtype=torch.float64, requires_grad=True)
    slopes = [torch.autograd.grad(loss.generator(fake, None), fake)[0].item() for loss in (Minimax(), NonSaturating())]
    assert slopes == pytest.approx([-1 / (1 + math.exp(10)), -1 / (1 + math.exp(-10))], rel=1e-9)


@pytest.mark.parametrize("loss", [Minimax(), NonSaturating(), Wasserstein()], ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_scores_give_finite_losses_and_gradients(loss, dtype: torch.dtype):
    scores = torch.tensor([1e4, -1e4, 0.0], dtype=dtype, requires_grad=True)
    for value in (loss.discriminator(scores, scores.flip(0)), loss.generator(scores, None)):
        (gradient,) = torch.autograd.grad(value, scores)
        assert value.isfinite()
        assert gradient.isfinite().all()
