import math

import pytest
import torch

from gan_runner.game.meter import Meter

CPU = torch.device("cpu")


def stats(**values: float) -> dict[str, torch.Tensor]:
    return {tag: torch.tensor(value) for tag, value in values.items()}


def test_a_tag_that_comes_seldom_is_averaged_over_the_times_it_came():
    meter = Meter()
    for step in range(4):
        meter.add(stats(loss=float(step)) | (stats(penalty=8.0 + step) if step % 2 == 0 else {}))
    assert meter.read() == pytest.approx({"loss": 1.5, "penalty": 9.0})


def test_reset_forgets():
    meter = Meter()
    meter.add(stats(loss=1.0))
    meter.reset()
    meter.add(stats(loss=5.0))
    assert meter.read() == {"loss": 5.0}


def test_one_value_that_is_not_finite_shows_in_the_mean():
    meter = Meter()
    for value in (1.0, float("nan"), 1.0):
        meter.add(stats(loss=value))
    assert math.isnan(meter.read()["loss"])


def test_state_goes_over_whole():
    meter, other = Meter(), Meter()
    for step in range(3):
        meter.add(stats(a=step, b=0.1 * step) if step else stats(a=0.3))
    other.load_state_dict(meter.state_dict(), CPU)
    for each in (meter, other):
        each.add(stats(a=0.7, b=0.9))
    assert other.read() == meter.read()
