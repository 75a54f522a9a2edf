"""Closed forms of REFERENCE section 2.2, in float64."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from gan_runner.loss.penalty import GradientPenalty, JensenShannonRegularizer
from gan_runner.model.mlp import MLPDiscriminator
from gan_runner.noise import Noise
from gan_runner.spec import Batch, ImageSpec

CPU = torch.device("cpu")
F64 = torch.float64

FAMILY = {
    "WGAN-GP": GradientPenalty(10.0),
    "WGAN-LP": GradientPenalty(10.0, one_sided=True),
    "DRAGAN": GradientPenalty(10.0, at="around_real"),
    "DRAGAN, symmetric": GradientPenalty(10.0, at="around_real_symmetric"),
    "DRAGAN, Gaussian": GradientPenalty(10.0, at="around_real_gaussian"),
    "R1": GradientPenalty(5.0, at="real", center=0.0),
    "R2": GradientPenalty(5.0, at="fake", center=0.0),
    "R1 + R2": GradientPenalty(10.0, at="both", center=0.0),
    "zero-centred on lines": GradientPenalty(10.0, center=0.0),
    "WGAN-div": GradientPenalty(2.0, center=0.0, power=6.0),
    "WGAN-div on both": GradientPenalty(2.0, at="both", center=0.0, power=6.0),
}
SLOPES = ((0.3, 0.4), (0.6, 0.8), (1.2, 1.6), (3.0, 4.0))  # norms 0.5, 1, 2, 5
LINEAR = {  # weighted values for the four slopes
    "WGAN-GP": (2.5, 0, 10, 160),
    "WGAN-LP": (0, 0, 10, 160),
    "DRAGAN": (2.5, 0, 10, 160),
    "DRAGAN, symmetric": (2.5, 0, 10, 160),
    "DRAGAN, Gaussian": (2.5, 0, 10, 160),
    "R1": (1.25, 5, 20, 125),
    "R2": (1.25, 5, 20, 125),
    "R1 + R2": (2.5, 10, 40, 250),
    "zero-centred on lines": (2.5, 10, 40, 250),
    "WGAN-div": (0.03125, 2, 128, 31250),
    "WGAN-div on both": (0.03125, 2, 128, 31250),
}


class Linear(nn.Module):
    def __init__(self, slope: tuple[float, ...]):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope, dtype=F64))

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return images.flatten(1) @ self.slope + 0.7


class Quadratic(nn.Module):
    """1/2 x'Ax + b.x, whose gradient is Ax + b."""

    def __init__(self, a: list[list[float]], b: list[float]):
        super().__init__()
        self.a, self.b = torch.tensor(a, dtype=F64), torch.tensor(b, dtype=F64)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        x = images.flatten(1)
        return (x @ self.a * x).sum(1) / 2 + x @ self.b


class Total(nn.Module):
    """The sum of all numbers of an image: gradient norm sqrt(C H W)."""

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return images.sum((1, 2, 3))


def noise(size: int, key: int = 0) -> Noise:
    return Noise((key,), size, CPU)


def points(*rows: tuple[float, ...]) -> Batch:
    return Batch(torch.tensor(rows, dtype=F64).view(len(rows), -1, 1, 1))


def random_batch(size: int, *shape: int) -> Batch:
    return Batch(torch.randn(size, *shape, dtype=F64))


def value(penalty: GradientPenalty, discriminator: nn.Module, real: Batch, fake: Batch) -> Tensor:
    return penalty.weight * penalty(discriminator, real, fake, noise(len(real.images)))[0]


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("index", range(4), ids=["slope 0.5", "slope 1", "slope 2", "slope 5"])
def test_penalty_of_a_linear_discriminator_depends_only_on_its_slope(name: str, index: int):
    got = value(FAMILY[name], Linear(SLOPES[index]), random_batch(7, 2, 1, 1), random_batch(7, 2, 1, 1))
    assert got.item() == pytest.approx(LINEAR[name][index], abs=1e-9)


@pytest.mark.parametrize("name", FAMILY)
def test_a_flat_discriminator_costs_the_distance_to_the_center_and_its_gradient_is_finite(name: str):
    flat = Linear((0.0, 0.0))
    got = value(FAMILY[name], flat, random_batch(7, 2, 1, 1), random_batch(7, 2, 1, 1))
    assert got.item() == pytest.approx(10.0 if name.startswith(("WGAN-GP", "DRAGAN")) else 0.0, abs=1e-9)
    (gradient,) = torch.autograd.grad(got, flat.slope)
    assert gradient.isfinite().all()


