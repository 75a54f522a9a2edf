"""Graphs of updates, recorded and replayed on a CPU by operation, give the same results as no graphs."""

import copy
import logging
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from gan_runner.device import Device
from gan_runner.errors import ConfigError
from gan_runner.game.graphs import Graphs, hindrance
from gan_runner.game.recording import Tape, stand_in
from gan_runner.loss.adversarial import Wasserstein
from gan_runner.noise import Noise
from gan_runner.training.run import Run
from tests.conftest import SMALL, make_run, metrics, some, train_in, weights
from tests.game.recording import GRAPHS, CPURecorder
from tests.game.test_algorithm import SYNTHETIC, THIN, told

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
    "dropout": (*SMALL, "loss=gan", "model.generator.dropout=0.5", "model.discriminator.dropout=0.3"),
    "maxout, on images of one class each": (*SYNTHETIC, "model=mlp_2014", "loss=gan", *told("one_hot", "projection")),
    "noise on the images": (*SMALL, "loss=gan", "loss.instance_noise=0.1"),
    "augmented images": (*SMALL, "loss=hinge", "augment=diffaugment"),
    "augmented images and a penalty": (*SMALL, "loss=wgan_gp", "augment=flip"),
    "an augmentation that adapts": (*TINY, "loss=gan", "augment=ada", "augment.speed_images=200"),
    "batches in two parts": (*SMALL, "loss=wgan_gp", "train.accumulate=2"),
    "weight norm, and a generator with spectral norm": (
        *(*SMALL, "loss=gan", "model.weights.generator=spectral", "model.weights.discriminator=weight"),
    ),
    "residual networks in channels_last": (
        *(*SYNTHETIC, *THIN, "model=resnet", "loss=wgan_gp", "model.discriminator.norm=none"),
        *("device.channels_last=true", "loss.n_critic=2"),
    ),
    "fp16 and its scaler": (*SMALL, "loss=wgan_gp", "loss.penalties.gradient.every=2", "device.precision=fp16"),
    "an epoch that ends on the way": (*TINY, "loss=gan", "dataset.count=30"),
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


SLOW = {"maxout, on images of one class each", "few labels, and noise from torch's own generator inside the network"}


@pytest.mark.parametrize("overrides", some(CASES, CASES.keys() - SLOW))
def test_a_run_with_graphs_has_the_numbers_of_one_without(overrides: tuple[str, ...]):
    plain, graphed = both(*overrides)
    seen = [(plain.step(), graphed.step()) for _ in range(5)]
    for one, other in seen:  # after all steps: no later replay has changed what an earlier one gave
        the_same(one, other)
    the_same(weights(plain), weights(graphed))
    assert not plain.graphs.updates
    assert graphed.graphs.updates


@pytest.mark.parametrize("loss", [pytest.param("wgan_gp", marks=pytest.mark.long), "r1"])
def test_a_cut_run_with_graphs_logs_what_an_uncut_one_without_them_does(tmp_path: Path, loss: str):
    """Interrupted between two updates of a lazy penalty; name and identity of a run do not depend on graphs."""
    settings = (*SMALL[:-1], f"loss={loss}", "train.log_every=5", "train.checkpoint_every=10", "train.sample_every=10")
    without = (*settings, *GRAPHS[:2], "device.graphs=false")
    whole = train_in(tmp_path / "whole", *without, "train.total_steps=40")
    train_in(tmp_path / "cut", *settings, *GRAPHS, "train.total_steps=17")
    cut = train_in(tmp_path / "cut", *settings, *GRAPHS, "train.total_steps=30")
    cut = train_in(tmp_path / "cut", *without, "train.total_steps=40")
    assert metrics(cut) == metrics(whole)


def test_after_a_rollback_the_same_graphs_draw_other_noise():
    plain, graphed = both(*SMALL, "loss=wgan_gp")
    seen = []
    for run in (plain, graphed):
        first = run.step()
        state = copy.deepcopy(run.state())
        run.step()
        run.load_state(state)
        run.clock.rollbacks = 1
        seen.append((first, run.step()))
    the_same(seen[0][0], seen[1][0])
    the_same(seen[0][1], seen[1][1])
    the_same(weights(plain), weights(graphed))


def test_there_is_a_graph_for_each_set_of_due_penalties():
    run = make_run(*SMALL[:-1], "loss=r1", "loss.penalties.gradient.every=3", *GRAPHS)
    for _ in range(4):
        run.step()
    assert set(run.graphs.updates) == {("discriminator", ("gradient",)), ("discriminator", ()), ("generator", ())}


