"""Interfaces of losses, penalties, constraints, trackers and objects with state. A user's class needs no base class."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor, nn

from gan_runner.noise import Noise
from gan_runner.schedule import Progress, Schedule
from gan_runner.spec import Batch

Stats = dict[str, Tensor]  # tag -> detached scalar that stays on the device


class Adversarial(Protocol):
    """The losses of both players, from raw scores (B,). In every loss real images have the higher scores."""

    paired: bool  # whether the generator's loss needs scores of real images
    batch_statistics: bool  # whether a term depends on the whole batch, so that it is no mean over samples
    zero_is_boundary: bool  # whether the sign of a score separates real from fake
    estimate: str | None  # the distance that the discriminator's loss estimates: "wasserstein", "js", "tv" or None

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor: ...

    def generator(self, fake: Tensor, real: Tensor | None) -> Tensor: ...


class Penalty(Protocol):
    """A term added to the discriminator's loss. It returns its unweighted value; the objective applies the weight."""

    weight: float | Schedule
    every: int  # lazy regularization: computed in each `every`-th discriminator update, and multiplied by `every`
    per_sample: bool  # whether it differentiates each sample alone, which forbids batch-coupled layers

    def __call__(self, discriminator: nn.Module, real: Batch, fake: Batch, noise: Noise) -> tuple[Tensor, Stats]: ...


class Constraint(Protocol):
    """A bound on the discriminator's weights."""

    def prepare(self, discriminator: nn.Module) -> None:
        """Called once, before the optimizer exists."""

    def enforce(self, discriminator: nn.Module) -> None:
        """Called after every discriminator update."""


class Augmentation(Protocol):
    """Transforms the discriminator's input (B, C, H, W): differentiable, and the same for real and fake images.

    All random numbers come from `noise`, which is for B images. The settings may be schedules.
    """

    def __call__(self, images: Tensor, noise: Noise, progress: Progress) -> Tensor: ...


@runtime_checkable
class Adaptive(Protocol):
    """An augmentation that adapts to the training."""

    def adapt(self, observed: Stats, update: int, progress: Progress) -> Stats:
        """Called after discriminator update `update` with its statistics; returns the statistics to log."""


@runtime_checkable
class DataDependent(Protocol):
    """A network that is initialised from the data."""

    def initialize(self, real: Batch, /) -> None:
        """Called once, before training, with some of the training images."""


@runtime_checkable
class Stateful(Protocol):
    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: Mapping[str, Any], /) -> Any: ...


class Tracked(NamedTuple):
    """What a tracker receives about a run."""

    name: str  # of the run folder
    study: str | None  # the group of the run
    folder: Path
    settings: Mapping[str, Any]  # choices of groups, and settings that change the result


@runtime_checkable
class Tracker(Protocol):
    """A client of a program that shows runs. Any method may raise: training goes on."""

    kind: str  # the key of its state in tracker.json

    def open(self, id: str, about: Tracked) -> None:
        """Opens the tracker's run with this id: goes on with it, or begins it. Called again after a failure."""

    def holds(self, step: int, tag: str) -> bool:
        """Whether the values of a step have arrived, of which a process that ended may have sent them."""

    def send(self, step: int, values: dict[str, float]) -> None:
        """Sends the values of a step. The steps rise, also from session to session."""

    def close(self, status: str) -> None:
        """Ends the session. status: completed, interrupted, diverged or failed."""
