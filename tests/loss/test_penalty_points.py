"""Where each gradient penalty is taken: a cubic discriminator whose gradient is another at every pixel and label.

D(x, k) = (1 + k) sum_j (a_j x_j^3 / 3 + b_j x_j) has the gradient (1 + k) (a_j x_j^2 + b_j).
"""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from gan_runner.loss.penalty import POINTS, GradientPenalty, JensenShannonRegularizer, OrthonormalRegularizer
from gan_runner.noise import Noise
from gan_runner.spec import Batch

F64 = torch.float64
SHAPE = (2, 2, 3)  # channels, height, width
COUNT = 4


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


REAL = Batch(drawn(1, COUNT, *SHAPE), torch.tensor([0, 2, 1, 0]))
FAKE = Batch(2 * drawn(2, COUNT, *SHAPE) + 0.5, torch.tensor([1, 0, 2, 2]))
OF_SAMPLES, OF_PIXELS = drawn(3, COUNT, 1, 1, 1).sigmoid(), drawn(4, COUNT, *SHAPE).sigmoid()
NORMALS = drawn(5, COUNT, *SHAPE)


class Known:
    """Noise that draws the numbers above: one for each sample, or one for each pixel."""

    def scoped(self, name: str) -> "Known":
        return self

    def uniform(self, *shape: int) -> Tensor:
        return {(1, 1, 1): OF_SAMPLES, SHAPE: OF_PIXELS}[shape]

    def normal(self, *shape: int) -> Tensor:
        return {SHAPE: NORMALS}[shape]


class Cubic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(drawn(6, *SHAPE)), nn.Parameter(drawn(7, *SHAPE))

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return (1 + labels) * (self.a * images**3 / 3 + self.b * images).sum((1, 2, 3))

    def slope(self, images: Tensor, labels: Tensor) -> Tensor:
        """Norm of the gradient, written out."""
        return (1 + labels) * (self.a * images**2 + self.b).square().sum((1, 2, 3)).sqrt()


DEVIATION = float(np.std(REAL.images.numpy(), ddof=1))
BOTH = torch.cat([REAL.images, FAKE.images]), torch.cat([REAL.labels, FAKE.labels])
PLACES = {
    "line": (OF_SAMPLES * REAL.images + (1 - OF_SAMPLES) * FAKE.images, REAL.labels),
    "real": (REAL.images, REAL.labels),
    "fake": (FAKE.images, FAKE.labels),
    "both": BOTH,
    "around_real": (REAL.images + OF_SAMPLES * 0.5 * DEVIATION * OF_PIXELS, REAL.labels),
    "around_real_symmetric": (REAL.images + DEVIATION * (OF_PIXELS - 0.5), REAL.labels),
    "around_real_gaussian": (REAL.images + 0.5 * DEVIATION * NORMALS, REAL.labels),
}
SHAPES = {
    "to a centre": ({"center": 1.0}, lambda n: (n - 1) ** 2),
    "one-sided": ({"center": 4.0, "one_sided": True}, lambda n: (n - 4).clamp(min=0) ** 2),
    "zero-centred": ({"center": 0.0}, lambda n: n**2),
    "to the sixth power": ({"center": 0.0, "power": 6.0}, lambda n: n**6),
}


def compare(value: Tensor, expected: Tensor, network: Cubic) -> None:
    """Values, and gradients of both parameters: those of the formula by plain autograd."""
    assert_close(value, expected)
    parameters = (network.a, network.b)
    assert_close(torch.autograd.grad(value, parameters), torch.autograd.grad(expected, parameters))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("at", PLACES)
def test_a_penalty_is_taken_at_its_points_with_their_labels(at: str, shape: str):
    settings, price = SHAPES[shape]
    network = Cubic()
    value, stats = GradientPenalty(at=at, **settings)(network, REAL, FAKE, Known())
    norms = network.slope(*PLACES[at])
    compare(value, price(norms).mean(), network)
    assert_close(stats["gradient_norm"], norms.detach().mean())


def test_every_place_has_its_formula_here():
    assert PLACES.keys() == POINTS.keys()


def test_alpha_and_pixels_of_dragan_are_drawn_apart():
    """alpha u of two independent uniform numbers has the mean 1/4; of the same one, 1/3."""
    flat = Batch(torch.cat([torch.ones(2000, 1, 1, 1), -torch.ones(2000, 1, 1, 1)]).to(F64))
    noise = Noise((0,), 4000, torch.device("cpu"))
    moved = (POINTS["around_real"](flat, flat, noise).images - flat.images) / (0.5 * flat.images.std())
    assert moved.mean().item() == pytest.approx(1 / 4, abs=0.015)


def test_the_js_regularizer_follows_scores_and_slopes_of_either_side():
    network = Cubic()
    value, stats = JensenShannonRegularizer()(network, REAL, FAKE, Known())
    of_real, of_fake = (network(batch.images, batch.labels) for batch in (REAL, FAKE))
    norms = [network.slope(batch.images, batch.labels) for batch in (REAL, FAKE)]
    wrong = (1 - 1 / (1 + torch.exp(-of_real))), 1 / (1 + torch.exp(-of_fake))
    expected = (wrong[0] ** 2 * norms[0] ** 2).mean() + (wrong[1] ** 2 * norms[1] ** 2).mean()
    compare(value, expected, network)
    assert_close(stats["gradient_norm"], torch.cat(norms).detach().mean())


LAYERS = {  # and how its weight becomes (outputs, rest)
    "wide linear": (lambda: nn.Linear(5, 3), lambda w: w),
    "tall linear": (lambda: nn.Linear(2, 4), lambda w: w),
    "convolution": (lambda: nn.Conv2d(3, 4, (2, 3)), lambda w: w.reshape(4, 18)),
    "transposed convolution": (lambda: nn.ConvTranspose2d(3, 2, 2), lambda w: w.transpose(1, 0, 2, 3).reshape(2, 12)),
}


@pytest.mark.parametrize("off_diagonal", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_the_orthonormal_regularizer_sees_the_outputs_of_each_layer(name: str, off_diagonal: bool):
    make, flat = LAYERS[name]
    layer = make()
    value, _ = OrthonormalRegularizer(1.0, off_diagonal)(nn.Sequential(layer), REAL, FAKE, Known())
    w = flat(layer.weight.detach().double().numpy())
    gram = w @ w.T if len(w) <= w.shape[1] else w.T @ w
    excess = gram - np.diag(np.diag(gram)) if off_diagonal else gram - np.eye(len(gram))
    assert value.item() == pytest.approx((excess**2).sum(), rel=1e-4)
