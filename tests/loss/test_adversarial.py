"""Values of REFERENCE section 1: at p = q, and for three points with p = (.5, .3, .2), q = (.2, .2, .6)."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from gan_runner.loss.adversarial import (
    DIVERGENCES,
    ESTIMATES,
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

F64 = torch.float64
P = torch.tensor([0.5, 0.3, 0.2], dtype=F64)
Q = torch.tensor([0.2, 0.2, 0.6], dtype=F64)
U = P / Q
ZERO = torch.zeros(10, dtype=F64)
OPTIMAL = torch.log(U)

# divergence -> its value for p and q, the optimal scores v with g(v) = f'(p/q), and T* at p = q
F_TABLE = {
    "total_variation": (0.4, 20 * torch.sign(U - 1), None),  # any: f is not smooth at 1
    "kl": (0.3600624, 1 + torch.log(U), 1.0),
    "reverse_kl": (0.3948162, torch.log(U), -1.0),
    "pearson": (0.7666667, 2 * (U - 1), 0.0),
    "neyman": (1.0133333, 2 * torch.log(U), 0.0),
    "squared_hellinger": (0.1848262, torch.log(U) / 2, 0.0),
    "jeffrey": (0.7548786, torch.log(U) + 1 - 1 / U, 0.0),
    "js": (0.1811317, torch.log(U), 0.0),
    "gan": (-1.2051627, torch.log(U), -math.log(2)),
}

# loss, scores of its optimal discriminator at p = q, values for both players there
EQUILIBRIUM = {
    "minimax": (Minimax(), 0.0, math.log(4), -math.log(2)),
    "non-saturating": (NonSaturating(), 0.0, math.log(4), math.log(2)),
    "lsgan 0 1 1": (LeastSquares(), 0.5, 1 / 4, 1 / 8),
    "lsgan -1 1 0": (LeastSquares(-1.0, 1.0, 0.0), 0.0, 1.0, 0.0),
    "hinge": (Hinge(), 0.0, 2.0, 0.0),
    "hinge at 0.7": (Hinge(), 0.7, 2.0, -0.7),
    "wasserstein": (Wasserstein(), 0.0, 0.0, 0.0),
    "wgan_div": (WassersteinDivergence(), 0.0, 0.0, 0.0),
    "ebgan": (EnergyBased(margin=1.0), -0.3, 1.0, 0.3),
    "rsgan": (RelativisticPaired(), 3.0, math.log(2), math.log(2)),
    "rasgan": (RelativisticAverage("standard"), 3.0, math.log(4), math.log(4)),
    "ralsgan": (RelativisticAverage("least_squares"), 3.0, 2.0, 2.0),
    "rahinge": (RelativisticAverage("hinge"), 3.0, 2.0, 2.0),
}
# loss -> its optimal scores on the three points, values for both players
THREE_POINTS = {
    "minimax": (Minimax(), OPTIMAL, 1.2051627, -0.6064200),
    "non-saturating": (NonSaturating(), OPTIMAL, 1.2051627, 1.0012362),
    "lsgan -1 1 0": (LeastSquares(-1.0, 1.0, 0.0), (P - Q) / (P + Q), 0.8257143, 0.0973674),
    "lsgan 0 1 1": (LeastSquares(), P / (P + Q), 0.8257143 / 4, None),
    "hinge": (Hinge(), torch.sign(P - Q), 1.2, None),
}
BEGAN = BoundaryEquilibrium(rate=0.0)
BEGAN.load_state_dict({"k": torch.tensor(0.5, dtype=F64)})
EVERY = (
    {"began": BEGAN}
    | {name: row[0] for name, row in EQUILIBRIUM.items()}
    | {
        f"fgan {name}, {'trick' if trick else 'saturating'}": FDivergence(name, trick)
        for name in DIVERGENCES
        for trick in (True, False)
    }
)


def sample(distribution: Tensor, scores: Tensor) -> Tensor:
    """Scores of ten points drawn exactly in proportion to a distribution over three."""
    return scores.repeat_interleave((10 * distribution).round().long())


def pairs(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Every real score with every fake one."""
    return real.repeat_interleave(len(fake)), fake.repeat(len(real))


@pytest.mark.parametrize(("loss", "score", "for_discriminator", "for_generator"), EQUILIBRIUM.values(), ids=EQUILIBRIUM)
def test_value_when_nothing_can_be_told_apart(loss, score: float, for_discriminator: float, for_generator: float):
    scores = torch.full((10,), score, dtype=F64)
    assert loss.discriminator(scores, scores).item() == pytest.approx(for_discriminator, abs=1e-12)
    assert loss.generator(scores, scores).item() == pytest.approx(for_generator, abs=1e-12)


