"""Writes to the disk while the training goes on."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Background:
    """Does one write at a time on a thread of its own. All methods but `succeeds` raise its error, once."""

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(1, "writes")  # starts the thread at the first write
        self.present: Future[None] | None = None

    def begin(self, write: Callable[[], None]) -> None:
        """Starts a write as soon as the one before it has ended."""
        self.wait()
        self.present = self.pool.submit(write)

    def check(self) -> None:
        """Raises the error of a write that has failed; does not wait."""
        if self.present is not None and self.present.done():
            self.wait()

    def wait(self) -> None:
        """Waits until the present write has ended."""
        present, self.present = self.present, None
        if present is not None:
            present.result()

    def succeeds(self) -> bool:
        """Waits until the present write has ended, and returns whether it has succeeded."""
        return self.present is None or self.present.exception() is None

    def close(self) -> None:
        """Waits, and ends the thread."""
        self.pool.shutdown()
        self.wait()
