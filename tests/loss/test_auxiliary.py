"""The auxiliary classifier against cross-entropies by hand."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from gan_runner.errors import ConfigError
from gan_runner.loss.adversarial import NonSaturating, RelativisticPaired
from gan_runner.loss.auxiliary import AuxiliaryClassifier
from gan_runner.model.conditioning import Heads
from gan_runner.noise import Noise
from gan_runner.schedule import Progress
from gan_runner.spec import Batch
from tests.conftest import SMALL, make_run

NOISE, START = Noise((0,), 3, torch.device("cpu")), Progress(0, None)


class Reader(nn.Module):
    """The score is the first pixel and a tenth of the label, the logits are the next three pixels."""

    def heads(self, images: Tensor, labels: Tensor) -> Heads:
        flat = images.flatten(1)
        return Heads(flat[:, 0] + labels / 10, flat, flat[:, 1:4])


def batch(seed: int, labels: list[int]) -> Batch:
    images = torch.from_numpy(np.random.default_rng(seed).normal(size=(len(labels), 1, 2, 2)))
    return Batch(images.requires_grad_(), torch.tensor(labels))


REAL, FAKE = batch(0, [0, 1, 2]), batch(1, [2, 2, 1])


def score(images: Batch) -> Tensor:
    return images.images[:, 0, 0, 0] + images.labels / 10


def missed(images: Batch) -> Tensor:
    """Mean of -log p(label), with p from the softmax written out."""
    weights = images.images.flatten(1)[:, 1:4].exp()
    return -(weights[range(3), images.labels] / weights.sum(1)).log().mean()


def check(value: Tensor, expected: Tensor) -> None:
    """Values, and gradients of real and fake images: those of the formula by plain autograd."""
    assert_close(value, expected)
    inputs, rest = (REAL.images, FAKE.images), {"allow_unused": True, "materialize_grads": True}
    assert_close(torch.autograd.grad(value, inputs, **rest), torch.autograd.grad(expected, inputs, **rest))


@pytest.mark.parametrize("on_fake", [True, False])
def test_the_discriminator_pays_for_the_scores_and_for_the_classes(on_fake: bool):
    loss = AuxiliaryClassifier(NonSaturating(), weight=0.5, generator_weight=0.1, on_fake=on_fake)
    value, stats = loss.discriminator(Reader(), REAL, FAKE, NOISE, START)
    classes = missed(REAL) + missed(FAKE) if on_fake else missed(REAL)
    adversarial = -score(REAL).sigmoid().log().mean() - (1 - score(FAKE).sigmoid()).log().mean()
    check(value, adversarial + 0.5 * classes)
    assert_close((stats["loss/class"], stats["loss/adversarial"]), (classes.detach(), adversarial.detach()))


def test_the_generator_pays_for_the_classes_of_its_images_by_a_weight_of_its_own():
    loss = AuxiliaryClassifier(NonSaturating(), weight=0.5, generator_weight=0.1)
    value, _ = loss.generator(Reader(), FAKE, None, NOISE, START)
    check(value, -score(FAKE).sigmoid().log().mean() + 0.1 * missed(FAKE))


def test_a_relativistic_generator_sees_the_real_scores():
    value, _ = AuxiliaryClassifier(RelativisticPaired()).generator(Reader(), FAKE, REAL, NOISE, START)
    check(value, -(score(FAKE) - score(REAL)).sigmoid().log().mean() + missed(FAKE))


def test_the_estimate_is_of_the_adversarial_part_alone():
    run = make_run(*SMALL, "loss=acgan")
    run.meter.add(run.step())
    values = run.meter.read()
    assert values["divergence/js_estimate"] == pytest.approx(math.log(2) - values["loss/adversarial"] / 2, abs=1e-6)
    assert values["loss/discriminator"] == pytest.approx(values["loss/adversarial"] + values["loss/class"], abs=1e-5)


REFUSED = {
    "the discriminator's conditioning": (("model.discriminator.conditioning=one_hot",), "conditioning=classifier"),
    "no labels": (("dataset=ring8",), "needs labels and the dataset has none"),
}


@pytest.mark.parametrize(("overrides", "words"), REFUSED.values(), ids=REFUSED)
def test_a_classifier_needs_classes(overrides: tuple[str, ...], words: str):
    with pytest.raises(ConfigError, match=words):
        make_run(*SMALL, "loss=acgan", *overrides)


@pytest.mark.parametrize(("told", "deaf"), [("generator", "discriminator"), ("discriminator", "generator")])
def test_labels_for_one_player_alone_are_refused(told: str, deaf: str):
    with pytest.raises(ConfigError, match=f"model.{told} takes the labels and model.{deaf} does not"):
        make_run(*SMALL, f"model.{told}.conditioning=one_hot")
