"""The default recipe, cut short: real digits in, recognisable digits out."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from gan_runner.noise import Noise
from gan_runner.training.run import Run
from gan_runner.training.showcase import sampler_of
from tests.conftest import make_run

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


@pytest.mark.parametrize(
    ("steps", "classes", "share"), [(600, 6, 0.2), pytest.param(2000, 9, 0.5, marks=pytest.mark.long)]
)
def test_the_default_recipe_finds_the_digits(steps: int, classes: int, share: float):
    run = make_run("device=cpu")
    before = recognised(run)
    for _ in range(steps):
        run.step()
    after = recognised(run)
    assert (before >= ENOUGH).sum() < classes, before
    assert before.sum() < share * SAMPLES
    assert (after >= ENOUGH).sum() >= classes, after
    assert after.sum() > share * SAMPLES, after
