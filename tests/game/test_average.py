import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from gan_runner.evaluation.sampler import Sampler
from gan_runner.game.average import EMA
from gan_runner.nn.statistics import estimate_batch_statistics
from gan_runner.noise import Noise
from gan_runner.schedule import Progress, Schedule
from gan_runner.spec import ImageSpec

START = Progress(0, None)


def test_after_one_half_life_the_average_is_half_way():
    live = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(live.weight)
    ema = EMA(live, half_life_images=1000)
    nn.init.ones_(live.weight)
    for _ in range(10):
        ema.update(100, 10**9, START)  # far beyond the ramp-up
    assert ema.network.weight.item() == pytest.approx(0.5)


def test_the_half_life_grows_with_the_run_until_it_is_reached():
    ema = EMA(nn.Linear(1, 1), half_life_images=1000)
    assert ema.beta(100, 2000, START) == pytest.approx(0.5)  # half-life 0.05 * 2000 = 100
    assert ema.beta(100, 20_000, START) == pytest.approx(0.5**0.1)
    assert ema.beta(100, 10**9, START) == pytest.approx(0.5**0.1)


def test_the_half_life_may_change_as_training_goes_on():
    ema = EMA(nn.Linear(1, 1), Schedule(start=0.0, end=1000.0, shape="linear", steps=10))
    assert ema.beta(100, 10**9, START) == 0.0
    assert ema.beta(100, 10**9, Progress(5, None)) == pytest.approx(0.5**0.2)


def test_a_half_life_of_zero_is_the_live_network():
    live = nn.Linear(3, 3)
    ema = EMA(live, 0)
    nn.init.normal_(live.weight)
    ema.update(64, 64, START)
    assert torch.equal(ema.network.weight, live.weight)


def test_state_is_the_averaged_parameters_and_loading_is_strict():
    ema, other = EMA(nn.Linear(2, 2), 10), EMA(nn.Linear(2, 2), 10)
    other.load_state_dict(copy.deepcopy(ema.state_dict()))
    assert_close(other.network.weight, ema.network.weight, rtol=0, atol=0)
    with pytest.raises(RuntimeError, match="bias"):
        other.load_state_dict({"weight": torch.zeros(2, 2)})


def test_batch_statistics_are_those_of_the_inputs_given():
    network = nn.Sequential(nn.BatchNorm1d(1, momentum=0.3), nn.Dropout(0.9))

    class Generator(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = network

        def forward(self, z, labels=None):
            return self.layers(z)

    generator = Generator()
    inputs = [(torch.randn(50, 1) * 3 + 2, None) for _ in range(8)]
    estimate_batch_statistics(generator, inputs)
    everything = torch.cat([z for z, _ in inputs])
    assert network[0].running_mean.item() == pytest.approx(everything.mean().item(), abs=1e-5)
    assert network[0].running_var.item() == pytest.approx(everything.var().item(), rel=0.05)
    assert network[0].momentum == 0.3
    assert not generator.training
    estimate_batch_statistics(generator, inputs)  # again: the same, not an average with what was there
    assert network[0].running_mean.item() == pytest.approx(everything.mean().item(), abs=1e-5)


# ---- buffers: what a network keeps beside its weights


class OwnNorm(nn.Module):
    """A batch norm of a user's own: mean and variance of the batches before, kept as buffers."""

    def __init__(self, width: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            with torch.no_grad():
                self.mean.lerp_(x.mean(0), 0.5)
                self.variance.lerp_(x.var(0), 0.5)
        return (x - self.mean) / (self.variance + 1e-5).sqrt()


class RunningCentre(nn.Module):
    """StyleGAN's running mean of w, replaced in each forward."""

    def __init__(self, width: int):
        super().__init__()
        self.register_buffer("centre", torch.zeros(width), persistent=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.centre = self.centre.lerp(x.detach().mean(0), 0.3)
        return self.centre + 0.7 * (x - self.centre)


def lazily_kept() -> nn.Module:
    """A buffer that is there only after the first forward."""

    class Kept(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("seen", None)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training or self.seen is None:
                self.seen = x.detach().abs().mean()
            return x / self.seen

    return Kept()


def planes(layer: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Unflatten(1, (4, 2, 2)), layer, nn.Flatten())


KINDS = {  # a network (B, 16) -> (B, 16)
    "none": lambda: nn.Linear(16, 16),
    "batch norm": lambda: nn.BatchNorm1d(16),
    "batch norm of maps": lambda: planes(nn.BatchNorm2d(4)),
    "batch norm without statistics": lambda: nn.BatchNorm1d(16, track_running_stats=False),
    "instance norm": lambda: planes(nn.InstanceNorm2d(4, affine=True)),
    "instance norm with statistics": lambda: planes(nn.InstanceNorm2d(4, track_running_stats=True)),
    "layer norm": lambda: nn.LayerNorm(16),
    "a batch norm of one's own": lambda: OwnNorm(16),
    "a running mean of w": lambda: RunningCentre(16),
    "a buffer that comes later": lazily_kept,
    "spectral norm": lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(16, 16)),
    "the older spectral norm": lambda: nn.utils.spectral_norm(nn.Linear(16, 16)),
    "weight norm": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(16, 16)),
    "the older weight norm": lambda: detached(nn.utils.weight_norm(nn.Linear(16, 16))),
}


def detached(layer: nn.Module) -> nn.Module:
    """As `make_network` leaves it: its weight is worked out once without a gradient."""
    with torch.no_grad():
        layer(torch.zeros(2, 16))
    return layer


class Plain(nn.Module):
    """A generator: z (B, 16) -> points (B, 1, 4, 4)."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(16, 16), layer, nn.Linear(16, 16))

    def forward(self, z: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        return self.layers(z).view(-1, 1, 4, 4)


@pytest.mark.parametrize("kind", KINDS)
def test_without_averaging_samples_are_those_of_the_live_network(kind: str):
    torch.manual_seed(1)
    live = Plain(KINDS[kind]())
    ema = EMA(live, 0)
    optimizer = torch.optim.SGD(live.parameters(), 0.05)
    for step in range(200):
        live(3 + 2 * torch.randn(64, 16)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        ema.update(64, 64 * (step + 1), START)

    class Prior:
        def sample(self, noise: Noise) -> torch.Tensor:
            return 3 + 2 * noise.normal(16)

    spec = ImageSpec(1, 4, 4, value_range=None)
    drawn = Sampler(ema.carry_buffers(), Prior(), spec, 0, 64, torch.device("cpu"))
    z = Prior().sample(Noise(("z",), 256, torch.device("cpu")))
    drawn.estimate_statistics()
    with torch.no_grad():
        samples, expected = drawn.network(z, None), live.eval()(z)
    spread = expected.std(0).mean()
    assert (samples - expected).abs().mean() < 0.06 * spread + 1e-6  # statistics of other batches
    again = EMA(Plain(KINDS[kind]()) if kind != "a buffer that comes later" else copy.deepcopy(live), 0)
    again.load_state_dict(copy.deepcopy(ema.state_dict()))
    with torch.no_grad():
        assert_close(again.network(z), ema.network(z))
