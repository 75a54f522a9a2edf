"""Start of a run from the weights of another one, and freezing of its lowest blocks."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from gan_runner.assembly.transfer import Outcome, layer_of, transfer
from gan_runner.errors import ConfigError
from gan_runner.game.player import Player
from gan_runner.nn.blocks import blocks, freeze
from gan_runner.noise import Noise
from gan_runner.records.folder import RunFolder
from gan_runner.records.identity import show
from gan_runner.records.source import Source, read_source
from gan_runner.spec import ImageSpec
from gan_runner.training.run import Run

log = logging.getLogger(__name__)

MAX_LAYERS = 12  # layers, at most, that the table lists for one network


def source_of(config: Mapping[str, Any], folder: RunFolder) -> tuple[Source | None, str | None]:
    """Returns the source of `train.from_weights`, and the hash of its weights, which identifies the run.

    None for a run with a checkpoint, which goes on without a source that is gone. ConfigError if there is neither, or
    if the weights are not those that the run began with.
    """
    train = config["train"]
    place, typed = train.get("from_weights"), train.get("from_weights_hash")
    if place is None:
        return None, typed
    resumes = folder.has_checkpoint and not train.get("fresh")
    stored = (folder.read_config() or {}).get("train", {}).get("from_weights_hash") if resumes else None
    try:
        source = read_source(place)
    except ConfigError as error:
        if stored is None:
            raise
        log.warning("%s The run goes on from its own checkpoint.", error)
        return None, stored
    if typed is not None and typed != source.hash:
        raise ConfigError(f"train.from_weights_hash={typed}, but the weights of {place} have {source.hash}.")
    if stored is not None and stored != source.hash:
        raise ConfigError(
            f"train.from_weights={place} has other weights than those that {folder.path} began with; put them back, "
            f"give this run a name of its own with name=..., or start it over with train.fresh=true."
        )
    return None if resumes else source, source.hash


def start_from(run: Run, source: Source, models: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Gives the networks and averages of a new run the weights of the source; returns lines on what became of them.

    models: the settings of each player's network in this run.
    """
    players = {player.name: player for player in (run.generator, run.discriminator)}
    lines = [f"weights    {source.title} ({source.hash[:12]}...)"]
    fits = False
    for name, player in players.items():
        outcomes = taken(name, name, player.network, source, run.real.spec)
        fits |= any(outcome.kind in ("taken", "matched") for outcome in outcomes)
        lines += [f"  {name:13} {row}" for row in (*rows_of(outcomes), *frozen_anew(player, outcomes))]
    for name, average in run.averages.items():
        kind, player_name = ("ema", "generator") if name.startswith("ema") else ("discriminator", "discriminator")
        outcomes = taken(kind, player_name, average.carry_buffers(), source, run.real.spec)
        lines += [f"  {name:13} {row}" for row in rows_of(outcomes)]
    if not fits:
        raise ConfigError(f"train.from_weights: no layer fits; {unlike(source, models)}.")
    return lines


def unlike(source: Source, models: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns the settings that differ, as they are typed to get the networks of the source."""
    theirs = []
    for player, settings in source.models.items():
        own = models[player]
        keys = settings.keys() if settings["_target_"] == own["_target_"] else ["_target_"]
        theirs += [f"model.{player}.{key}={show(settings[key])}" for key in keys if settings[key] != own.get(key)]
    if not theirs:
        return f"{source.title} has the same networks, but images of another shape; use the same dataset"
    return f"{source.title} has other networks; use those, as {' '.join(theirs)}"


def taken(kind: str, player: str, network: nn.Module, source: Source, spec: ImageSpec) -> list[Outcome]:
    """Loads the source's network of this kind; returns what became of each layer."""
    if kind not in source.networks:
        return [Outcome("all layers", "new", "not in the source")]
    state, outcomes = transfer(player, network, source.networks[kind], spec, source.spec)
    network.load_state_dict(state)
    return outcomes


def frozen_anew(player: Player, outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yields a line if layers that the source lacks are frozen."""
    trainable = set(player.trainable)
    trained = {layer_of(name) for name, each in player.network.named_parameters() if each in trainable}
    anew = [outcome.layer for outcome in outcomes if outcome.kind == "new" and outcome.layer not in trained]
    if anew and len(trainable) < sum(1 for _ in player.network.parameters()):
        yield f"frozen with new weights: {', '.join(anew)}"


def rows_of(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yields a line for the layers that were taken, and one for each other layer."""
    count = sum(outcome.kind == "taken" for outcome in outcomes)
    others = [outcome for outcome in outcomes if outcome.kind != "taken"]
    layers = [outcome for outcome in outcomes if outcome.kind != "left"]
    if count:
        yield f"{count} of {len(layers)} layers taken"
    for outcome in others[:MAX_LAYERS]:
        yield f"{outcome.layer} {outcome.kind}: {outcome.text}"
    if len(others) > MAX_LAYERS:
        yield f"and {len(others) - MAX_LAYERS} more"


def freeze_lowest(player: str, network: nn.Module, count: int, latent: Any, spec: ImageSpec) -> None:
    """Freezes the first `count` blocks of a network. ConfigError if nothing would be left to train."""
    if count == 0:
        return
    device = next(network.parameters()).device
    labels = torch.zeros(2, dtype=torch.long, device=device) if spec.num_classes else None
    noise = Noise(("blocks",), 2, device)
    shown = latent.sample(noise) if player == "generator" else torch.zeros(2, *spec.shape, device=device)
    found = blocks(network, lambda: network.forward(shown, labels))
    if count >= len(found):
        raise ConfigError(
            f"train.freeze.{player}={count} leaves nothing to train: model.{player}={type(network).__name__} has "
            f"{len(found)} blocks; use at most {len(found) - 1}."
        )
    freeze(network, found[count:])
