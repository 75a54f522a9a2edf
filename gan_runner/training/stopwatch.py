"""Training time in seconds, and speed between log lines."""

import contextlib
import time
from collections import deque
from collections.abc import Iterator

from gan_runner.game.batches import Batches
from gan_runner.game.clock import Clock

WINDOW = 120.0  # seconds of training over which the pace is averaged
LEAST = 3.0  # seconds of training before an estimate is given


class Pace:
    """Estimates the remaining time of a run from its progress in the last WINDOW seconds of training."""

    def __init__(self) -> None:
        self.marks: deque[tuple[float, float]] = deque()

    def left(self, seconds: float, share: float) -> float | None:
        """Returns the seconds until the end, or None if not known.

        seconds: of training so far; share: of the run that is done.
        """
        self.marks.append((seconds, share))
        while len(self.marks) > 2 and self.marks[1][0] <= seconds - WINDOW:
            self.marks.popleft()
        spent, done = seconds - self.marks[0][0], share - self.marks[0][1]
        return (1 - share) * spent / done if spent >= LEAST and done > 0 and share < 1 else None


class Stopwatch:
    """Updates the clock's seconds of training over all sessions; paused time does not count."""

    def __init__(self, clock: Clock, batches: Batches):
        self.clock, self.batches = clock, batches
        self.start()

    def start(self) -> None:
        self.started = time.perf_counter() - self.clock.seconds
        self.mark()

    def mark(self) -> None:
        """Restarts the measurement of images per second."""
        self.marked, self.images, self.waited = time.perf_counter(), self.clock.images, self.batches.waited

    def follow(self) -> None:
        """Updates the clock's seconds; called after every update."""
        self.clock.spend(time.perf_counter() - self.started)

    def lap(self) -> dict[str, float]:
        """Returns tag -> value since the last mark, and sets a new mark."""
        elapsed = time.perf_counter() - self.marked
        values = {
            "speed/seconds": self.clock.seconds,
            "speed/images_per_second": (self.clock.images - self.images) / elapsed,
            "speed/data_wait_share": (self.batches.waited - self.waited) / elapsed,
        }
        self.mark()
        return values

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        began = time.perf_counter()
        yield
        spent = time.perf_counter() - began
        self.started += spent
        self.marked += spent
