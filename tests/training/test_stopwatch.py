"""Seconds of training, by a clock that the test moves."""

import pytest

from gan_runner.training import stopwatch
from gan_runner.training.stopwatch import Stopwatch
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