@pytest.mark.parametrize(
    ("loss", "scores", "for_discriminator", "for_generator"), THREE_POINTS.values(), ids=THREE_POINTS
)
def test_value_of_the_optimal_discriminator_on_three_points(loss, scores: Tensor, for_discriminator, for_generator):
    real, fake = sample(P, scores), sample(Q, scores)
    assert loss.discriminator(real, fake).item() == pytest.approx(for_discriminator, abs=1e-6)
    if for_generator is not None:
        assert loss.generator(fake, None).item() == pytest.approx(for_generator, abs=1e-6)


def test_relativistic_pairs_reach_the_divergence_of_the_pairs():
    """log 2 - JS(p x q, q x p) = 0.5273936 at l* = log p/q, whatever constant is added."""
    for constant in (0.0, 7.0):
        real, fake = pairs(sample(P, OPTIMAL + constant), sample(Q, OPTIMAL + constant))
        assert RelativisticPaired().discriminator(real, fake).item() == pytest.approx(0.5273936, abs=1e-6)


def test_began_moves_k_towards_its_balance():
    """k <- clip(k + rate (gamma R(x) - R(G(z))), 0, 1), after both losses were computed with the k before."""
    loss = BoundaryEquilibrium(gamma=0.5, rate=0.1)
    real, fake = -torch.tensor([1.0, 3.0], dtype=F64), -torch.tensor([0.1, 0.3], dtype=F64)  # errors 2 and 0.2
    expected = 0.0
    for _ in range(15):
        assert loss.discriminator(real, fake).item() == pytest.approx(2 - expected * 0.2)
        assert loss.generator(fake, None).item() == pytest.approx(0.2)
        expected = min(1.0, expected + 0.1 * (0.5 * 2 - 0.2))
        assert float(loss.k) == pytest.approx(expected)
    assert expected == 1
    other = BoundaryEquilibrium()
    other.load_state_dict(loss.state_dict())
    assert other.discriminator(real, fake).item() == pytest.approx(1.8)
    for _ in range(30):
        loss.discriminator(real / 100, 5 * fake)
        loss.generator(5 * fake, None)
    assert float(loss.k) == 0


@pytest.mark.parametrize("name", F_TABLE)
def test_f_gan_bounds_its_divergence_tightly(name: str):
    expected, scores, at_equilibrium = F_TABLE[name]
    loss = FDivergence(name)
    real, fake = sample(P, scores), sample(Q, scores)
    assert -loss.discriminator(real, fake).item() == pytest.approx(expected, abs=1e-6)
    for shift in 0.3 * torch.randn(20, 3, dtype=F64):
        other = scores + shift
        assert -loss.discriminator(sample(P, other), sample(Q, other)).item() <= expected + 1e-6
    if at_equilibrium is not None:
        constants = torch.linspace(-1, 2, 3001, dtype=F64)
        best = constants[torch.stack([loss.discriminator(v[None], v[None]) for v in constants]).argmin()]
        assert loss.activation(best).item() == pytest.approx(at_equilibrium, abs=2e-3)


def test_the_conjugate_of_jeffrey_is_a_legendre_transform():
    """f*(t) = sup_u ut - (u - 1) log u, and its slope is the u where that is reached."""
    u = torch.logspace(-6, 6, 400_001, dtype=F64)
    for t in (-3.0, -0.5, 0.0, 0.7, 2.0):
        score = torch.tensor([t], dtype=F64, requires_grad=True)
        value = FDivergence("jeffrey").conjugate(score)
        supremum = (u * t - (u - 1) * u.log()).max()
        assert value.item() == pytest.approx(supremum.item(), abs=1e-6)
        (slope,) = torch.autograd.grad(value, score)
        assert slope.item() == pytest.approx(u[(u * t - (u - 1) * u.log()).argmax()].item(), rel=1e-3)


def estimated(loss, real: Tensor, fake: Tensor, penalty: float = 0.0) -> tuple[str, float]:
    tag, formula, penalised = ESTIMATES[loss.estimate]
    value = loss.discriminator(real, fake)
    return tag, formula(value + penalty if penalised else value).item()