@pytest.mark.parametrize(
    ("name", "slope"),
    [
        ("WGAN-GP", lambda w, n: 20 * (n - 1) * w / n),
        ("R1", lambda w, n: 10 * w),
        ("WGAN-div", lambda w, n: 12 * n**4 * w),
    ],
)
def test_gradient_of_the_penalty_reaches_the_weights(name: str, slope):
    linear = Linear((1.2, 1.6))
    got = value(FAMILY[name], linear, random_batch(7, 2, 1, 1), random_batch(7, 2, 1, 1))
    (gradient,) = torch.autograd.grad(got, linear.slope)
    w = linear.slope.detach()
    assert_close(gradient, slope(w, w.norm()), rtol=1e-9, atol=1e-9)


QUADRATIC = Quadratic([[2.0, 0.5], [0.5, 1.0]], [0.3, -0.2])


def test_r1_of_a_quadratic_discriminator_on_a_gaussian_is_the_trace_formula():
    """E ||A x + b||^2 = 9.205 for x ~ ((1, -1), [[1, .2], [.2, .5]]), here with exact moments of a sample."""
    x = torch.randn(4000, 2, dtype=F64)
    x = (x - x.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T, correction=0))).T
    x = x @ torch.linalg.cholesky(torch.tensor([[1.0, 0.2], [0.2, 0.5]], dtype=F64)).T
    real = Batch((x + torch.tensor([1.0, -1.0], dtype=F64)).view(-1, 2, 1, 1))
    assert value(FAMILY["R1"], QUADRATIC, real, real).item() == pytest.approx(46.025, abs=1e-9)


def test_zero_centred_penalty_on_a_line_integrates_to_the_closed_form():
    """E_eps ||eps g_x + (1 - eps) g_y||^2 = (|g_x|^2 + g_x.g_y + |g_y|^2) / 3 = 4.3591667 (weight 10)."""
    count = 200_000
    real, fake = (Batch(torch.tensor(p, dtype=F64).expand(count, 2).reshape(-1, 2, 1, 1)) for p in ([1, 2], [-1, 0.5]))
    got = value(FAMILY["zero-centred on lines"], QUADRATIC, real, fake)
    assert got.item() == pytest.approx(43.591667, rel=0.01)


def test_gradient_penalty_half_way_on_a_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Noise, "uniform", lambda self, *shape: torch.full((self.size, *shape), 0.5))
    got = value(FAMILY["WGAN-GP"], QUADRATIC, points((1, 2)), points((-1, 0.5)))
    assert got.item() == pytest.approx(1.5946461, abs=1e-6)


@pytest.mark.parametrize(("name", "expected"), [("WGAN-GP", 160), ("WGAN-LP", 160), ("R1", 125), ("WGAN-div", 31250)])
def test_half_the_squared_norm_has_the_point_itself_as_gradient(name: str, expected: float):
    at = points((3, 4))
    assert value(FAMILY[name], Quadratic([[1, 0], [0, 1]], [0, 0]), at, at).item() == pytest.approx(expected)


def test_the_norm_is_taken_over_a_whole_sample_and_over_nothing_else():
    """3x32x32: n = 55.4256 and 10 (n - 1)^2 = 29621.49; per pixel it would be 5.4, per batch sqrt(B) times n."""
    real, fake = random_batch(4, 3, 32, 32), random_batch(4, 3, 32, 32)
    penalty, stats = FAMILY["WGAN-GP"](Total(), real, fake, noise(4))
    assert 10 * penalty.item() == pytest.approx(29621.49, abs=0.01)
    assert stats["gradient_norm"].item() == pytest.approx(math.sqrt(3 * 32 * 32), abs=1e-9)


# DRAGAN's deviation is an unbiased estimate, which counts the batch
@pytest.mark.parametrize("name", [name for name in FAMILY if not name.startswith("DRAGAN")])
def test_doubling_or_permuting_a_batch_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Noise, "uniform", lambda self, *shape: torch.full((self.size, *shape), 0.3))
    real, fake = random_batch(6, 2, 1, 1), random_batch(6, 2, 1, 1)
    once = value(FAMILY[name], QUADRATIC, real, fake)
    twice = value(FAMILY[name], QUADRATIC, *(Batch(torch.cat([b.images, b.images])) for b in (real, fake)))
    turned = value(FAMILY[name], QUADRATIC, *(Batch(b.images.flip(0)) for b in (real, fake)))
    assert_close(twice, once)
    assert_close(turned, once)


