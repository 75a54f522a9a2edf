"""Rehearsal: one update of both players on copies, to refuse a run that cannot train before its folder is made."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gan_runner.assembly.trial import UNFIT, first_line
from gan_runner.errors import ConfigError
from gan_runner.game.batches import Batches, Fakes
from gan_runner.game.clock import Clock
from gan_runner.game.graphs import Graphs
from gan_runner.game.player import Player
from gan_runner.game.sides import Discriminator, Generator
from gan_runner.nn.operations import counting
from gan_runner.protocols import Adversarial
from gan_runner.training.run import Run

FEW = 2  # images for each rank


def rehearse(run: Run) -> float:
    """Returns the approximate operations of a step. ConfigError if an update fails or no gradient reaches a network.

    The run does not change, to the bit. The update has few images, to be cheap; if it fails, it is repeated with the
    batch size of the training.
    """
    devices = [run.device.torch] if run.device.torch.type == "cuda" else []
    with torch.random.fork_rng(devices):
        try:
            operations = play(run, FEW * run.device.ranks.count)
            return operations * run.settings.batch_size / (FEW * run.device.ranks.count)
        except ConfigError:
            return play(run, None)


def play(run: Run, size: int | None) -> float:
    """Updates copies of both players; returns the operations of a step. size: images of an update; None: as trained."""
    settings = run.settings
    if size is not None:
        settings = replace(settings, batch_size=size, generator_batch_size=size, accumulate=1)
    shared = (run.device, run.real, run.latent)
    originals = (run.generator, run.discriminator, run.objective, run.augment)
    generator, discriminator, objective, augment = copy.deepcopy(originals, {id(each): each for each in shared})
    clock = Clock(settings, objective)
    batches = Batches(run.real, clock, settings, run.device, run.seed, labelled=objective.semi_supervised)
    fakes = Fakes(generator.network, run.latent, run.device)
    graphs = Graphs([generator, discriminator], run.device, "they are not worth recording once")
    now = clock.moment(range(1))  # in update 0 every penalty is due
    sides: list[tuple[Player, Any]] = [
        (discriminator, Discriminator(discriminator, objective, batches, fakes, augment, graphs, [])),
        (generator, Generator(generator, discriminator, objective, batches, fakes, augment, graphs)),
    ]
    operations = 0.0
    for player, side in sides:
        try:
            with counting() as counter:
                side.gradient(0, now)
        except UNFIT as error:
            raise ConfigError(explain_failure(player, objective.adversarial, error)) from error
        if all(parameter.grad is None for parameter in player.trainable):
            raise ConfigError(
                f"model.{player.name}: no gradient reaches {type(player.network).__name__}; something on the way from "
                f"its weights to the loss is detached, or computed without torch."
            )
        side.move()
        operations += float(counter.get_total_flops()) * (objective.n_critic if player is discriminator else 1)
    return operations


def explain_failure(player: Player, term: Adversarial, error: Exception) -> str:
    """Returns a sentence that names the cause of a failed update: frozen weights, the loss, or the network."""
    if not player.trainable:
        return (
            f"model.{player.name}: every weight of {type(player.network).__name__} is frozen, so that it cannot "
            f"learn; leave requires_grad on, and hold it with optimizer.{player.name}.lr=0 if that is intended."
        )
    found = loss_of(term, player.name)
    if found is not None:
        return f"loss.adversarial={type(term).__name__}: {player.name}() {found}; it should return a scalar tensor."
    return (
        f"the update of the {player.name} fails ({first_line(error)}), with model.{player.name}="
        f"{type(player.network).__name__} and loss.adversarial={type(term).__name__}; HYDRA_FULL_ERROR=1 shows where."
    )


def loss_of(term: Adversarial, player: str) -> str | None:
    """Returns what is wrong with a player's loss for plain scores, as half a sentence; None if nothing is wrong."""
    scores = [torch.linspace(start, 1.0, FEW, requires_grad=True) for start in (0.5, -0.5)]
    ways: dict[str, Callable[[], Any]] = {
        "discriminator": lambda: term.discriminator(scores[0], scores[1]),
        "generator": lambda: term.generator(scores[1], scores[0] if term.paired else None),
    }
    try:
        loss = ways[player]()
    except UNFIT as error:
        return f"fails for {FEW} scores ({first_line(error)})"
    if not isinstance(loss, Tensor):
        return f"returns {type(loss).__name__}"
    if loss.dim():
        return f"returns a tensor of shape {tuple(loss.shape)}"
    return None if loss.requires_grad else "returns a tensor without a gradient"
