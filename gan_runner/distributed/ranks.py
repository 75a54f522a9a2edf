"""Ranks: the processes that compute one run together, started by torchrun, or a single process."""

import contextlib
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:  # torch is slow to import, and detecting a finished run does not need it
    from torch import Tensor

T = TypeVar("T")


class Ranks:
    """A single process, which is the first and only rank: no call waits or copies. Base class of `Torchrun`."""

    rank = 0
    count = 1

    def __init__(self, local: int = 0):
        """local: the rank among those on the same machine, which is also the index of its GPU."""
        self.local = local

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes files and messages."""
        return self.rank == 0

    @property
    def key(self) -> tuple[int | str, ...]:
        """The rank's part of the seed for noise inside a network, which differs between ranks."""
        return ("rank", self.rank) if self.rank else ()

    def combine(self, gradients: "Sequence[Tensor]", stats: "dict[str, Tensor]") -> "dict[str, Tensor]":
        """Replaces gradients, in place, by their sums over the ranks; returns the means of `stats` over the ranks."""
        return stats

    def highest(self, *numbers: float) -> tuple[float, ...]:
        """Returns the maximum of each number over the ranks."""
        return numbers

    def highest_delayed(self, *numbers: float) -> tuple[float, ...]:
        """Returns the result of the previous call, to avoid a synchronisation; the first call returns its own."""
        return numbers

    def broadcast(self, give: Callable[[], T], take: Callable[[T], object]) -> None:
        """Calls `give` on the first rank, and `take` on all others with its result, of tensors and plain values."""

    def ending_together(self) -> AbstractContextManager[None]:
        """If the block fails on one rank, all ranks end together: the others raise EndedElsewhere."""
        return contextlib.nullcontext()

    def in_turn(self, act: Callable[[], T]) -> T:
        """On each machine calls `act` on one rank before the others, which then use its downloaded or packed files."""
        return act()

    def is_first_to_report(self, sentence: str) -> bool:
        """Whether this is the first rank to report this sentence."""
        return True


ALONE = Ranks()


def started() -> int:
    """Returns the number of processes in torchrun's environment variables; 1 without torchrun."""
    return int(os.environ["WORLD_SIZE"]) if {"RANK", "WORLD_SIZE"} <= os.environ.keys() else 1
