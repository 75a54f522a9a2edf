"""The seams: what a loss, a penalty, a constraint and anything with state must offer. A user's class needs no base."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from gan_runner.noise import Noise
from gan_runner.schedule import Progress, Schedule
from gan_runner.spec import Batch

Stats = dict[str, Tensor]  # tag -> detached scalar that stays on the device


class Adversarial(Protocol):
    """What the players want, as functions of raw scores (B,). The discriminator scores real high, for every loss."""

    paired: bool  # does the generator's loss need scores of real images?
    batch_statistics: bool  # does a term depend on the whole batch, so that it is no mean over samples?
    zero_is_boundary: bool  # does the sign of a score say real or fake?
    estimate: str | None  # what the discriminator's loss estimates: "wasserstein", "js", "tv", or nothing

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor: ...

    def generator(self, fake: Tensor, real: Tensor | None) -> Tensor: ...


class Penalty(Protocol):
    """A term added to the discriminator's loss. It returns its unweighted value; the objective weighs and schedules."""

    weight: float | Schedule
    every: int  # in discriminator updates: lazy regularization, scaled up by it
    per_sample: bool  # does it differentiate each sample alone, which forbids batch-coupled layers?

    def __call__(self, discriminator: nn.Module, real: Batch, fake: Batch, noise: Noise) -> tuple[Tensor, Stats]: ...


class Constraint(Protocol):
    """A bound on the discriminator itself."""

    def prepare(self, discriminator: nn.Module) -> None:
        """Once, before the optimizer exists."""

    def enforce(self, discriminator: nn.Module) -> None:
        """After every discriminator update."""


class Augmentation(Protocol):
    """What the discriminator sees instead of images (B, C, H, W): differentiable, the same for real and fake.

    All that is random comes from `noise`, which is for B images. Its settings may be schedules.
    """

    def __call__(self, images: Tensor, noise: Noise, progress: Progress) -> Tensor: ...


@runtime_checkable
class Adaptive(Protocol):
    """An augmentation that follows the training."""

    def adapt(self, observed: Stats, update: int, progress: Progress) -> Stats:
        """After discriminator update `update`, with what was observed of it; returns what to log."""


@runtime_checkable
class DataDependent(Protocol):
    """A network that begins from the data."""

    def initialize(self, real: Batch, /) -> None:
        """Once, before training, with some of the training images."""


@runtime_checkable
class Stateful(Protocol):
    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: Mapping[str, Any], /) -> Any: ...
