"""CUDA graphs: all kernels of an update's forward and backward, recorded once and then launched together.

A graph must not depend on a number that Python computes for each update (see `hindrance`). The optimizer step is not
part of a graph.
"""

import logging
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import nn

from gan_runner.device import Device
from gan_runner.errors import ConfigError
from gan_runner.game.player import Accumulate, Player, Replay
from gan_runner.game.recording import CudaRecorder, Recorder, Update
from gan_runner.loss.objective import Objective
from gan_runner.nn.sync_norm import SyncBatchNorm
from gan_runner.protocols import Augmentation, Stateful, Stats

log = logging.getLogger(__name__)


class Graphs:
    """The CUDA graphs of both players: one for each set of kernels that an update launches, recorded at first use."""

    recorder: Callable[[], Recorder] = CudaRecorder

    def __init__(self, players: Sequence[Player], device: Device, reason: str | None):
        """reason: why graphs are not possible, as a clause for a message; None if they are possible."""
        self.networks = [player.network for player in players]
        self.required, self.reason = device.graphs is True, reason  # required: a failed recording ends the run
        possible = device.graphs is not False and device.torch.type in device.graphed
        self.on = possible and reason is None
        if possible and reason is not None:
            log.info("device.graphs=%s: there are no CUDA graphs, since %s", device.graphs, reason)
        self.recorders: dict[str, Recorder] = {}
        self.updates: dict[tuple[str, Hashable], Update] = {}

    def of(self, player: Player, kernels: Hashable) -> Replay | None:
        """Returns the replay of a player's update, or None without graphs.

        kernels: the key that determines which kernels the update launches, independent of its images and noise.
        """
        return partial(self.replay, player, kernels) if self.on else None

    def replay(
        self,
        player: Player,
        kernels: Hashable,
        accumulate: Accumulate,
        parts: Sequence[Any],
        reseed: Callable[[], None],
    ) -> Stats:
        if (player.name, kernels) not in self.updates:
            try:
                self.updates[player.name, kernels] = self.recorded(player, accumulate, parts, reseed)
            except RuntimeError as error:
                self.give_up(player, error)
                player.optimizer.zero_grad(set_to_none=True)
                reseed()
                return accumulate(parts)
            reseed()
        return self.updates[player.name, kernels].replay(parts)

    def recorded(
        self, player: Player, accumulate: Accumulate, parts: Sequence[Any], reseed: Callable[[], None]
    ) -> Update:
        if player.name not in self.recorders:
            self.recorders[player.name] = type(self).recorder()
        update = Update(self.recorders[player.name], player, self.networks)
        update.record(accumulate, parts, reseed)
        return update

    def give_up(self, player: Player, error: RuntimeError) -> None:
        reason = f"the {player.name}'s update cannot be recorded ({str(error).partition(chr(10))[0].rstrip('.')})"
        if self.required:
            raise ConfigError(f"device.graphs=true: {reason}; use device.graphs=auto or false.") from error
        log.warning("device.graphs=auto: %s, so that there are no CUDA graphs", reason)
        self.on = False
        self.updates.clear()


# ---- runs without graphs


def hindrance_of(
    device: Device,
    networks: Mapping[str, nn.Module],
    objective: Objective,
    augment: Augmentation,
    latent: object,
    schedules: Iterable[str],
) -> str | None:
    """Returns the `hindrance` for the objects that a run is built from."""
    parts = {"loss": objective, "loss.adversarial": objective.adversarial, "loss.constraint": objective.constraint}
    parts |= {f"loss.penalties.{name}": term for name, term in objective.penalties.items()}
    parts |= {"augment": augment, "model.latent": latent}
    return hindrance(device, networks, parts, schedules)


def hindrance(
    device: Device, networks: Mapping[str, nn.Module], parts: Mapping[str, object], schedules: Iterable[str]
) -> str | None:
    """Returns why the updates of a run cannot be recorded, as a clause for a message; None if they can.

    parts: the objects that the updates use beside the networks, by setting; schedules: the settings with a schedule.
    """
    if device.compile:
        return "device.compile=true records the networks in its own way"
    for name in schedules:
        if name.startswith(("loss.", "augment.")):
            return f"{name} changes as training goes on"
    for name, part in parts.items():
        if isinstance(part, Stateful) and not getattr(part, "state_stays_in_place", False):
            return f"{name} ({type(part).__name__}) has a state that changes within an update"
    for player, network in networks.items():
        for path, layer in network.named_modules():
            if isinstance(layer, nn.SyncBatchNorm | SyncBatchNorm):
                return f"model.{player} waits for other processes within an update ({path})"
    return None if device.graphs is True else user_class(networks, parts)


def user_class(networks: Mapping[str, nn.Module], parts: Mapping[str, object]) -> str | None:
    """Returns a clause that names a class from outside gan_runner and torch, which may compute numbers in Python."""
    made_of = dict(parts)
    for player, network in networks.items():
        made_of |= {f"model.{player}.{path}".rstrip("."): layer for path, layer in network.named_modules()}
    for name, part in made_of.items():
        if part is not None and type(part).__module__.split(".")[0] not in ("gan_runner", "torch"):
            return f"{name} ({type(part).__name__}) is no class of gan_runner; device.graphs=true tries it"
    return None
