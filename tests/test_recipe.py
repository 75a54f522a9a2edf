"""The default recipe, cut short: real digits in, recognisable digits out."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from gan_runner.noise import Noise
from gan_runner.training.run import Run
from gan_runner.training.showcase import sampler_of
from tests.conftest import make_run, some

SAMPLES = 500
ENOUGH = 5  # samples of a class on which all neighbours agree


def pixels(run: Run, split: str) -> tuple[np.ndarray, np.ndarray]:
    data = run.dataset.split(split)
    return data.decode(data.images).flatten(1).numpy(), data.labels.numpy()


def recognised(run: Run) -> np.ndarray:
    """How many of 500 samples are recognised as each digit, by five unanimous nearest neighbours among real ones."""
    classifier = KNeighborsClassifier(5).fit(*pixels(run, "train"))
    assert classifier.score(*pixels(run, "test")) > 0.97
    samples = sampler_of(run, run.ema.network)(Noise((0, "recipe"), SAMPLES, run.device.torch), None).flatten(1).numpy()
    votes = classifier.predict_proba(samples)
    return np.bincount(votes.argmax(1)[votes.max(1) == 1], minlength=10)


FASTER = ("optimizer.lr=1e-3", "train.ema_half_life_images=1000")
LENGTHS = {"600 steps at five times the rate": (600, FASTER), "2000 steps": (2000, ())}


@pytest.mark.parametrize("length", some(LENGTHS, []))
def test_the_default_recipe_finds_the_digits(length: tuple[int, tuple[str, ...]]):
    steps, faster = length
    run = make_run("device=cpu", *faster)
    before = recognised(run)
    for _ in range(steps):
        run.step()
    after = recognised(run)
    assert (before >= ENOUGH).sum() <= 5, before
    assert (after >= ENOUGH).sum() >= 9, after
    assert after.sum() > 0.5 * SAMPLES, after
