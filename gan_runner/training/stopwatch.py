"""Seconds of training, and speed between log lines."""

import contextlib
import time
from collections import deque
from collections.abc import Iterator

from gan_runner.game.batches import Batches
from gan_runner.game.clock import Clock

WINDOW = 120.0  # seconds of training over which the pace is averaged
LEAST = 3.0  # seconds before it is known


class Pace:
    """How long a run will last, from how far it came in the last minutes of training."""

    def __init__(self) -> None:
        self.marks: deque[tuple[float, float]] = deque()

    def left(self, seconds: float, share: float) -> float | None:
        """Seconds until the end, given seconds of training and the share of the run that is done; None: not known."""
        self.marks.append((seconds, share))
        while len(self.marks) > 2 and self.marks[1][0] <= seconds - WINDOW:
            self.marks.popleft()
        spent, done = seconds - self.marks[0][0], share - self.marks[0][1]
        return (1 - share) * spent / done if spent >= LEAST and done > 0 and share < 1 else None


class Stopwatch:
    """Keeps the clock's seconds, over all sessions; what is paused is no time of training."""

    def __init__(self, clock: Clock, batches: Batches):
        self.clock, self.batches = clock, batches
        self.start()

    def start(self) -> None:
        self.started = time.perf_counter() - self.clock.seconds
        self.mark()

    def mark(self) -> None:
        """From here on images per second are counted."""
        self.marked, self.images, self.waited = time.perf_counter(), self.clock.images, self.batches.waited

    def follow(self) -> None:
        """After an update."""
        self.clock.spend(time.perf_counter() - self.started)

    def lap(self) -> dict[str, float]:
        """Tag -> value since the last mark, which is set anew."""
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
