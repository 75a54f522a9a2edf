"""The auxiliary classifier against cross-entropies by hand."""

import math

import pytest
import torch
from torch import nn

from gan_runner.errors import ConfigError
from gan_runner.loss.adversarial import NonSaturating, RelativisticPaired
from gan_runner.loss.auxiliary import AuxiliaryClassifier
from gan_runner.model.conditioning import Heads
from gan_runner.noise import Noise
from gan_runner.schedule import Progress
from gan_runner.spec import Batch
from tests.conftest import SMALL, make_run

NOISE, START = Noise((0,), 2, torch.device("cpu")), Progress(0, None)


class Reader(nn.Module):
    """Scores are the first pixel, logits the next three."""

    def heads(self, images, labels):
        flat = images.flatten(1)
        return Heads(flat[:, 0], flat, flat[:, 1:4])


def batch(*rows: list[float], labels: list[int]) -> Batch:
    return Batch(torch.tensor(rows).view(-1, 1, 2, 2), torch.tensor(labels))


REAL = batch([0.0, 2.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], labels=[0, 1])
FAKE = batch([0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 1.0], labels=[2, 0])
REAL_CLASS = (math.log(math.e**2 + 2) - 2 + math.log(3)) / 2
FAKE_CLASS = (2 * math.log(math.e + 2) - 1) / 2


@pytest.mark.parametrize("on_fake", [True, False])
def test_both_players_pay_for_the_class(on_fake: bool):
    loss = AuxiliaryClassifier(NonSaturating(), weight=0.5, generator_weight=0.1, on_fake=on_fake)
    value, stats = loss.discriminator(Reader(), REAL, FAKE, NOISE, START)
    classes = REAL_CLASS + (FAKE_CLASS if on_fake else 0)
    assert stats["loss/class"].item() == pytest.approx(classes)
    assert stats["loss/adversarial"].item() == pytest.approx(2 * math.log(2))
    assert value.item() == pytest.approx(2 * math.log(2) + 0.5 * classes)
    value, _ = loss.generator(Reader(), FAKE, None, NOISE, START)
    assert value.item() == pytest.approx(math.log(2) + 0.1 * FAKE_CLASS)


def test_a_relativistic_generator_sees_the_real_scores():
    value, _ = AuxiliaryClassifier(RelativisticPaired()).generator(Reader(), FAKE, REAL, NOISE, START)
    assert value.item() == pytest.approx(math.log(2) + FAKE_CLASS)


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
    with pytest.raises(ConfigError, match=f"model.{told} is told the labels and model.{deaf} is not"):
        make_run(*SMALL, f"model.{told}.conditioning=one_hot")