SPEC = ImageSpec(1, 8, 8)


def small_discriminator(norm: str = "none") -> nn.Module:
    return MLPDiscriminator(SPEC, widths=[64, 64], norm=norm).double()


def weight_gradient(network: nn.Module, dtype: torch.dtype, autocast: bool = False) -> tuple[Tensor, Tensor]:
    network = copy.deepcopy(network).to(dtype)
    generator = torch.Generator().manual_seed(1)
    real, fake = (Batch(torch.randn(64, 1, 8, 8, generator=generator).to(dtype)) for _ in range(2))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        penalty, _ = FAMILY["WGAN-GP"](network, real, fake, noise(64))
    penalty.backward()
    return penalty.detach(), torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])


@pytest.mark.parametrize("norm", ["none", "layer", "weight"])
def test_under_bf16_value_and_direction_stay_those_of_float64(norm: str):
    network = small_discriminator(norm)
    exact, slope = weight_gradient(network, F64)
    rough, rough_slope = weight_gradient(network, torch.float32, autocast=True)
    assert rough.item() == pytest.approx(exact.item(), rel=0.02)
    assert torch.cosine_similarity(slope, rough_slope.double(), dim=0) > 0.99


@pytest.mark.parametrize("norm", ["none", "layer", "weight"])
def test_the_weight_gradient_is_that_of_finite_differences(norm: str):
    network = MLPDiscriminator(ImageSpec(1, 2, 2), widths=[3, 3], norm=norm, activation="softplus").double()
    real, fake = random_batch(4, 1, 2, 2), random_batch(4, 1, 2, 2)
    parameters = {name: p.detach().requires_grad_(True) for name, p in network.named_parameters()}

    class Called(nn.Module):
        def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
            return torch.func.functional_call(network, parameters, (images, labels))

    def penalty(*values: Tensor) -> Tensor:
        parameters.update(zip(parameters, values, strict=True))
        return FAMILY["WGAN-GP"](Called(), real, fake, noise(4))[0]

    assert torch.autograd.gradcheck(penalty, tuple(parameters.values()), atol=1e-6)


def test_the_gradient_reaches_the_discriminator_and_never_the_generator():
    network, z = small_discriminator(), torch.randn(4, 1, 8, 8, dtype=F64, requires_grad=True)
    penalty, _ = FAMILY["WGAN-GP"](network, random_batch(4, 1, 8, 8), Batch(z.sin()), noise(4))
    penalty.backward()
    moved = [parameter.grad.abs().sum() > 0 for name, parameter in network.named_parameters() if "weight" in name]
    assert all(moved)
    assert z.grad is None


@pytest.mark.parametrize("index", range(4))
def test_the_js_regularizer_of_an_undecided_linear_discriminator(index: int):
    """With l = 0 everywhere both sigmas are 1/2: gamma n^2 / 4, for gamma = 10 and weight gamma / 2."""
    slope = torch.tensor(SLOPES[index], dtype=F64)
    across = torch.tensor([-slope[1], slope[0]], dtype=F64) / slope.norm()
    offset = -0.7 * slope / slope.square().sum()  # cancels the 0.7 of the discriminator
    real, fake = (Batch((offset + k * across).view(1, 2, 1, 1).repeat(3, 1, 1, 1)) for k in (1.0, -2.0))
    got, stats = JensenShannonRegularizer()(Linear(SLOPES[index]), real, fake, noise(3))
    assert 5 * got.item() == pytest.approx(10 * slope.square().sum().item() / 4)
    assert stats["gradient_norm"].item() == pytest.approx(slope.norm().item())


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"at": "lines"}, "did you mean 'line'"),
        ({"weight": -1.0}, "weight=-1"),
        ({"center": -1.0}, "center=-1"),
        ({"power": 0.5}, "power=0.5"),
        ({"every": 0}, "every=0"),
    ],
)
def test_impossible_settings_are_refused(settings: dict, word: str):
    with pytest.raises(ValueError, match=word):
        GradientPenalty(**settings)
