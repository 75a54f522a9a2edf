"""One side of the game. Scaling, accumulation, reduction and stepping live here and nowhere else."""

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
Terms = Callable[[P], tuple[Tensor, Stats]]  # a part -> its loss, and what to log of it
Accumulate = Callable[[Sequence[Any]], Stats]  # leaves the gradient of these parts in `.grad`, returns what to log
Replay = Callable[[Accumulate, Sequence[Any], Callable[[], None]], Stats]  # accumulate, parts, seeding -> the same
Scheduled = float | Schedule | list[float | Schedule]


class Player:
    """A network, frozen except while it is updated, with its optimizer and gradient scaler.

    Frozen, so that the other player's step builds no graph for these weights and computes no gradient of them.
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
        """schedule: what the learning rate is multiplied by; scheduled: other settings of the optimizer that change."""
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
        """Leaves the gradient of the mean loss over all parts and ranks in `.grad`; returns the means of what to log.

        replay: launches recorded kernels in the place of the computation, to the same numbers.
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
        """The step along the gradient."""
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

    def accumulate(self, terms: Terms[P], parts: Sequence[P]) -> Stats:
        count = self.device.ranks.count * len(parts)
        return mean([self.backward(terms, part, count) for part in parts])

    def backward(self, terms: Terms[P], part: P, parts: int) -> Stats:
        with self.device.autocast():
            loss, stats = terms(part)
        self.scaler.scale(loss / parts).backward(inputs=self.trainable)  # not of the points of a penalty
        return stats

    def schedules(self) -> dict[str, Schedule]:
        """Of the settings other than the learning rate: `momentum`, or `betas.1` for the second of several numbers."""
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
