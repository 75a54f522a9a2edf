"""Graphs of updates, recorded and replayed on a CPU operation by operation: the same numbers as without them."""

import logging
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gan_runner import capture
from gan_runner.build import build
from gan_runner.capture import Graphs
from gan_runner.errors import ConfigError
from gan_runner.run import Run
from tests.conftest import SMALL, configure, make_run, metrics, train_in, weights
from tests.recording import GRAPHS, CPURecorder

CONVOLUTIONS = ("model=dcgan", "model.generator.width=4", "model.discriminator.width=4", "dataset=synthetic")
TINY = (*CONVOLUTIONS, "dataset.count=200", "dataset.height=16", "dataset.width=16", "train.batch_size=8")
SSL = ("model=ssl_mlp", "dataset.labels_per_class=4", "train.batch_size=16", "device=cpu")


@pytest.fixture(autouse=True)
def _recorder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Graphs, "recorder", CPURecorder)


CASES = {
    "two terms and batch norm": (*SMALL, "loss=gan"),
    "a gradient penalty, with the held-out estimate": (*SMALL, "loss=wgan_gp", "train.log_every=2"),
    "a lazy penalty: two graphs": (*SMALL, "loss=r1", "loss.penalties.gradient.every=3"),
    "clipped weights and RMSprop": (*SMALL, "loss=wgan"),
    "spectral norm, whose vectors move in the forward": (*TINY, "loss=sngan"),
    "points drawn about the real images": (*SMALL, "loss=dragan"),
    "real images in the generator's loss": (*SMALL, "loss=r3gan"),
    "players that move together": (*SMALL, "loss=minimax", "loss.simultaneous=true"),
    "labels in both networks": (
        *(*SMALL, "loss=hinge", "model.generator.conditioning=embedding"),
        "model.discriminator.conditioning=projection",
    ),
    "a classifier beside the discriminator": (*SMALL, "loss=acgan"),
    "few labels, and noise from torch's own generator inside the network": (*SSL, "loss=semi_supervised"),
    "dropout": (*SMALL, "model=mlp_2014", "loss=gan"),
    "noise on the images": (*SMALL, "loss=gan", "loss.instance_noise=0.1"),
    "augmented images": (*SMALL, "loss=hinge", "augment=diffaugment"),
    "augmented images and a penalty": (*SMALL, "loss=wgan_gp", "augment=flip"),
    "an augmentation that adapts": (*TINY, "loss=gan", "augment=ada", "augment.speed_images=200"),
    "batches in two parts": (*SMALL, "loss=wgan_gp", "train.accumulate=2"),
    "bf16": (*TINY, "loss=wgan_gp", "device.precision=bf16"),
    "a burst of discriminator updates, after a warm-up": (
        *(*SMALL, "loss=wgan", "loss.n_critic=2", "loss.n_critic_burst=3", "train.discriminator_warmup_steps=2"),
    ),
}


def both(*overrides: str) -> tuple[Run, Run]:
    """Without graphs, and with them."""
    kept = [o for o in overrides if not o.startswith("device=")]
    return make_run(*kept, *GRAPHS[:2], "device.graphs=false"), make_run(*kept, *GRAPHS)


def the_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name, value in one.items() if not torch.equal(value, other[name])] == []


@pytest.mark.parametrize("overrides", CASES.values(), ids=CASES)
def test_a_run_with_graphs_has_the_numbers_of_one_without(overrides: tuple[str, ...]):
    plain, graphed = both(*overrides)
    seen = [(plain.step(), graphed.step()) for _ in range(5)]
    for one, other in seen:  # after all steps: no later replay has changed what an earlier one gave
        the_same(one, other)
    the_same(weights(plain), weights(graphed))
    assert not plain.graphs.updates
    assert graphed.graphs.updates
