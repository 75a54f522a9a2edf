"""Seconds of training, by a clock that the test moves."""

import pytest

from gan_runner.training import stopwatch
from gan_runner.training.stopwatch import Pace, Stopwatch
from tests.conftest import SMALL, make_run


def test_what_is_paused_is_no_time_of_training_and_images_are_those_since_the_mark(monkeypatch: pytest.MonkeyPatch):
    now = [100.0]
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: now[0])
    run = make_run(*SMALL)
    watch = Stopwatch(run.clock, run.batches)

    def train(seconds: float) -> None:
        run.step()
        now[0] += seconds
        watch.follow()

    train(2.0)
    assert watch.lap()["speed/images_per_second"] == 16 / 2
    train(1.0)
    with watch.paused():
        now[0] += 50
    train(3.0)
    assert run.clock.seconds == 6
    values = watch.lap()
    assert values["speed/seconds"] == 6
    assert values["speed/images_per_second"] == 32 / 4
    now[0] += 1000  # between two sessions
    watch.start()
    train(1.0)
    assert run.clock.seconds == 7


def test_the_time_left_is_that_of_the_last_minutes_and_unknown_at_first():
    pace = Pace()
    assert pace.left(1.0, 0.01) is None
    assert pace.left(2.0, 0.02) is None
    assert pace.left(5.0, 0.05) == pytest.approx(95)
    for seconds in range(6, 501):  # from here on five times as slow
        left = pace.left(float(seconds), 0.05 + (seconds - 5) * 0.001)
    assert left == pytest.approx((1 - 0.545) / 0.001)
    assert pace.left(501.0, 1.0) is None


def test_a_resumed_run_knows_nothing_of_its_pace_at_first():
    pace = Pace()
    assert pace.left(1000.0, 0.9) is None
    assert pace.left(1010.0, 0.95) == pytest.approx(10)