def test_the_gradient_of_a_graph_stays_in_its_place():
    run = make_run(*SMALL[:-1], "loss=gan", *GRAPHS)
    places = []
    for _ in range(3):
        now = run.clock.warm_up()
        run.algorithm.discriminator.gradient(now.updates[0], now)
        places.append([p.grad.data_ptr() for p in run.discriminator.trainable])
        run.algorithm.discriminator.move()
        run.clock.tick(now)
    assert places[0] == places[1] == places[2]


# ---- where there are none

REFUSED = {
    "compilation": (("device.compile=true",), "device.compile=true records"),
    "a penalty's weight that changes": (
        ("loss=wgan_gp", "loss.penalties.gradient.weight={_target_: gan_runner.schedule.Schedule, start: 5.0}"),
        "loss.penalties.gradient.weight changes",
    ),
    "noise on the images that fades": (
        ("loss.instance_noise={_target_: gan_runner.schedule.Schedule, start: 0.1, shape: linear}",),
        "loss.instance_noise changes",
    ),
    "a term with a state": (
        ("loss=began", "model.discriminator.output=absolute_error"),
        r"loss.adversarial \(BoundaryEquilibrium\) has a state",
    ),
}


@pytest.mark.parametrize(("overrides", "reason"), REFUSED.values(), ids=REFUSED)
def test_graphs_are_refused_where_they_would_give_other_numbers(overrides: tuple[str, ...], reason: str):
    with pytest.raises(ConfigError, match=rf"device\.graphs=true is not possible, since {reason}.*device.graphs=auto"):
        make_run(*SMALL[:-1], *overrides, *GRAPHS)
    run = make_run(*SMALL[:-1], *overrides, *GRAPHS[:2], "device.graphs=auto")
    assert not run.graphs.on


def test_a_network_that_waits_for_other_processes_has_no_graphs():
    network = nn.Sequential(nn.Linear(4, 4), nn.SyncBatchNorm(4))
    said = hindrance(Device("cpu"), {"discriminator": network}, {}, ())
    assert said == "model.discriminator waits for other processes within an update (1)"


def test_a_cpu_has_no_graphs():
    assert not make_run(*SMALL).graphs.on
    with pytest.raises(ConfigError, match=r"device\.graphs=true needs a CUDA GPU; on a CPU use auto"):
        make_run(*SMALL, "device.graphs=true")
    with pytest.raises(ConfigError, match=r"device\.graphs=yes is none of auto, true, false"):
        make_run(*SMALL, "device.graphs='yes'")


class Reading(Wasserstein):
    """Reads its scores on the host."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return super().discriminator(real, fake) * (1.0 if float(real.detach().mean()) > -1e9 else 2.0)


class Counting(Wasserstein):
    """Computes a different number in Python in each update."""

    def __init__(self) -> None:
        self.count = 0

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        self.count += 1
        return super().discriminator(real, fake) * self.count


UNFIT = {"a read on the host": "Reading", "a number of Python's that changes": "Counting"}


@pytest.mark.parametrize("term", UNFIT.values(), ids=UNFIT)
def test_an_update_that_cannot_be_recorded_is_told_and_computed_without(
    term: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """Under auto for a class of gan_runner (here a simulated one); under true the run ends with an error."""
    overrides = (*SMALL[:-1], "loss=wgan", f"loss.adversarial._target_=tests.game.test_graphs.{term}", *GRAPHS[:2])
    assert not make_run(*overrides, "device.graphs=auto").graphs.on
    run = make_run(*overrides, "device.graphs=true")
    with pytest.raises(ConfigError, match=r"device\.graphs=true: the discriminator's update cannot be recorded"):
        run.step()
    monkeypatch.setattr(globals()[term], "__module__", "gan_runner.user")
    plain, graphed = make_run(*overrides, "device.graphs=false"), make_run(*overrides, "device.graphs=auto")
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            one, other = plain.step(), graphed.step()
            if term == "Reading":  # the other has counted more often
                the_same(one, other)
    assert len([record for record in caplog.records if "so that there are no CUDA graphs" in record.message]) == 1
    assert not graphed.graphs.on


def test_noise_that_is_drawn_at_times_only_is_no_part_of_a_graph():
    tape = Tape()
    noise = stand_in(Noise((0, "z", 1), 4, torch.device("cpu")), tape)
    known = noise.scoped("latent").normal(3)
    tape.complete = True
    assert noise.scoped("latent").normal(3) is known
    with pytest.raises(RuntimeError, match="an update draws other at times only"):
        noise.scoped("other").normal(3)
    other = Noise((0, "z", 2), 4, torch.device("cpu"))
    tape.play(other)
    assert torch.equal(known, other.scoped("latent").normal(3))