@pytest.mark.parametrize(
    ("loss", "scores", "tag", "expected"),
    [
        (Minimax(), OPTIMAL, "divergence/js_estimate", 0.0905658),
        (NonSaturating(), OPTIMAL, "divergence/js_estimate", 0.0905658),
        (FDivergence("js"), OPTIMAL, "divergence/js_estimate", 0.0905658),
        (FDivergence("gan"), OPTIMAL, "divergence/js_estimate", 0.0905658),
        (Hinge(), torch.sign(P - Q), "divergence/tv_estimate", 0.4),
        (FDivergence("total_variation"), 20 * torch.sign(P - Q), "divergence/tv_estimate", 0.4),
        (Wasserstein(), torch.tensor([2.0, 1.0, 0.0], dtype=F64), "wasserstein/estimate", 0.7),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_estimate_of_the_optimal_discriminator_is_the_distance(loss, scores: Tensor, tag: str, expected: float):
    got = estimated(loss, sample(P, scores), sample(Q, scores), penalty=5.0)
    assert got == (tag, pytest.approx(expected, abs=1e-6))


def test_the_w_divergence_counts_its_penalty():
    points = torch.tensor([2.0, 1.0, 0.0], dtype=F64)
    got = estimated(WassersteinDivergence(), sample(P, points), sample(Q, points), penalty=0.1)
    assert got == ("divergence/w_div", pytest.approx(0.6))


@pytest.mark.parametrize("loss", [LeastSquares(), RelativisticPaired(), RelativisticAverage(), FDivergence("kl")])
def test_a_loss_without_an_estimate_says_so(loss):
    assert loss.estimate is None


def test_smoothed_labels_are_those_of_real_images_alone():
    """D* = 0.9 p / (p + q): there the gradient vanishes; and the loss is no estimate any more."""
    loss = NonSaturating(real_target=0.9)
    best = 0.9 * P / (P + Q)
    scores = torch.logit(best).requires_grad_(True)
    value = loss.discriminator(sample(P, scores), sample(Q, scores))
    (gradient,) = torch.autograd.grad(value, scores)
    assert gradient.abs().max() < 1e-12
    assert loss.estimate is None
    cross_entropy = -(P * (0.9 * best.log() + 0.1 * (1 - best).log()) + Q * (1 - best).log()).sum()
    assert value.item() == pytest.approx(cross_entropy.item())


def test_zero_is_the_boundary_only_where_it_is():
    assert LeastSquares(-1.0, 1.0, 0.0).zero_is_boundary
    assert not LeastSquares().zero_is_boundary
    assert not RelativisticPaired().zero_is_boundary
    assert not Wasserstein().zero_is_boundary


def test_no_discriminator_does_better_than_the_optimal_one():
    for loss, scores, best, _ in THREE_POINTS.values():
        for shift in torch.randn(50, 3, dtype=F64):
            other = scores + 0.5 * shift
            assert loss.discriminator(sample(P, other), sample(Q, other)) > best - 1e-6


def test_generator_gradients_saturate_in_minimax_alone():
    """Weight per fake: sigma(l) when saturating, 1 - sigma(l) when not; at l = -10 about 5e-5 and 1."""
    fake = torch.full((1,), -10.0, dtype=F64, requires_grad=True)
    slopes = [torch.autograd.grad(loss.generator(fake, None), fake)[0].item() for loss in (Minimax(), NonSaturating())]
    assert slopes == pytest.approx([-1 / (1 + math.exp(10)), -1 / (1 + math.exp(-10))], rel=1e-9)


@pytest.mark.parametrize("name", EVERY)
def test_extreme_scores_give_finite_losses_and_gradients(name: str):
    for dtype, size in itertools.product((torch.float32, F64), (1e4, 30.0, 0.0)):
        scores = torch.tensor([size, -size, 0.0], dtype=dtype, requires_grad=True)
        loss = EVERY[name]
        for value in (loss.discriminator(scores, scores.flip(0)), loss.generator(scores, scores.flip(0))):
            (gradient,) = torch.autograd.grad(value, scores)
            assert value.isfinite(), (dtype, size)
            assert gradient.isfinite().all(), (dtype, size)


@pytest.mark.parametrize("name", EVERY)
def test_doubling_a_batch_changes_nothing(name: str):
    loss = EVERY[name]
    real, fake = torch.randn(6, dtype=F64), torch.randn(6, dtype=F64)
    twice = loss.discriminator(real.repeat(2), fake.repeat(2)), loss.generator(fake.repeat(2), real.repeat(2))
    torch.testing.assert_close(twice, (loss.discriminator(real, fake), loss.generator(fake, real)))
    if not loss.paired:
        torch.testing.assert_close(loss.discriminator(real.flip(0), fake), loss.discriminator(real, fake))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: NonSaturating(real_target=0.0), "real_target=0.0"),
        (lambda: Minimax(real_target=1.1), "real_target=1.1"),
        (lambda: LeastSquares(a=1.0, b=1.0), "a=1.0"),
        (lambda: RelativisticAverage("hing"), "form='hing' is none of standard, least_squares, hinge"),
        (lambda: FDivergence("kullback"), "divergence='kullback' is none of total_variation, kl"),
    ],
    ids=["no target", "above one", "targets that coincide", "form", "divergence"],
)
def test_impossible_settings_are_refused(build, words: str):
    with pytest.raises(ValueError, match=words):
        build()
