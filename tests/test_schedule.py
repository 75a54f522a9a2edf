import math

import pytest

from gan_runner.schedule import Progress, Schedule


def at(schedule: Schedule, step: int, length: int | None = 100) -> float:
    return schedule(Progress(step, length))


@pytest.mark.parametrize(
    ("schedule", "step", "value"),
    [
        (Schedule(start=3.0), 57, 3.0),
        (Schedule(start=2.0, end=0.0, shape="linear"), 25, 1.5),
        (Schedule(start=2.0, end=0.0, shape="linear"), 100, 0.0),
        (Schedule(start=1.0, end=0.0, shape="cosine"), 50, 0.5),
        (Schedule(start=1.0, end=0.0, shape="cosine"), 25, (1 + math.cos(math.pi / 4)) / 2),
        (Schedule(start=1.0, end=0.2, shape="cosine"), 25, 0.2 + 0.8 * (1 + math.cos(math.pi / 4)) / 2),
        (Schedule(start=1.0, end=0.01, shape="exponential"), 50, 0.1),
        (Schedule(start=1.0, end=0.0001, shape="exponential"), 25, 0.1),
        (Schedule(start=1.0, end=0.0, shape="linear", steps=10), 5, 0.5),
        (Schedule(start=1.0, end=0.0, shape="linear", steps=10), 50, 0.0),
        (Schedule(start=4.0, warmup_steps=4), 0, 1.0),
        (Schedule(start=4.0, warmup_steps=4), 3, 4.0),
        (Schedule(start=1.0, end=0.0, shape="linear", warmup_steps=20), 60, 0.5),
        (Schedule(start=2.0, end=0.0, shape="linear", hold_steps=60), 60, 2.0),
        (Schedule(start=2.0, end=0.0, shape="linear", warmup_steps=10, hold_steps=50), 80, 1.0),
    ],
    ids=[
        "constant stays",
        "linear a quarter of the way",
        "linear at its end",
        "cosine half way",
        "cosine a quarter of the way",
        "cosine to an end above 0",
        "exponential half way is the geometric mean",
        "exponential a quarter of the way",
        "its own length counts, not the run's",
        "after its own length it stays at the end",
        "warm-up begins above 0",
        "warm-up ends at the start value",
        "the shape begins after the warm-up",
        "held at its start",
        "warmed up, held, and half way",
    ],
)
def test_value_of_a_schedule(schedule: Schedule, step: int, value: float):
    assert at(schedule, step) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"shape": "linaer"}, "did you mean 'linear'"),
        ({"shape": "exponential", "end": 0.0}, "positive"),
        ({"steps": 0}, "steps=0"),
        ({"warmup_steps": -1}, "warmup_steps=-1"),
        ({"hold_steps": -1}, "hold_steps=-1"),
    ],
    ids=["unknown shape", "exponential to zero", "no steps", "negative warm-up", "negative hold"],
)
def test_impossible_schedules_are_refused(settings: dict, word: str):
    with pytest.raises(ValueError, match=word):
        Schedule(**settings)


def test_only_a_stretching_shape_needs_the_length_of_the_run():
    assert Schedule(shape="linear").needs_length
    assert not Schedule(shape="linear", steps=5).needs_length
    assert not Schedule(warmup_steps=5).needs_length
