"""A config node is built into an object; all errors below it are reported together, with their paths."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from gan_runner.assembly.make import convert, make
from gan_runner.errors import ConfigError
from gan_runner.loss.penalty import GradientPenalty
from gan_runner.schedule import Schedule
from tests.conftest import SMALL, configure, make_run

PENALTY = "gan_runner.loss.penalty.GradientPenalty"


def sentences(*overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        make_run(*SMALL, *overrides)
    return list(caught.value.sentences)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("+loss.penalties.gradient.lamda=1", "loss.penalties.gradient: GradientPenalty has no setting 'lamda'"),
        ("+model.generator.width=3", "model.generator: MLPGenerator has no setting 'width' (did you mean 'widths'?)"),
        ("+train.batchsize=3", "train: Settings has no setting 'batchsize' (did you mean 'batch_size'?)"),
        ("+los=3", "'los' is no setting (did you mean 'loss'?)"),
        ("~model.latent", "model.latent is missing."),
        ("~dataset.distance", None),
        ("loss.adversarial._target_=gan_runner.loss.adversarial.Wasserstien", "_target_=gan_runner.loss.adversarial."),
        ("loss.adversarial._target_=os.system", "loss.adversarial._target_=os.system is no class"),
        ("loss.n_critic=five", "loss.n_critic='five' should be of type int."),
        ("loss.n_critic=0", "loss.n_critic=0 must be at least 1"),
        ("loss.n_critic=2.5", "loss.n_critic=2.5 should be of type int."),
        ("loss.penalties.gradient.at=lin", "loss.penalties.gradient.at='lin' is none of line, real"),
        ("loss.penalties.gradient.weight=-1", "loss.penalties.gradient.weight=-1.0 must be 0 or more"),
        ("model.generator.widths=3", "model.generator.widths=3 should be of type Sequence[int]."),
        ("model.generator.widths=[a]", "model.generator.widths=['a'] should be of type Sequence[int]."),
        ("model.discriminator.norm=bach", "did you mean 'batch'"),
        ("model.latent.dim=0", "model.latent.dim=0 must be at least 1"),
        ("optimizer.lr=-1", "optimizer.generator.lr=-1 must be 0 (which holds the generator) or more."),
        ("optimizer.discriminator.lr=nan", "optimizer.discriminator.lr=nan must be 0"),
        ("optimizer.betas=[0.5,1.5]", "optimizer.generator: Invalid beta parameter at index 1: 1.5"),
        ("optimizer.schedule.shape=lin", "optimizer.schedule.shape='lin' is none of constant, linear"),
        ("train.accumulate=0", "train.accumulate=0 must be above 0"),
        ("train.log_every=abc", "train.log_every='abc' should be of type int."),
        ("train.total_steps=null", "train.total_steps=null leaves the run without an end"),
        ("seed=x", "seed='x' should be a whole number."),
        ("device.precision=fp16", "device.precision=fp16 needs a CUDA GPU; on a CPU use fp32 or bf16"),
    ],
    ids=lambda value: value if value and "=" in value and " " not in value else "",
)
def test_a_mistake_is_one_sentence_with_its_path(override: str, sentence: str | None):
    if sentence is None:  # a setting with a default may be left out
        make_run(*SMALL, "loss=wgan_gp", "dataset=point_masses", override)
        return
    (told,) = sentences("loss=wgan_gp", override)
    assert sentence in told
    assert "\n" not in told


def test_all_mistakes_of_a_node_are_told_together():
    told = sentences("loss=wgan_gp", "+loss.penalties.gradient.lamda=1", "+loss.foo=2", "loss.n_critic=five")
    assert len(told) == 3


def test_numbers_become_what_the_constructor_wants():
    penalty = make({"_target_": PENALTY, "weight": 10, "every": 4.0}, "p")
    assert type(penalty.weight) is float
    assert type(penalty.every) is int
    adam = {"_target_": "torch.optim.Adam", "betas": [0, 0.9], "fused": True, "lr": 1}
    optimizer = make(adam, "o", params=[torch.zeros(1, requires_grad=True)])
    betas = optimizer.param_groups[0]["betas"]
    assert [type(beta) for beta in betas] == [float, float]


def test_a_nested_node_becomes_an_object_first():
    weight = {"_target_": "gan_runner.schedule.Schedule", "start": 2, "shape": "linear"}
    penalty = make({"_target_": PENALTY, "weight": weight}, "p")
    assert isinstance(penalty, GradientPenalty)
    assert penalty.weight == Schedule(start=2.0, shape="linear")


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (1, float, (1.0, True)),
        (True, float, (True, False)),
        (True, int, (True, False)),
        (1e4, int, (10000, True)),
        (None, int, (None, False)),
        (None, int | None, (None, True)),
        (3, float | None, (3.0, True)),
        ("x", int | str, ("x", True)),
        ("x", int | float, ("x", False)),
        ([1, 2], Sequence[float], ([1.0, 2.0], True)),
        ([1, 2], tuple[float, float], ([1.0, 2.0], True)),
        ("ab", Sequence[str], ("ab", False)),
        ({"a": 1}, int, ({"a": 1}, False)),
        ({"_target_": "x"}, float, ({"_target_": "x"}, False)),
        ({"_target_": "x"}, float | Schedule, ({"_target_": "x"}, True)),
        (5, Any, (5, True)),
    ],
    ids=str,
)
def test_conversion_to_an_annotation(value: Any, hint: Any, expected: tuple[Any, bool]):
    got = convert(value, hint)
    assert got == expected
    assert type(got[0]) is type(expected[0])


@pytest.mark.parametrize(
    ("loss", "optimizer", "lr", "norm"),
    [
        ("gan", torch.optim.Adam, 2e-4, "batch"),
        ("minimax", torch.optim.Adam, 2e-4, "batch"),
        ("wgan", torch.optim.RMSprop, 5e-5, "batch"),
        ("wgan_gp", torch.optim.Adam, 1e-4, "layer"),
    ],
)
def test_a_loss_brings_its_published_optimizer_and_norm(loss: str, optimizer: type, lr: float, norm: str):
    run = make_run(*SMALL, f"loss={loss}")
    assert type(run.discriminator.optimizer) is optimizer
    assert run.discriminator.rates == run.generator.rates == [lr]
    for model in ("dcgan", "resnet"):
        assert configure(f"model={model}", f"loss={loss}")["model"]["discriminator"]["norm"] == norm
    assert configure(f"loss={loss}")["model"]["discriminator"]["norm"] == "none"  # an MLP is made for none


def test_the_published_settings_of_wgan_gp():
    run = make_run(*SMALL, "loss=wgan_gp")
    penalty = run.objective.penalties["gradient"]
    assert (penalty.weight, penalty.center, penalty.power, penalty.every) == (10.0, 1.0, 2.0, 1)
    assert run.objective.n_critic == 5
    assert tuple(run.generator.optimizer.param_groups[0]["betas"]) == (0.0, 0.9)


def test_an_optimizer_that_was_typed_wins_over_the_loss():
    run = make_run(*SMALL, "loss=wgan", "optimizer=adam")
    assert type(run.generator.optimizer) is torch.optim.Adam


def test_one_player_can_have_a_rate_of_its_own():
    run = make_run(*SMALL, "optimizer.lr=3e-4", "optimizer.generator.lr=0")
    assert (run.generator.rates, run.discriminator.rates) == ([0.0], [3e-4])


def test_initial_weights_come_from_the_seed_alone():
    runs = [make_run(*SMALL, "seed=3") for _ in range(2)]
    torch.manual_seed(99)
    runs.append(make_run(*SMALL, "seed=3", "loss=wgan_gp"))
    first = [run.generator.network.layers[0].weight for run in runs]
    assert torch.equal(first[0], first[1])
    assert torch.equal(first[0], first[2])
    assert not torch.equal(first[0], make_run(*SMALL, "seed=4").generator.network.layers[0].weight)
