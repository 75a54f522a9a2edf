"""Weights for another network: whole networks that must then compute what the source computes."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from gan_runner.assembly.make import make
from gan_runner.assembly.transfer import transfer
from gan_runner.model.latent import Latent
from gan_runner.spec import ImageSpec
from tests.conftest import configure

GRAY, COLOUR = ImageSpec(1, 32, 32), ImageSpec(3, 32, 32)
CATS = replace(GRAY, num_classes=2, class_names=("cat", "dog"))
DOGS = replace(GRAY, num_classes=3, class_names=("dog", "eel", "cat"))
LATENT = Latent(6)
NARROW = {
    "mlp": ("model.generator.widths=[12]", "model.discriminator.widths=[12]"),
    "dcgan": ("model.generator.width=2", "model.discriminator.width=2"),
    "resnet": ("model.generator.width=2", "model.discriminator.width=2"),
}
Networks = dict[str, nn.Module]


def networks(model: str, spec: ImageSpec, *settings: str, seed: int = 0) -> Networks:
    torch.manual_seed(seed)
    config = configure(f"model={model}", *NARROW[model], *settings)["model"]
    made = {p: make(config[p], f"model.{p}", spec=spec, latent=LATENT) for p in ("generator", "discriminator")}
    for network in made.values():
        for parameter in network.parameters():
            nn.init.normal_(parameter, 0.0, 0.3)  # biases of zero and equal gains would tell nothing
    return {player: network.eval() for player, network in made.items()}


def fill(target: Networks, source: Networks, spec: ImageSpec, other: ImageSpec) -> dict[str, dict[str, str]]:
    """Loads the transferred weights; returns player -> layer -> kind."""
    kinds = {}
    for player, network in target.items():
        state, outcomes = transfer(player, network, source[player].state_dict(), spec, other)
        network.load_state_dict(state)
        kinds[player] = {outcome.layer: outcome.kind for outcome in outcomes}
    return kinds


def images(spec: ImageSpec) -> Tensor:
    return torch.rand(4, *spec.shape, generator=torch.Generator().manual_seed(1)) * 2 - 1


def z() -> Tensor:
    return torch.randn(4, 6, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("model", NARROW)
def test_equal_networks_take_every_layer(model: str):
    source, target = networks(model, GRAY), networks(model, GRAY, seed=1)
    kinds = fill(target, source, GRAY, GRAY)
    assert {kind for each in kinds.values() for kind in each.values()} == {"taken"}
    assert_close(target["generator"](z(), None), source["generator"](z(), None), rtol=0, atol=0)
    assert_close(
        target["discriminator"](images(GRAY), None), source["discriminator"](images(GRAY), None), rtol=0, atol=0
    )


@pytest.mark.parametrize("model", NARROW)
def test_gray_networks_become_colour_networks_that_do_the_same_with_gray_images(model: str):
    source, target = networks(model, GRAY), networks(model, COLOUR, seed=1)
    kinds = fill(target, source, COLOUR, GRAY)
    assert sorted({kind for each in kinds.values() for kind in each.values()}) == ["matched", "taken"]
    expected = source["generator"](z(), None).expand(-1, 3, -1, -1)
    assert_close(target["generator"](z(), None), expected)
    gray = images(GRAY)
    assert_close(target["discriminator"](gray.expand(-1, 3, -1, -1), None), source["discriminator"](gray, None))


@pytest.mark.parametrize("model", NARROW)
def test_colour_networks_become_gray_ones(model: str):
    source, target = networks(model, COLOUR), networks(model, GRAY, seed=1)
    fill(target, source, GRAY, COLOUR)
    gray = images(GRAY)
    assert_close(target["discriminator"](gray, None), source["discriminator"](gray.expand(-1, 3, -1, -1), None))
    of_colour = source["generator"](z(), None).clamp(-1 + 1e-6, 1 - 1e-6).atanh().mean(1, keepdim=True)
    assert_close(target["generator"](z(), None), of_colour.tanh(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("model", "generator", "discriminator"),
    [
        ("mlp", "one_hot", "one_hot"),
        ("mlp", "embedding", "projection"),
        ("mlp", "norm", "classifier"),
        ("dcgan", "one_hot", "one_hot"),
        ("dcgan", "norm", "projection"),
        ("resnet", "embedding", "embedding"),
        ("resnet", "one_hot", "classifier"),
    ],
)
def test_classes_are_matched_by_their_names(model: str, generator: str, discriminator: str):
    settings = (f"model.generator.conditioning={generator}", f"model.discriminator.conditioning={discriminator}")
    source, target = networks(model, CATS, *settings), networks(model, DOGS, *settings, seed=1)
    other = networks(model, DOGS, *settings, seed=1)
    kinds = fill(target, source, DOGS, CATS)
    assert "matched" in kinds["generator"].values()
    assert "matched" in kinds["discriminator"].values()
    old, new, eel = torch.tensor([0, 1, 0, 1]), torch.tensor([2, 0, 2, 0]), torch.ones(4, dtype=torch.long)
    assert_close(target["generator"](z(), new), source["generator"](z(), old))
    assert_close(target["discriminator"](images(GRAY), new), source["discriminator"](images(GRAY), old))
    if discriminator == "classifier":
        logits = target["discriminator"].heads(images(GRAY), new).logits
        assert_close(logits[:, [2, 0]], source["discriminator"].heads(images(GRAY), old).logits)
    assert not torch.allclose(target["generator"](z(), eel), target["generator"](z(), new))
    for name, module in target["generator"].named_modules():
        if isinstance(module, nn.Embedding):  # the row of the new class is that of the initialisation
            assert torch.equal(module.weight[1], other["generator"].get_submodule(name).weight[1])


def test_a_classifier_that_scores_by_its_logits_keeps_the_classes_it_knows():
    settings = ("model.discriminator.output=classes_and_fake",)
    source, target = networks("mlp", CATS, *settings), networks("mlp", DOGS, *settings, seed=1)
    fill(target, source, DOGS, CATS)
    logits = target["discriminator"].heads(images(GRAY)).logits
    assert_close(logits[:, [2, 0]], source["discriminator"].heads(images(GRAY)).logits)


def test_a_generator_without_labels_keeps_what_it_does_with_the_latent():
    source = networks("mlp", CATS)
    target = networks("mlp", CATS, "model.generator.conditioning=one_hot", seed=1)
    kinds = fill(target, source, CATS, CATS)
    assert kinds["generator"]["layers.0"] == "matched"
    weight = target["generator"].state_dict()["layers.0.weight"]
    assert torch.equal(weight[:, :6], source["generator"].state_dict()["layers.0.weight"])
    assert weight[:, 6:].abs().min() > 0
    back = networks("mlp", CATS, seed=2)
    fill(back, target, CATS, CATS)
    assert_close(back["generator"](z(), None), source["generator"](z(), None))


def test_what_fits_in_no_way_is_new_and_what_is_not_needed_is_left():
    source = networks("mlp", GRAY, "model.generator.widths=[12,12]")
    target = networks("mlp", GRAY, "model.generator.widths=[14]", seed=1)
    before = {name: tensor.clone() for name, tensor in target["generator"].state_dict().items()}
    kinds = fill(target, source, GRAY, GRAY)["generator"]
    assert kinds["layers.0"] == "new"
    assert set(kinds.values()) == {"new", "left"}
    assert_close(dict(target["generator"].state_dict()), before, rtol=0, atol=0)


def test_two_and_four_channels_are_no_copies_of_each_other():
    four, two = ImageSpec(4, 32, 32), ImageSpec(2, 32, 32)
    kinds = fill(networks("dcgan", four), networks("dcgan", two), four, two)
    assert kinds["discriminator"]["layers.0"] == "new"


@pytest.mark.parametrize("model", ["dcgan", "resnet"])
def test_weights_below_a_spectral_norm_are_matched_too(model: str):
    pairs = []
    for spec in (GRAY, COLOUR):
        made = networks(model, spec)
        for layer in list(made["discriminator"].modules()):
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.utils.parametrizations.spectral_norm(layer)
        pairs.append(made)
    kinds = fill(pairs[1], pairs[0], COLOUR, GRAY)["discriminator"]
    assert set(kinds.values()) == {"matched", "taken"}
