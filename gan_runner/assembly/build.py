"""Construction of a Run from a configuration, in stages."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from gan_runner.assembly import rules
from gan_runner.assembly.make import Config, construct, make
from gan_runner.assembly.networks import check_memory, initialize, networks
from gan_runner.assembly.objects import make_dataset, make_device, make_evaluator, make_player
from gan_runner.assembly.starting import freeze_lowest
from gan_runner.assembly.structure import check_structure
from gan_runner.dataset.images import ImageDataset
from gan_runner.device import Device
from gan_runner.distributed.ranks import ALONE, Ranks
from gan_runner.evaluation.evaluator import Evaluator, subject_of
from gan_runner.evaluation.selection import Selection
from gan_runner.game.algorithm import Algorithm
from gan_runner.game.average import EMA
from gan_runner.game.batches import Batches, Fakes
from gan_runner.game.clock import Clock
from gan_runner.game.graphs import Graphs, hindrance_of
from gan_runner.game.meter import Meter
from gan_runner.game.player import Player
from gan_runner.game.schedules import Schedules
from gan_runner.game.settings import Settings
from gan_runner.game.sides import Discriminator, Generator, held_out_batches
from gan_runner.health.facts import facts_of
from gan_runner.health.probe import Probe
from gan_runner.health.verdicts import Health
from gan_runner.loss.objective import Objective
from gan_runner.records.averages import named
from gan_runner.records.groups import SETTINGS
from gan_runner.records.scores import REPORT, SELECTION
from gan_runner.training.run import Run


def build(config: Config, ranks: Ranks = ALONE, splits: Sequence[str] = (SELECTION, REPORT)) -> Run:
    """Builds a Run in stages, each of which needs the one before it. splits: the splits for the metrics."""
    check_structure(config)
    settings: Settings = construct({"_target_": SETTINGS, **config["train"]}, "train", {})
    device = make_device(config, ranks)
    device.configure()
    objective: Objective = make(config["loss"], "loss")
    dataset = ranks.in_turn(partial(make_dataset, config))
    latent, generator, discriminator = networks(config, dataset.spec, device)
    check_memory(settings, dataset.spec, latent, device)
    initialize(dataset.split("train"), generator, discriminator)
    objective.prepare(discriminator)
    for player, network in (("generator", generator), ("discriminator", discriminator)):
        device.place(network)
        freeze_lowest(player, network, settings.freeze.get(player, 0), latent, dataset.spec)
    known = {"spec": dataset.spec, "device": device.torch, "batch_size": settings.batch_size}
    augment = make(config["augment"], "augment", **known)
    averaged = {"ema": generator} | ({"classifier": discriminator} if objective.semi_supervised else {})
    averages = {
        named(kind, name): EMA(network, half_life)
        for kind, network in averaged.items()
        for name, half_life in settings.half_lives.items()
    }
    schedule = make(config["optimizer"]["schedule"], "optimizer.schedule")
    run = assemble(
        make_player(config, "generator", generator, schedule, device),
        make_player(config, "discriminator", discriminator, schedule, device),
        {
            **{"settings": settings, "seed": config["seed"], "device": device, "dataset": dataset, "latent": latent},
            **{"objective": objective, "augment": augment, "averages": averages, "real": dataset.split("train")},
            "evaluator": evaluator_of(config, dataset, generator, objective, device, splits),
        },
    )
    rules.check(run)
    if run.evaluator is not None:
        ranks.in_turn(run.evaluator.load_extractors)
    return run


def assemble(generator: Player, discriminator: Player, made: dict[str, Any]) -> Run:
    """Builds the game between the players, with its probes and health rules. made: the run's other fields, by name."""
    settings, objective, device, dataset = (made[name] for name in ("settings", "objective", "device", "dataset"))
    latent, augment, averages, seed = (made[name] for name in ("latent", "augment", "averages", "seed"))
    players: dict[str, Any] = {"generator": generator, "discriminator": discriminator}
    networks: dict[str, Any] = {name: player.network for name, player in players.items()}
    clock = Clock(settings, objective)
    batches = Batches(made["real"], clock, settings, device, seed, labelled=objective.semi_supervised)
    fakes = Fakes(generator.network, latent, device)
    schedules = Schedules(generator, discriminator, objective, augment, settings)
    reason = hindrance_of(device, networks, objective, augment, latent, schedules.by_setting())
    graphs = Graphs(list(players.values()), device, reason)
    held_out = held_out_batches(dataset, objective, settings, device, seed)
    sides = (
        Discriminator(discriminator, objective, batches, fakes, augment, graphs, held_out),
        Generator(generator, discriminator, objective, batches, fakes, augment, graphs),
    )
    measured = {name: made[name] for name in ("objective", "latent", "augment", "dataset", "device", "seed")}
    return Run(
        **players,
        **made,
        clock=clock,
        batches=batches,
        schedules=schedules,
        graphs=graphs,
        algorithm=Algorithm(*sides, clock, averages, objective.simultaneous),
        meter=Meter(),
        probe=Probe(**networks, average=averages["ema"], batch_size=settings.batch_size, **measured),
        health=Health(facts_of(objective, augment)),
        selection=Selection(),
    )


def evaluator_of(
    config: Config,
    dataset: ImageDataset,
    generator: Any,
    objective: Objective,
    device: Device,
    splits: Sequence[str],
) -> Evaluator | None:
    """Returns the evaluator of the run's metrics; None if the configuration has no metric."""
    subject = subject_of(
        dataset,
        conditional=bool(getattr(generator, "conditional", False)),
        classifies=objective.semi_supervised,
        estimate=objective.adversarial.estimate,
        packed=config["model"].get("pack", 1) > 1,
    )
    precision = "tf32" if device.precision == "tf32" else "fp32"
    return make_evaluator(config, dataset, subject, device, precision, splits)
