"""Labels in every network: their effect, where they enter, and invalid combinations."""

import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from gan_runner.assembly.make import make
from gan_runner.errors import ConfigError
from gan_runner.loss.constraint import SpectralNorm
from gan_runner.model.conditioning import ConditionalBatchNorm, Head, JoinImages, JoinVector
from gan_runner.spec import ImageSpec
from tests.conftest import configure

SPEC = ImageSpec(3, 32, 32, num_classes=5)
UNLABELLED = ImageSpec(3, 32, 32)
SMALL = {
    "mlp": ("widths=[16,16]",),
    "dcgan": ("width=4",),
    "resnet": ("width=8",),
    "r3gan": ("width=16", "groups=4", "blocks=1"),
    **dict.fromkeys(("mlp_2014", "mlp_keras", "mlp_small", "sngan_cnn", "dcgan_wgan_gp"), ()),
}
WITH_NORM = ("mlp", "dcgan", "resnet", "mlp_keras", "sngan_cnn")
GENERATORS = [(m, c) for m in SMALL for c in ("one_hot", "embedding", "norm") if c != "norm" or m in WITH_NORM]
DISCRIMINATORS = [(m, c) for m in SMALL for c in ("one_hot", "embedding", "projection", "classifier")]


def network(player: str, model: str, conditioning: str, spec: ImageSpec = SPEC) -> nn.Module:
    overrides = [f"model.{player}.{setting}" for setting in (*SMALL[model], f"conditioning={conditioning}")]
    config = configure(f"model={model}", *overrides)["model"]
    built: nn.Module = make(config[player], f"model.{player}", spec=spec, latent=make(config["latent"], "model.latent"))
    return built.eval()


