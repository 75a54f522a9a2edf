"""The settings of each recipe's parts against those that its paper or its authors' code has."""

from typing import Any

import pytest

from gan_runner.records.identity import flatten
from tests.conftest import LOSSES, configure

ADAM_OF_WGAN_GP = {"optimizer.lr": 1e-4, "optimizer.betas": [0.0, 0.9]}
GRADIENT = "loss.penalties.gradient."
WGAN_GP = {
    **{GRADIENT + "weight": 10.0, GRADIENT + "at": "line", GRADIENT + "center": 1.0, GRADIENT + "power": 2.0},
    **{GRADIENT + "one_sided": False, "loss.n_critic": 5, **ADAM_OF_WGAN_GP},
}
PUBLISHED: dict[str, dict[str, Any]] = {
    "gan": {"loss.adversarial.real_target": 1.0, "optimizer.lr": 2e-4, "optimizer.betas": [0.5, 0.999]},
    "minimax": {"loss.adversarial.real_target": 1.0},
    "lsgan": {"loss.adversarial.a": 0.0, "loss.adversarial.b": 1.0, "loss.adversarial.c": 1.0},
    "hinge": {"loss.n_critic": 1},
    "wgan": {"loss.n_critic": 5, "loss.constraint.bound": 0.01, "optimizer.lr": 5e-5, "optimizer.alpha": 0.99},
    "wgan_gp": WGAN_GP,
    "wgan_lp": WGAN_GP | {GRADIENT + "one_sided": True},
    "wgan_div": {GRADIENT + "weight": 2.0, GRADIENT + "power": 6.0, GRADIENT + "center": 0.0, GRADIENT + "at": "line"},
    "dragan": {
        **{GRADIENT + "weight": 10.0, GRADIENT + "at": "around_real", GRADIENT + "center": 1.0},
        **{"loss.n_critic": 1, "optimizer.lr": 1e-4, "optimizer.betas": [0.5, 0.9]},
    },
    "r1": {  # gamma = 10, of which the weight is half
        **{GRADIENT + "weight": 5.0, GRADIENT + "at": "real", GRADIENT + "center": 0.0, GRADIENT + "power": 2.0},
        **{"optimizer.lr": 1e-4, "optimizer.alpha": 0.99},
    },
    "r3gan": {GRADIENT + "at": "both", GRADIENT + "center": 0.0, GRADIENT + "power": 2.0, "loss.n_critic": 1},
    "zero_gp": {GRADIENT + "at": "line", GRADIENT + "center": 0.0, GRADIENT + "weight": 10.0},
    "roth": {  # gamma from 2 to a hundredth of it, of which the weight is half
        **{f"loss.penalties.js.weight.{name}": value for name, value in (("start", 1.0), ("end", 0.01))},
        "loss.penalties.js.weight.shape": "exponential",
    },
    "sngan": {"loss.n_critic": 5, "optimizer.lr": 2e-4, "optimizer.betas": [0.0, 0.9]},
    "rsgan": {"loss.n_critic": 1},
    "rasgan": {"loss.adversarial.form": "standard"},
    "ralsgan": {"loss.adversarial.form": "least_squares"},
    "rahinge": {"loss.adversarial.form": "hinge"},
    "fgan": {"loss.adversarial.divergence": "kl", "loss.adversarial.trick": True},
    "ebgan": {"loss.adversarial.margin": 1.0, "model.discriminator.output": "squared_error"},
    "began": {
        **{"loss.adversarial.gamma": 0.5, "loss.adversarial.rate": 1e-3, "optimizer.lr": 1e-4},
        "model.discriminator.output": "absolute_error",
    },
    "acgan": {"loss.weight": 1.0, "loss.generator_weight": 1.0, "loss.on_fake": True},
    "acgan_wgan_gp": WGAN_GP | {"loss.weight": 1.0, "loss.generator_weight": 0.1, "loss.on_fake": False},
    "semi_supervised": {
        **{"loss.unsupervised_weight": 0.5, "loss.fake_class": False, "loss.feature_matching": "squared"},
        **{"optimizer.lr": 3e-3, "optimizer.betas": [0.5, 0.999], "model.discriminator.output": "classes"},
    },
    "semi_supervised_odena": {
        **{"loss.unsupervised_weight": 1.0, "loss.fake_class": True, "loss.feature_matching": "none"},
        "model.discriminator.output": "classes_and_fake",
    },
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_has_its_published_settings(loss: str):
    found = flatten(configure(f"loss={loss}"))
    assert {key: found.get(key, "absent") for key in PUBLISHED[loss]} == PUBLISHED[loss]
    plain = {"loss.n_critic_burst": None, "loss.instance_noise": 0.0, "loss.simultaneous": False}
    assert {key: found[key] for key in plain} == plain


OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "DCGAN": (
        "model=dcgan",
        {
            **{"model.latent.dim": 100, "model.generator.width": 64, "model.generator.norm": "batch"},
            **{"model.generator.activation": "relu", "model.discriminator.activation": "leaky_relu"},
        },
    ),
    "points of Gulrajani et al.": ("model=toy", {"model.latent.dim": 2, "model.generator.widths": [512, 512, 512]}),
    "the ring of VEEGAN": ("dataset=ring8", {"dataset.modes": 8, "dataset.radius": 1.0, "dataset.std": 0.01}),
    "the grid of VEEGAN": ("dataset=grid25", {"dataset.side": 5, "dataset.spacing": 2.0, "dataset.std": 0.05}),
    "ADA": ("augment=ada", {"augment.target": 0.6, "augment.every": 4, "augment.speed_images": 500_000}),
    "DiffAugment": ("augment=diffaugment", {"augment.policy": ["color", "translation", "cutout"]}),
    "the run": (
        "seed=0",
        {
            **{"train.batch_size": 64, "train.generator_batch_size": 64, "train.accumulate": 1},
            **{"train.ema_half_life_images": 10_000, "train.discriminator_warmup_steps": 0},
        },
    ),
}


@pytest.mark.parametrize(("choice", "published"), OTHERS.values(), ids=OTHERS)
def test_other_parts_have_their_published_settings(choice: str, published: dict[str, Any]):
    found = flatten(configure(choice))
    assert {key: found.get(key, "absent") for key in published} == published


def test_every_loss_has_its_settings_here():
    assert sorted(PUBLISHED) == LOSSES
