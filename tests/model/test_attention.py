"""Self-attention, in float64 against a softmax written out, and its place in the networks."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from gan_runner.errors import ConfigError
from gan_runner.model.attention import SelfAttention
from tests.conftest import make_run
from tests.game.test_algorithm import SYNTHETIC, THIN, attending, steps

PLAYERS = ("generator", "discriminator")


def block(channels: int = 16, gamma: float = 0.7) -> SelfAttention:
    layer = SelfAttention(channels).double()
    nn.init.constant_(layer.gamma, gamma)
    return layer


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def test_it_begins_as_the_identity():
    x = torch.randn(2, 16, 4, 4)
    assert torch.equal(SelfAttention(16)(x), x)


def test_channels_are_those_of_the_paper():
    layer = SelfAttention(64)
    assert {name: tuple(weight.shape[:2]) for name, weight in layer.named_parameters()} == {
        "query.weight": (8, 64),
        "key.weight": (8, 64),
        "value.weight": (32, 64),
        "out.weight": (64, 32),
        "gamma": (),
    }


@torch.no_grad()
def test_each_position_takes_the_softmax_weighted_values_of_all():
    layer, x = block(), drawn(2, 16, 2, 3)
    got = layer(x).flatten(2)
    query, key, value, out = (w.weight[:, :, 0, 0] for w in (layer.query, layer.key, layer.value, layer.out))
    for b in range(2):
        positions = [x[b].flatten(1)[:, n] for n in range(6)]
        for n, here in enumerate(positions):
            weights = [math.exp((query @ here) @ (key @ there)) for there in positions]
            mixed = sum(w / sum(weights) * (value @ there) for w, there in zip(weights, positions, strict=True))
            assert_close(got[b, :, n], here + 0.7 * (out @ mixed))


def test_positions_in_another_order_give_the_same_in_that_order():
    layer, x, order = block(), drawn(2, 16, 4, 4), torch.randperm(16)
    moved = x.flatten(2)[:, :, order].view_as(x)
    assert_close(layer(moved).flatten(2), layer(x).flatten(2)[:, :, order])


def test_samples_do_not_see_each_other():
    layer, x = block(), drawn(3, 16, 4, 4)
    assert_close(layer(x)[:1], layer(x[:1]))


def test_it_has_a_second_derivative():
    assert torch.autograd.gradgradcheck(block(2), drawn(1, 2, 2, 2).requires_grad_())


@pytest.mark.parametrize(
    ("model", "player", "side", "place"),
    [
        *(("dcgan", "generator", side, place) for side, place in ((4, 3), (8, 6), (16, 9))),
        *(("dcgan", "discriminator", side, place) for side, place in ((16, 2), (8, 4), (4, 6))),
        *(("resnet", "generator", side, place) for side, place in ((8, 1), (16, 2), (32, 3))),
        *(("resnet", "discriminator", side, place) for side, place in ((16, 1), (8, 2))),
    ],
)
def test_it_stands_behind_the_first_maps_of_that_side(model: str, player: str, side: int, place: int):
    norm = "model.discriminator.norm=none"
    run = make_run(f"model={model}", *SYNTHETIC, *THIN, norm, f"model.{player}.attention={side}")
    layer = getattr(run, player).network.layers[place]
    assert isinstance(layer, SelfAttention)
    seen: list[tuple[int, ...]] = []
    layer.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape[2:])))
    run.step()
    assert set(seen) == {(side, side)}
    assert layer.gamma.item() != 0


@pytest.mark.parametrize("model", ["dcgan", "resnet"])
def test_both_networks_begin_as_without_it(model: str):
    common = (f"model={model}", *SYNTHETIC, *THIN, "loss=gan", "model.discriminator.norm=none")
    run, plain = make_run(*common, *attending(8, 8)), make_run(*common)
    for player in PLAYERS:
        network, other = getattr(run, player).network.eval(), getattr(plain, player).network.eval()
        added = [module for module in network.modules() if isinstance(module, SelfAttention)]
        assert len(added) == 1
        kept = [p for p in network.parameters() if all(p is not q for q in added[0].parameters())]
        for parameter, same in zip(other.parameters(), kept, strict=True):
            parameter.data.copy_(same)
        x = torch.randn(2, 3, 32, 32) if player == "discriminator" else torch.randn(2, run.latent.dim)
        assert_close(network(x), other(x), rtol=0, atol=0)


def test_it_trains_in_bf16_under_a_gradient_penalty():
    run = make_run("model=dcgan", *SYNTHETIC, *THIN, "loss=wgan_gp", "device.precision=bf16", *attending(8, 8))
    steps(run, 2)
    for player in (run.generator, run.discriminator):
        (layer,) = (module for module in player.network.modules() if isinstance(module, SelfAttention))
        assert layer.gamma.item() != 0
        assert all(p.isfinite().all() for p in player.network.parameters())


@pytest.mark.parametrize(
    ("model", "player", "sides"),
    [
        ("dcgan", "generator", "4, 8, 16"),
        ("dcgan", "discriminator", "4, 8, 16"),
        ("resnet", "generator", "8, 16, 32"),
        ("resnet", "discriminator", "8, 16"),
    ],
)
@pytest.mark.parametrize("asked", [12, 64, 0, -8])
def test_a_side_without_maps_is_refused_with_those_there_are(model: str, player: str, sides: str, asked: int):
    with pytest.raises(ConfigError) as caught:
        make_run(f"model={model}", *SYNTHETIC, *THIN, f"model.{player}.attention={asked}")
    (sentence,) = caught.value.sentences
    assert sentence.startswith(f"model.{player}.attention={asked} is the side of no maps")
    assert f"there are {sides}, and null" in sentence