def shake(module: nn.Module) -> nn.Module:
    """Changes parameters whose initial values are equal for all labels (gains of 1) or 0."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return module


@pytest.mark.parametrize(("model", "conditioning"), GENERATORS)
def test_the_label_changes_what_a_generator_makes(model: str, conditioning: str):
    generator = shake(network("generator", model, conditioning))
    z = torch.randn(1, configure(f"model={model}")["model"]["latent"]["dim"]).expand(2, -1)
    images = generator(z, torch.tensor([0, 3]))
    assert images.shape == (2, 3, 32, 32)
    assert not torch.allclose(images[0], images[1])
    assert generator.conditional


@pytest.mark.parametrize(("model", "conditioning"), DISCRIMINATORS)
def test_the_label_changes_the_score_or_is_told(model: str, conditioning: str):
    discriminator = shake(network("discriminator", model, conditioning))
    images, labels = torch.randn(1, 3, 32, 32).expand(2, -1, -1, -1), torch.tensor([0, 3])
    score = discriminator(images, labels)
    heads = discriminator.heads(images, labels)
    assert_close(heads.score, score)
    assert score.shape == (2,)
    if conditioning == "classifier":
        assert heads.logits.shape == (2, 5)
        assert_close(score[0], score[1], rtol=1e-5, atol=1e-5)  # one of them may be computed with the rest of a vector
    else:
        assert heads.logits is None
        assert not torch.allclose(score[0], score[1])


@pytest.mark.parametrize("model", SMALL)
@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_labels_that_the_data_lack_are_refused(player: str, model: str):
    with pytest.raises(ConfigError, match="conditioning=one_hot needs labels and the dataset has none"):
        network(player, model, "one_hot", UNLABELLED)


@pytest.mark.parametrize("model", sorted(set(SMALL) - set(WITH_NORM)))
def test_a_generator_without_batch_norm_has_no_conditional_one(model: str):
    with pytest.raises(ConfigError, match="conditioning='norm' is none of none, one_hot, embedding"):
        network("generator", model, "norm")


@pytest.mark.parametrize(
    ("player", "settings", "sentence"),
    [
        ("generator", ("norm=layer", "conditioning=norm"), "model.generator.norm=layer cannot depend on the label"),
        (
            "discriminator",
            ("output=squared_error", "conditioning=projection"),
            "conditioning=projection needs output=score",
        ),
    ],
    ids=["another norm that depends on the label", "an autoencoder with a projection"],
)
def test_what_cannot_be_conditional_is_refused(player: str, settings: tuple[str, ...], sentence: str):
    config = configure("model=dcgan", *(f"model.{player}.{setting}" for setting in settings))["model"]
    latent = make(config["latent"], "model.latent")
    with pytest.raises(ConfigError, match=sentence):
        make(config[player], f"model.{player}", spec=SPEC, latent=latent)


ALWAYS = ("mlp_mirza", "dcgan_conditional")


def conditional(model: str, player: str, spec: ImageSpec) -> nn.Module:
    config = configure(f"model={model}")["model"]
    built: nn.Module = make(config[player], f"model.{player}", spec=spec, latent=make(config["latent"], "model.latent"))
    return built.eval()


@pytest.mark.parametrize("model", ALWAYS)
@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_networks_that_are_always_conditional_take_the_label(model: str, player: str):
    net, labels = shake(conditional(model, player, SPEC)), torch.tensor([0, 3, 0])
    given = torch.rand(1, 100) if player == "generator" else torch.randn(1, 3, 32, 32)
    first, other, again = net(given.expand(3, *given.shape[1:]), labels)
    assert net.conditional
    assert not torch.allclose(first, other)
    assert_close(first, again)


@pytest.mark.parametrize("model", ALWAYS)
@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_networks_that_are_always_conditional_refuse_data_without_labels(model: str, player: str):
    with pytest.raises(ConfigError, match=f"model.{player}: {model} needs labels and the dataset has none; use mod"):
        conditional(model, player, UNLABELLED)


def test_one_hots_join_as_the_articles_have_them():
    """784 numbers and 10 classes are 794 inputs; 3 channels and 5 classes are 8, each map constant."""
    joined = JoinVector(784, 10, "one_hot")(torch.zeros(2, 784), torch.tensor([1, 9]))
    assert joined.shape == (2, 794)
    assert joined.nonzero().tolist() == [[0, 785], [1, 793]]
    maps = JoinImages(SPEC, "one_hot")(torch.zeros(2, 3, 32, 32), torch.tensor([1, 4]))
    assert maps.shape == (2, 8, 32, 32)
    assert maps.sum(dim=(2, 3)).tolist() == [[0] * 4 + [1024, 0, 0, 0], [0] * 7 + [1024]]


def test_projection_is_the_product_of_features_and_embedding():
    head, features, labels = Head(6, 4, "projection"), torch.randn(3, 6), torch.tensor([0, 3, 3])
    by_hand = head.score(features).squeeze(1) + (features * head.projection.weight[labels]).sum(1)
    assert_close(head(features, labels, torch.empty(0)).score, by_hand)
    constrained = copy.deepcopy(head)
    SpectralNorm().prepare(constrained)
    for _ in range(50):
        constrained(features, labels, torch.empty(0))
    assert torch.linalg.matrix_norm(constrained.projection.weight, 2).item() == pytest.approx(1, abs=1e-2)


@pytest.mark.parametrize("images", [True, False], ids=["maps", "vectors"])
def test_conditional_batch_norm_normalises_all_classes_together(images: bool):
    norm = ConditionalBatchNorm(3, 2, images)
    x = torch.randn(8, 3, 4, 4) if images else torch.randn(8, 3)
    labels = torch.tensor([0, 1] * 4)
    plain = (nn.BatchNorm2d(3) if images else nn.BatchNorm1d(3))(x)
    assert_close(norm(x, labels), plain)
    with torch.no_grad():
        norm.gain.weight[1], norm.shift.weight[1] = 2.0, 5.0
    assert_close(norm(x, labels)[::2], plain[::2])
    assert_close(norm(x, labels)[1::2], 2 * plain[1::2] + 5)
