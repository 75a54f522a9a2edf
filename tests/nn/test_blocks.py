"""The blocks of every stock network, and what freezing the lowest of them changes."""

import pytest
import torch
from torch import nn

from gan_runner.errors import ConfigError
from gan_runner.nn.blocks import blocks, computes
from gan_runner.noise import Noise
from tests.conftest import SMALL, configure, make_run
from tests.game.test_algorithm import steps

TINY = ("dataset=synthetic", "dataset.count=16", "device=cpu", "metric=[]", "train.batch_size=8")
NARROW = ("model=dcgan", "dataset.num_classes=3", "model.generator.width=2", "model.discriminator.width=2")
MODELS = {  # model, settings -> blocks of the generator and the discriminator
    "mlp": (("model.generator.widths=[8,8]", "model.discriminator.widths=[8]"), 3, 2),
    "dcgan at 32": (NARROW, 4, 4),
    "dcgan by class": (
        (*NARROW, "model.generator.conditioning=norm", "model.discriminator.conditioning=projection"),
        *(4, 4),
    ),
    "dcgan with spectral norm": (
        (
            "model=dcgan",
            "model.generator.width=2",
            "model.discriminator.width=2",
            "model.weights.discriminator=spectral",
        ),
        *(4, 4),
    ),
    "resnet": (("model=resnet", "model.generator.width=2", "model.discriminator.width=2"), 5, 5),
    "packed": ((*NARROW, "model.pack=2"), 4, 4),
    "r3gan_small": (("model=r3gan_small",), 6, 7),
}


def blocks_of(run, player: str) -> list[list[nn.Module]]:
    network, spec = getattr(run, player).network, run.real.spec
    shown = (
        run.latent.sample(Noise((0,), 2, torch.device("cpu"))) if player == "generator" else torch.zeros(2, *spec.shape)
    )
    return blocks(network, lambda: network.forward(shown, torch.zeros(2, dtype=torch.long)))


@pytest.mark.parametrize(("settings", "generator", "discriminator"), MODELS.values(), ids=MODELS)
def test_blocks_are_counted_from_the_input_and_hold_every_weight_once(settings, generator: int, discriminator: int):
    run = make_run(*TINY, *settings)
    for player, count in (("generator", generator), ("discriminator", discriminator)):
        found = blocks_of(run, player)
        assert len(found) == count
        assert all(any(map(computes, block)) for block in found)
        held = [p for block in found for unit in block for p in unit.parameters()]
        assert len(held) == len({id(p) for p in held})
        network = getattr(run, player).network
        own = [p for module in (network, *network.children()) for p in module.parameters(recurse=False)]
        assert {id(p) for p in network.parameters()} - {id(p) for p in held} <= {id(p) for p in own}
    first = next(p for unit in blocks_of(run, "discriminator")[0] for p in unit.parameters() if p.dim() > 1)
    packs = configure(*TINY, *settings)["model"].get("pack", 1)
    assert first.shape[1] in (packs * run.real.spec.channels, run.real.spec.size)


@pytest.mark.parametrize("player", ["generator", "discriminator"])
@pytest.mark.parametrize("loss", ["wgan_gp", "gan"])
def test_frozen_blocks_keep_their_bits_and_the_others_learn(player: str, loss: str):
    run = make_run(*SMALL, f"loss={loss}", f"train.freeze.{player}=1")
    network = getattr(run, player).network
    frozen = [p for unit in blocks_of(run, player)[0] for p in unit.parameters()]
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    steps(run, 2)
    kept = {name for name, p in network.named_parameters() if torch.equal(p, before[name])}
    constant = {"head.score.bias"} if loss == "wgan_gp" else set()  # cancels in the difference of scores
    assert kept - constant == {name for name, p in network.named_parameters() if any(p is each for each in frozen)}
    assert all(p.grad is None for p in frozen)


def test_more_blocks_than_a_network_has_are_refused_with_their_number():
    with pytest.raises(ConfigError, match=r"train.freeze.discriminator=3 leaves nothing .* 3 blocks; use at most 2"):
        make_run(*SMALL, "train.freeze.discriminator=3")
    for wrong in ("train.freeze.discriminator=-1", "train.freeze.discriminator=true", "+train.freeze.critic=1"):
        with pytest.raises(ConfigError, match="freeze"):
            make_run(*SMALL, wrong)
