"""One player. Loss scaling, gradient accumulation, reduction over ranks and optimizer steps are in this module only."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gan_runner.device import Device
from gan_runner.protocols import Stats
from gan_runner.schedule import Progress, Schedule, valued

P = TypeVar("P")
Terms = Callable[[P], tuple[Tensor, Stats]]  # a part -> its loss, and the statistics to log
Accumulate = Callable[[Sequence[Any]], Stats]  # writes the gradient of these parts to `.grad`, returns statistics
Replay = Callable[[Accumulate, Sequence[Any], Callable[[], None]], Stats]  # (accumulate, parts, reseed) -> statistics
Scheduled = float | Schedule | list[float | Schedule]


class Player:
    """A network with its optimizer and gradient scaler. The network is frozen except during its own updates.

    Freezing avoids an autograd graph and gradients for these weights in the other player's step.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        optimizer: Optimizer,
        schedule: Schedule,
        device: Device,
        scheduled: Mapping[str, Scheduled] | None = None,
    ):
        """schedule: the factor of the learning rate; scheduled: other optimizer settings that may have schedules."""
        self.name, self.network, self.optimizer, self.schedule, self.device = name, network, optimizer, schedule, device
        self.scheduled = scheduled or {}
        self.scaler = device.scaler()
        self.rates = [group["lr"] for group in optimizer.param_groups]
        self.trainable = [p for p in network.parameters() if p.requires_grad]
        self.thaw(False)

    def thaw(self, trainable: bool) -> None:
        for parameter in self.trainable:
            parameter.requires_grad_(trainable)

    def gradient(
        self,
        terms: Terms[P],
        parts: Sequence[P],
        progress: Progress,
        seed: tuple[int | str, ...],
        replay: Replay | None = None,
    ) -> Stats:
        """Computes the gradient of the mean loss over all parts and ranks into `.grad`; returns the mean statistics.

        replay: launches recorded kernels instead of the computation, with the same results.
        """
        self.follow_schedules(progress)
        reseed = partial(self.device.seed, *seed, *self.device.ranks.key)
        accumulate = partial(self.accumulate, terms)
        reseed()
        self.thaw(True)
        stats = accumulate(parts) if replay is None else replay(accumulate, parts, reseed)
        gradients = [p.grad for p in self.trainable if p.grad is not None]
        stats = self.device.ranks.combine(gradients, stats)
        self.scaler.unscale_(self.optimizer)
        self.thaw(False)
        return stats | {f"grad_norm/{self.name}": torch.nn.utils.get_total_norm(gradients)}

    def move(self) -> None:
        """Does the optimizer step."""
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

    def accumulate(self, terms: Terms[P], parts: Sequence[P]) -> Stats:
        count = self.device.ranks.count * len(parts)
        return mean([self.backward(terms, part, count) for part in parts])

    def backward(self, terms: Terms[P], part: P, parts: int) -> Stats:
        with self.device.autocast():
            loss, stats = terms(part)
        self.scaler.scale(loss / parts).backward(inputs=self.trainable)  # no gradients for the points of a penalty
        return stats

    def schedules(self) -> dict[str, Schedule]:
        """Returns the schedules of the settings other than the learning rate, by name.

        A name is, for example, `momentum`, or `betas.1` for the second of several numbers.
        """
        named: dict[str, float | Schedule] = {}
        for key, value in self.scheduled.items():
            several = {f"{key}.{i}": item for i, item in enumerate(value)} if isinstance(value, list) else {key: value}
            named |= several
        return {name: value for name, value in named.items() if isinstance(value, Schedule)}

    def follow_schedules(self, progress: Progress) -> None:
        factor = self.schedule(progress)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
            group |= {key: now(value, progress) for key, value in self.scheduled.items()}

    @property
    def rate(self) -> float:
        """The learning rate of the last update."""
        return float(self.optimizer.param_groups[0]["lr"])

    def state_dict(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])


def now(setting: Scheduled, progress: Progress) -> float | list[float]:
    return [valued(s, progress) for s in setting] if isinstance(setting, list) else valued(setting, progress)


def mean(observed: list[Stats]) -> Stats:
    if len(observed) == 1:
        return observed[0]
    return {tag: torch.stack([stats[tag] for stats in observed]).mean() for tag in observed[0]}
