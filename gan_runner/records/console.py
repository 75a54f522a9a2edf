"""The terminal: one live line of progress where there is a terminal, plain lines elsewhere."""

import contextlib
import logging
import multiprocessing
import os
import shutil
import sys
from collections.abc import Callable
from typing import ClassVar

GAP = "  "


class Console(logging.Handler):
    """Prints log records to stdout; those with `fields` are progress, which a terminal shows in one line.

    A worker of a parallel sweep shares its terminal with others: it prints plain lines that begin with the run's name.
    What cannot be printed is left out, and so is all that follows it. Where the reader left (`| head`), who listens
    is called; BrokenPipeError where nobody does.
    """

    listeners: ClassVar[list[Callable[[], None]]] = []

    def __init__(self) -> None:
        super().__init__()
        self.worker = multiprocessing.current_process().name != "MainProcess"
        self.live = sys.stdout is not None and sys.stdout.isatty() and not self.worker
        self.width = 0  # of the line of progress that the cursor stands behind

    def emit(self, record: logging.LogRecord) -> None:
        fields: list[str] | None = getattr(record, "fields", None)
        if fields is not None and self.live:
            line = fit(fields, shutil.get_terminal_size().columns - 1)
            end = ""
        else:
            name = getattr(record, "run", "")
            line = f"{name}{GAP if name else ''}{record.getMessage()}" if self.worker else record.getMessage()
            end = "\n"
        clear = "\r" + " " * self.width + "\r" if self.width else ""
        self.width = len(line) if not end else 0
        try:
            self.write(f"{clear}{line}{end}")
        except BrokenPipeError:
            silence()
            if not self.listeners:
                raise
            for listener in self.listeners:
                listener()
        except OSError:  # a full device, a closed terminal
            silence()

    def write(self, text: str) -> None:
        if sys.stdout is not None:  # closed before the start
            sys.stdout.write(text)
            sys.stdout.flush()


def fit(fields: list[str], columns: int) -> str:
    """The first fields that fit into a line."""
    line = fields[0]
    for field in fields[1:]:
        if len(line) + len(GAP) + len(field) > columns:
            break
        line += GAP + field
    return line[:columns]


def silence() -> None:
    """Whatever is printed from now on, by whomever, goes nowhere."""
    with contextlib.suppress(OSError, ValueError):  # a stream without a file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def keep_files_off_closed_streams() -> None:
    """Of stdin, stdout and stderr: the next file that is opened would become the one that is closed."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)


def duration(seconds: float) -> str:
    """42 s, 3 min 5 s, 2 h 10 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
