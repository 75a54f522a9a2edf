"""The processes that compute one run together: those that torchrun started, or one alone."""

import contextlib
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:  # torch itself is not needed to see that a run is finished
    from torch import Tensor

T = TypeVar("T")


class Ranks:
    """A process alone: the first and the only one. Nothing is waited for, nothing is copied."""

    rank = 0
    count = 1

    def __init__(self, local: int = 0):
        """local: the rank among those of the same machine, which is the number of its GPU."""
        self.local = local

    @property
    def first(self) -> bool:
        """Is it this one that writes and speaks?"""
        return self.rank == 0

    @property
    def key(self) -> tuple[int | str, ...]:
        """What the noise inside a network is seeded with beside the step: it differs by rank."""
        return ("rank", self.rank) if self.rank else ()

    def combine(self, gradients: "Sequence[Tensor]", stats: "dict[str, Tensor]") -> "dict[str, Tensor]":
        """Gradients become, in place, their sums over the ranks; of what was observed beside them, the means."""
        return stats

    def highest(self, *numbers: float) -> tuple[float, ...]:
        """Each the highest that any rank has."""
        return numbers

    def highest_delayed(self, *numbers: float) -> tuple[float, ...]:
        """Returns the result of the previous call, to avoid a synchronisation; the first call returns its own."""
        return numbers

    def broadcast(self, give: Callable[[], T], take: Callable[[T], object]) -> None:
        """Calls `give` on the first rank, and `take` with its result (tensors and plain values) on all others."""

    def ending_together(self) -> AbstractContextManager[None]:
        """A failure within it on one rank ends all: the others by EndedElsewhere."""
        return contextlib.nullcontext()

    def in_turn(self, act: Callable[[], T]) -> T:
        """On each machine one rank acts before the others, which find what it has downloaded or packed."""
        return act()

    def is_first_to_report(self, sentence: str) -> bool:
        """Is this the first rank to say so?"""
        return True


ALONE = Ranks()


def started() -> int:
    """How many processes torchrun's environment speaks of."""
    return int(os.environ["WORLD_SIZE"]) if {"RANK", "WORLD_SIZE"} <= os.environ.keys() else 1
