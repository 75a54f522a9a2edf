"""The composition of configurations, and its cache of group choices."""

import pytest
from hydra.errors import HydraException

from gan_runner.cli.compose import compose, composed
from gan_runner.cli.help import choices_of_groups
from gan_runner.errors import ConfigError


def test_what_one_call_changes_the_next_does_not_see():
    assert compose(["train.batch_size=7", "optimizer.betas=[0.1,0.2]"])["train"]["batch_size"] == 7
    later = compose([])
    assert later["train"]["batch_size"] == 64
    assert later["optimizer"]["betas"] == [0.5, 0.999]
    later["train"]["batch_size"] = 9
    assert compose([])["train"]["batch_size"] == 64


def test_a_choice_brings_what_belongs_to_it_and_a_setting_comes_after():
    config = compose(["loss.n_critic=3", "loss=wgan_gp"])
    assert config["loss"]["n_critic"] == 3
    assert config["loss"]["penalties"]["gradient"]["weight"] == 10.0
    assert config["optimizer"]["lr"] == 1e-4
    assert config["loss"]["simultaneous"] is False  # from what losses share


def test_a_mistake_is_one_sentence_with_the_nearest_setting_of_the_choices():
    with pytest.raises(ConfigError, match=r"loss.penalties.gradient.wieght is no setting \(did you mean 'loss.pen"):
        compose(["loss=wgan_gp", "loss.penalties.gradient.wieght=3"])
    with pytest.raises(HydraException):
        composed(["loss=wgan_gq"])


def test_what_losses_share_is_no_choice():
    losses = next(line for line in choices_of_groups().splitlines() if line.startswith("loss: "))
    names = losses.removeprefix("loss: ").split(", ")
    assert {"gan", "wgan_gp", "semi_supervised"} <= set(names)
    assert not [name for name in names if "base" in name or "objective" in name]
    assert "base" not in choices_of_groups()
