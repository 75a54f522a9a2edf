"""Signal handling: the first signal stops the run after the present step, a second one at once."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from gan_runner.errors import RankLost
from gan_runner.records.console import Terminal

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
REQUEUEING = (signal.SIGUSR1, signal.SIGUSR2)  # schedulers send these before a time limit or a preemption


class Interrupt:
    """While open, `signum` is the signal that requested a stop, or None; `save` is True if a signal requested a save.

    The handlers of a scheduler (submitit requeues on SIGUSR2 and ignores SIGTERM) or a sweep are still called: on
    SIGUSR1 and SIGUSR2 after the run has stopped (`follow`); on SIGTERM and SIGINT at once, and the run saves and
    continues. If the reader of the output is gone, the run stops as on SIGPIPE.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self.save = False
        self.previous: dict[int, Any] = {}

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():  # the only thread that handles signals
            for number in {*STOPPING, *(n for n in REQUEUEING if is_a_schedulers(signal.getsignal(n)))}:
                if not (number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN):  # nohup
                    self.previous[number] = signal.signal(number, self.ask)
        Terminal.listeners.append(self.reader_left)
        return self

    def ask(self, signum: int, frame: FrameType | None) -> None:
        if signum not in REQUEUEING and is_a_schedulers(self.previous.get(signum)):
            self.save = True
            self.previous[signum](signum, frame)
            return
        self.signum = signum
        self.restore()

    def reader_left(self) -> None:
        self.ask(signal.SIGPIPE, None)

    def take_save(self) -> bool:
        """Returns True if a checkpoint was requested since the last call."""
        requested, self.save = self.save, False
        return requested

    def restore(self) -> None:
        """Restores the previous handlers, so that a second signal has its original effect."""
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def follow(self) -> None:
        """Calls the scheduler's handler of the signal that stopped the run, which may not return."""
        if self.signum in REQUEUEING and is_a_schedulers(self.previous[self.signum]):
            self.previous[self.signum](self.signum, None)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        Terminal.listeners.remove(self.reader_left)
        if kind is not RankLost:  # after it torchrun sends SIGTERM, which must not end the process before its message
            self.restore()


def is_a_schedulers(handler: Any) -> bool:
    """Returns True for a function other than Python's own handler of Ctrl-C."""
    return callable(handler) and handler is not signal.default_int_handler
