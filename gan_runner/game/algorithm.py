"""One step of training: Algorithm 1 of Goodfellow et al. 2014, which every loss here shares."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from gan_runner.game.average import EMA
from gan_runner.game.clock import Clock, Now
from gan_runner.protocols import Stats


class Side(Protocol):
    """The discriminator or the generator."""

    def gradient(self, number: int, now: Now) -> Stats:
        """Computes the gradient of update `number` and leaves it; returns what to log."""

    def move(self) -> None:
        """Steps along the gradient."""


Turn = Sequence[tuple[Side, int]]  # sides that move together, each with the number of its update


class Algorithm:
    """n_critic updates of the discriminator, then one of the generator; the averages follow."""

    def __init__(
        self,
        discriminator: Side,
        generator: Side,
        clock: Clock,
        averages: Mapping[str, EMA],
        simultaneous: bool = False,
    ):
        self.discriminator, self.generator, self.clock = discriminator, generator, clock
        self.averages, self.simultaneous = averages, simultaneous

    def step(self) -> Stats:
        """All updates of one step. Returns tag -> scalar on the device; of a lazy penalty the last value stays."""
        while self.clock.warming_up:
            self.warm_up()
        now, stats = self.clock.now(), Stats()
        for turn in self.turns(now):
            stats |= self.play(turn, now)
        self.clock.tick(now)
        for average in self.averages.values():
            average.update(now.images, self.clock.images, now.progress)
        return stats

    def turns(self, now: Now) -> list[Turn]:
        """Who moves together: each alone, one after the other, or the last two from one point (the code of 2014)."""
        alone: list[Turn] = [[(self.discriminator, number)] for number in now.updates]
        answer = [(self.generator, now.step)]
        return [*alone[:-1], [*alone[-1], *answer]] if self.simultaneous else [*alone, answer]

    def play(self, turn: Turn, now: Now) -> Stats:
        """All gradients at one point, then all move."""
        stats = Stats()
        for side, number in turn:
            stats |= side.gradient(number, now)
        for side, _ in turn:
            side.move()
        return stats

    def warm_up(self) -> None:
        """One discriminator update before the first step; the session may stop between two of them."""
        now = self.clock.warm_up()
        self.play([(self.discriminator, now.updates[0])], now)
        self.clock.tick(now)
