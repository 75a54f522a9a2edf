"""Rules across objects: incompatible settings are refused with a message that names the fix."""

import pytest
import torch
from torch import Tensor, nn

from gan_runner.assembly.advice import advise
from gan_runner.errors import ConfigError
from gan_runner.spec import ImageSpec
from tests.conftest import SMALL, configure, make_run


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["loss=wgan_gp", "model.discriminator.norm=batch"],
            ["loss.penalties.gradient", "layers.3 (BatchNorm1d)", "model.discriminator.norm=layer"],
        ),
        (
            ["loss=wgan_gp", "+loss.constraint._target_=gan_runner.loss.constraint.WeightClipping"],
            ["loss.constraint=null", "loss.penalties.gradient=null"],
        ),
        (
            ["train.accumulate=3", "train.generator_batch_size=15"],
            ["train.batch_size=16", "train.accumulate=3", "use a multiple of 3"],
        ),
        (
            ["loss=wgan_gp", "loss.penalties.gradient.at=around_real", "train.accumulate=2"],
            ["train.accumulate must be 1"],
        ),
        (
            ["optimizer.schedule.shape=linear", "train.total_steps=null", "train.total_seconds=5"],
            ["optimizer.schedule", "train.total_seconds", "train.total_steps"],
        ),
        (["dataset=ring8", "model=toy", "augment=flip"], ["augment (Flip) is for pictures", "augment=none"]),
        (["augment=ada", "loss=wgan_gp"], ["augment.probability=null", "Wasserstein", "augment.probability=0.2"]),
        (["augment._target_=tests.assembly.test_rules.Crop"], ["augment=Crop", "(1, 7, 8)", "keep their shape"]),
        (["augment._target_=gan_runner.loss.adversarial.Hinge"], ["augment=Hinge cannot augment the images"]),
        (
            ["model.generator._target_=tests.assembly.test_rules.WrongSize"],
            ["model.generator", "(1, 3, 3)", "(1, 8, 8)"],
        ),
        (
            ["model.generator._target_=tests.assembly.test_rules.WrongRange"],
            ["model.generator leaves the range (-1.0, 1.0)"],
        ),
        (["model.discriminator._target_=tests.assembly.test_rules.Column"], ["model.discriminator", "(2, 1)", "(2,)"]),
    ],
    ids=[
        "batch norm under a gradient penalty",
        "clipping and a gradient penalty",
        "a batch that does not divide",
        "accumulation with a whole-batch term",
        "a schedule without a length",
        "an augmentation of points",
        "an adaptive augmentation under a loss whose sign says nothing",
        "an augmentation that changes the shape",
        "what is no augmentation",
        "a generator of another size",
        "a generator of another range",
        "a discriminator with a column of scores",
    ],
)
def test_what_does_not_go_together_is_refused(overrides: list[str], words: list[str]):
    if any(override.startswith("model.") and "_target_=tests" in override for override in overrides):
        player = overrides[0].split(".")[1]
        overrides = [
            *overrides,
            *(f"~model.{player}.{key}" for key in configure()["model"][player] if key != "_target_"),
        ]
    with pytest.raises(ConfigError) as caught:
        make_run(
            *[o for o in SMALL if not any(o.startswith(f"{x[1:]}=") for x in overrides if x[0] == "~")], *overrides
        )
    (sentence,) = caught.value.sentences
    for word in words:
        assert word in sentence


class Crop:
    def __call__(self, images: Tensor, noise: object, progress: object) -> Tensor:
        return images[:, :, 1:]


class WrongSize(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        return z[:, :1].view(-1, 1, 1, 1).expand(-1, 1, 3, 3).tanh()


class WrongRange(WrongSize):
    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        return z[:, :1].view(-1, 1, 1, 1).expand(-1, 1, 8, 8) + 5


class Column(nn.Module):
    def __init__(self, spec: ImageSpec):
        super().__init__()
        self.layer = nn.Linear(spec.size, 1)

    def forward(self, images: Tensor, labels: Tensor | None) -> Tensor:
        return self.layer(images.flatten(1))


def test_all_violations_are_told_together():
    with pytest.raises(ConfigError) as caught:
        make_run(*SMALL, "loss=wgan_gp", "model.discriminator.norm=batch", "train.accumulate=3")
    assert len(caught.value.sentences) == 3


@pytest.mark.parametrize("norm", ["none", "layer", "weight"])
def test_batch_free_norms_go_with_a_gradient_penalty(norm: str):
    make_run(*SMALL, "loss=wgan_gp", f"model.discriminator.norm={norm}")


@pytest.mark.parametrize(
    ("overrides", "word"),
    [
        (["loss=wgan", "optimizer=adam"], "momentum 0.5"),
        (["loss=wgan", "loss.n_critic=1"], "loss.n_critic=1"),
        (["loss=wgan"], None),
        (["loss=wgan_gp"], None),
        (["loss=gan"], None),
        (["augment=ada"], None),
        (["augment=ada", "augment.probability=0.9"], "augment.probability=0.9"),
        (["augment=flip", "augment.probability=1"], "augment.probability=1"),
        (["augment=ada", "train.total_steps=100"], "augment.speed_images"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, list) else "",
)
def test_advice(overrides: list[str], word: str | None):
    advice = advise(make_run(*SMALL, *overrides))
    assert len(advice) == (word is not None)
    assert word is None or word in advice[0]


@pytest.mark.parametrize(
    ("precision", "computes", "count"), [("bf16", False, 1), ("bf16", True, 0), ("fp32", False, 0)]
)
def test_bf16_on_a_processor_without_it_is_advised_against(
    monkeypatch: pytest.MonkeyPatch, precision: str, computes: bool, count: int
):
    monkeypatch.setattr("gan_runner.assembly.advice.computes_bf16", lambda: computes)
    advice = advise(make_run(*SMALL, f"device.precision={precision}"))
    assert ["bf16" in sentence for sentence in advice] == [True] * count


def test_batch_norm_under_a_penalty_is_refused_even_where_no_layer_is_left_to_normalise():
    with pytest.raises(ConfigError, match=r"DCGANDiscriminator.*norm=layer"):
        make_run("model=dcgan", "loss=wgan_gp", "model.discriminator.norm=batch", "device=cpu")
