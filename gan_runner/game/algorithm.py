"""One step of training: Algorithm 1 of Goodfellow et al. 2014, common to all losses."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from gan_runner.game.average import EMA
from gan_runner.game.clock import Clock, Now
from gan_runner.protocols import Stats


class Side(Protocol):
    """The discriminator or the generator."""

    def gradient(self, number: int, now: Now) -> Stats:
        """Computes the gradient of update `number` into `.grad`; returns the statistics to log."""

    def move(self) -> None:
        """Updates the weights with the gradient."""


Turn = Sequence[tuple[Side, int]]  # sides that move together, each with the number of its update


class Algorithm:
    """n_critic updates of the discriminator, one update of the generator, then an update of the averages."""

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
        """Does all updates of one step.

        Returns tag -> scalar on the device: for each tag its last value in this step, so a lazy penalty keeps the value
        of the last update in which it was due.
        """
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
        """Returns the turns of a step: one update each, one after the other.

        With `simultaneous`, the last turn holds the last discriminator update and the generator update, whose gradients
        are computed before either moves (as in the code of Goodfellow et al. 2014).
        """
        alone: list[Turn] = [[(self.discriminator, number)] for number in now.updates]
        answer = [(self.generator, now.step)]
        return [*alone[:-1], [*alone[-1], *answer]] if self.simultaneous else [*alone, answer]

    def play(self, turn: Turn, now: Now) -> Stats:
        """Computes the gradients of all sides of a turn, then updates the weights of all sides."""
        stats = Stats()
        for side, number in turn:
            stats |= side.gradient(number, now)
        for side, _ in turn:
            side.move()
        return stats

    def warm_up(self) -> None:
        """Does one discriminator update before the first step; a session may stop between two warm-up updates."""
        now = self.clock.warm_up()
        self.play([(self.discriminator, now.updates[0])], now)
        self.clock.tick(now)
