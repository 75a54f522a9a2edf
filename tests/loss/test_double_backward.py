"""The lean double backward beside torch's own."""

import contextlib
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from gan_runner.loss import penalty as penalty_module
from gan_runner.loss.penalty import GradientPenalty
from gan_runner.nn.operations import counting
from gan_runner.noise import Noise
from gan_runner.spec import Batch

NETWORKS: dict[str, Callable[[], list[nn.Module]]] = {
    "dense layers": lambda: [nn.Flatten(), nn.Linear(192, 8), nn.ReLU(), nn.Linear(8, 8), nn.LeakyReLU(0.2)],
    "strided convolutions": lambda: [nn.Conv2d(3, 4, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(4, 6, 3), nn.ReLU()],
    "groups and dilation": lambda: [nn.Conv2d(3, 6, 3, groups=3), nn.ReLU(), nn.Conv2d(6, 6, 2, dilation=2, groups=2)],
    "no bias, padding by name": lambda: [nn.Conv2d(3, 4, 3, bias=False), nn.ReLU(), nn.Conv2d(4, 4, 3, padding="same")],
    "a norm between": lambda: [nn.Conv2d(3, 4, 4, 2, 1), nn.GroupNorm(1, 4), nn.LeakyReLU(), nn.Conv2d(4, 4, 3)],
    "norms of groups": lambda: [nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.GroupNorm(4, 4, affine=False)],
    "norms of vectors": lambda: [
        nn.Flatten(),
        nn.Linear(192, 8),
        nn.LayerNorm(8),
        nn.ReLU(),
        nn.LayerNorm(8, bias=False),
    ],
    "norms of images": lambda: [nn.Conv2d(3, 4, 3), nn.LayerNorm([4, 6, 6]), nn.Tanh(), nn.Conv2d(4, 4, 3)],
    "smooth activations": lambda: [nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Conv2d(4, 4, 3), nn.ReLU()],
    "a rectifier in place": lambda: [InPlace(nn.ReLU(inplace=True)), nn.ReLU()],
    "a leaky one in place": lambda: [InPlace(nn.LeakyReLU(0.2, inplace=True)), nn.ReLU()],
    "in place after it": lambda: [nn.Conv2d(3, 4, 3), Scaled(), nn.Conv2d(4, 4, 3)],
    "a kernel made from the image": lambda: [Dynamic(), nn.ReLU()],
    "a constant that is learned": lambda: [Constant(), nn.ReLU(), nn.Conv2d(4, 4, 3)],
    "a gradient within": lambda: [Differential(), nn.Conv2d(3, 4, 3), nn.ReLU()],
    "a negative slope": lambda: [nn.Conv2d(3, 4, 3), nn.LeakyReLU(-0.2)],
}


class InPlace(nn.Module):
    """A shortcut that has passed the activation too."""

    def __init__(self, activation: nn.Module):
        super().__init__()
        self.first, self.activation, self.last = (
            nn.Conv2d(3, 3, 3, padding=1),
            activation,
            nn.Conv2d(3, 3, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.last(self.activation(x)) + x


class Scaled(nn.Module):
    """leaky_relu, its result changed in place, as StyleGAN has it."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.leaky_relu(x, 0.2).mul_(2**0.5)


class Dynamic(nn.Module):
    """Each image's kernel is made from the image."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Linear(192, 4 * 3 * 3 * 3)

    def forward(self, x: Tensor) -> Tensor:
        kernels = self.kernel(x.flatten(1)).view(-1, 3, 3, 3)
        return nn.functional.conv2d(x.view(1, -1, 8, 8), kernels, groups=len(x)).view(len(x), 4, 6, 6)


class Constant(nn.Module):
    """A map that is learned passes a convolution of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.constant = nn.Parameter(torch.randn(1, 3, 8, 8))
        self.one, self.other = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.one(x) * self.other(self.constant).tanh()


class Differential(nn.Module):
    """Reads a gradient of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Conv2d(4, 4, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = x if x.requires_grad else x.requires_grad_()
        return torch.autograd.grad(self.layers(x).square().sum(), x, create_graph=True)[0]


class Score(nn.Module):
    def __init__(self, layers: list[nn.Module]):
        super().__init__()
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(1), nn.Flatten(0))

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.layers(images)


def some(count: int = 5) -> tuple[Batch, Batch, Noise]:
    generator = torch.Generator().manual_seed(1)
    real, fake = (Batch(torch.randn(count, 3, 8, 8, generator=generator)) for _ in range(2))
    return real, fake, Noise((0, "test"), count, torch.device("cpu"))


def gradients(network: nn.Module, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    network.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        value, _ = GradientPenalty()(network, *some())
    value.backward()
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in network.named_parameters()
    } | {"value": value.detach()}


@pytest.mark.parametrize("layers", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_the_penalty_and_its_gradient_are_those_of_torch(
    layers: Callable[[], list[nn.Module]], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
):
    torch.manual_seed(0)
    network = Score(layers())
    network(some()[0].images)
    lean = gradients(network, dtype)
    monkeypatch.setattr(penalty_module, "Lean", contextlib.nullcontext)
    plain = gradients(network, dtype)
    assert any(gradient.abs().max() > 0 for name, gradient in plain.items() if name != "value")
    for name, gradient in plain.items():
        close = {"rtol": 1e-4, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 0.05, "atol": 0.02}
        assert_close(lean[name], gradient, **close)


@pytest.mark.parametrize("case", ["dense layers", "strided convolutions"])
def test_no_pass_of_zeros_is_computed(case: str, monkeypatch: pytest.MonkeyPatch):
    network = Score(NETWORKS[case]())
    network(some()[0].images)

    def executed() -> float:
        with counting() as counter:
            gradients(network)
        return float(counter.get_total_flops())

    lean = executed()
    monkeypatch.setattr(penalty_module, "Lean", contextlib.nullcontext)
    assert lean < 0.85 * executed()


def test_a_loss_of_the_score_beside_its_gradient_reaches_the_weights():
    """The Jensen-Shannon regularizer differentiates score and gradient; against finite differences."""
    torch.manual_seed(0)
    network = Score([nn.Conv2d(3, 4, 3), nn.LeakyReLU(0.2), nn.Conv2d(4, 4, 3)]).double()
    images = some()[0].images.double()
    network(images)
    weight = network.layers[0].weight

    def value() -> Tensor:
        score, gradient = penalty_module.score_and_gradient(network, Batch(images))
        return (torch.sigmoid(score).square() * gradient.square().sum(1)).mean()

    value().backward()
    found = weight.grad[1, 2, 0, 1].clone()
    ends = []
    for sign in (1, -1):
        with torch.no_grad():
            weight[1, 2, 0, 1] += sign * 1e-5
        ends.append(float(value().detach()))
        with torch.no_grad():
            weight[1, 2, 0, 1] -= sign * 1e-5
    assert_close(float(found), (ends[0] - ends[1]) / 2e-5, rtol=1e-5, atol=1e-9)
