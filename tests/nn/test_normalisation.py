"""Normalised weights of any network: properties of each kind, unchanged layers, and the averaged generator."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from gan_runner.assembly.build import build
from gan_runner.cli.places import CONF
from gan_runner.errors import ConfigError
from gan_runner.model.conditioning import ConditionalBatchNorm
from gan_runner.nn.normalisation import Normalisation, maps
from gan_runner.training.showcase import fixed_samples
from tests.conftest import SMALL, configure, make_run, some
from tests.game.test_algorithm import CONVOLUTIONS, GROUPED, SYNTHETIC, THIN, normalised, steps, told

GENERATOR = (*CONVOLUTIONS, "model.weights.generator=spectral")
WITHOUT = {"r3gan": "begins at 0", "r3gan_small": "begins at 0", "dirac": "has no linear map"}
WITHOUT |= dict.fromkeys(("ssl_mlp", "ssl_cnn"), "is normalised already")
NARROW = {"dcgan": THIN, "resnet": THIN, "r3gan": (*THIN, *GROUPED), "r3gan_small": (*THIN, *GROUPED)}
MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))


class Every(nn.Module):
    """A user's network with a layer of each sort."""

    def __init__(self):
        super().__init__()
        there = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
        back = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
        self.layers = nn.ModuleList([nn.Linear(6, 4), nn.Embedding(5, 7), *(kind(3, 5, 3) for kind in (*there, *back))])


def matrix(layer: nn.Module) -> Tensor:
    """(outputs, rest)."""
    weight = layer.weight.detach()
    return weight.transpose(0, 1).flatten(1) if "Transpose" in repr(layer) else weight.flatten(1)


def largest_singular_values(network: nn.Module) -> list[float]:
    return [torch.linalg.matrix_norm(matrix(layer), 2).item() for _, layer in maps(network)]


def test_under_spectral_norm_every_layer_comes_to_a_largest_singular_value_of_one():
    network = Every()
    Normalisation(generator="spectral").normalise("generator", network)
    for _ in range(100):
        assert all(layer.weight.isfinite().all() for _, layer in maps(network))  # each look is a power iteration
    assert largest_singular_values(network) == pytest.approx([1] * 8, abs=1e-3)


def test_under_weight_norm_each_output_has_a_length_of_its_own_that_begins_as_it_was():
    network, plain = Every(), Every()
    plain.load_state_dict(network.state_dict())
    Normalisation(discriminator="weight").normalise("discriminator", network)
    for (_, layer), (_, before) in zip(maps(network), maps(plain), strict=True):
        assert_close(matrix(layer), matrix(before))
        lengths = layer.parametrizations.weight.original0
        assert lengths.numel() == len(matrix(before))
        with torch.no_grad():
            lengths.fill_(3.0)
        assert_close(matrix(layer).norm(dim=1), torch.full((lengths.numel(),), 3.0))


KINDS = {f"{model}-{kind}": (model, kind) for model in MODELS for kind in ("spectral", "weight")}
SLOW = {f"{model}-spectral" for model in ("mlp_2014", "mlp_keras", "mlp_mirza", "sngan_cnn", "dcgan_conditional")}


@pytest.mark.parametrize("case", some(KINDS, KINDS.keys() - SLOW))
def test_every_stock_network_takes_it_or_says_why_not(case: tuple[str, str]):
    model, kind = case
    config = configure(*SYNTHETIC, f"model={model}", "loss=gan", *NARROW.get(model, ()), *normalised(kind))
    if model in WITHOUT:
        with pytest.raises(
            ConfigError, match=rf"model\.generator.*{WITHOUT[model]}.*set model\.weights\.generator=none"
        ):
            build(config)
        return
    run = build(config)
    for player in (run.generator, run.discriminator):
        assert all(hasattr(layer, "parametrizations") for _, layer in maps(player.network))
    assert fixed_samples(run)[0].isfinite().all()


def test_gains_and_shifts_of_a_conditional_norm_are_left_alone():
    run = make_run("model=dcgan", *THIN, *told("norm", "projection"), *normalised("spectral"), *SYNTHETIC)
    norms = [module for module in run.generator.network.modules() if isinstance(module, ConditionalBatchNorm)]
    assert norms
    assert all(torch.equal(norm.gain.weight, torch.ones_like(norm.gain.weight)) for norm in norms)
    assert hasattr(run.discriminator.network.head.projection, "parametrizations")


def test_a_configuration_from_before_the_setting_is_still_built():
    config = configure(*SMALL)
    del config["model"]["weights"]
    assert not any(hasattr(module, "parametrizations") for module in build(config).generator.network.modules())


@pytest.mark.parametrize("ema_half_life_images", [0, 200])
def test_the_averaged_generator_samples_with_largest_singular_values_of_one(ema_half_life_images: int):
    run = make_run(*GENERATOR, "optimizer.lr=0.02", f"train.ema_half_life_images={ema_half_life_images}")
    steps(run, 20)
    network = run.ema.network
    assert max(abs(value - 1) for value in largest_singular_values(network)) > 0.1  # the vectors are those of step 0
    fixed_samples(run)
    assert largest_singular_values(network) == pytest.approx([1] * 2, abs=1e-4)


def test_samples_of_a_resumed_run_are_the_same_whether_or_not_any_were_drawn_before():
    straight, resumed = steps(make_run(*GENERATOR), 4), make_run(*GENERATOR)
    first = steps(make_run(*GENERATOR), 2)
    fixed_samples(first)
    resumed.load_state(copy.deepcopy(first.state()))
    steps(resumed, 2)
    assert torch.equal(fixed_samples(resumed)[0], fixed_samples(straight)[0])
    assert_close(resumed.state()["generator"], straight.state()["generator"], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["model.weights.generator=spectrl"], ["model.weights.generator='spectrl' is none of", "'spectral'"]),
        (["model.weights.discriminator=null"], ["model.weights.discriminator=null should be of type str"]),
        (["model.weights=spectral"], ["model.weights=spectral should be a group"]),
        (["+model.weights.critic=none"], ["model.weights", "'critic'", "generator, discriminator"]),
        (
            ["model.weights.generator=spectral", "model.generator.norm=weight"],
            ["layers.0", "model.generator.norm=none"],
        ),
        (
            ["loss=sngan", "model.weights.discriminator=spectral"],
            ["model.weights.discriminator=none", "constraint=null"],
        ),
        (["loss=sngan", "model.discriminator.norm=weight"], ["model.discriminator.norm=none", "loss.constraint=null"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_what_is_no_choice_and_what_would_be_normalised_twice_is_one_sentence(overrides: list[str], words: list[str]):
    with pytest.raises(ConfigError) as caught:
        make_run(*SMALL, *overrides)
    (sentence,) = caught.value.sentences
    for word in words:
        assert word in sentence
