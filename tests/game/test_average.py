import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from gan_runner.game.average import EMA
from gan_runner.nn.statistics import estimate_batch_statistics
from gan_runner.schedule import Progress, Schedule

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
    with pytest.raises(KeyError, match="bias"):
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
