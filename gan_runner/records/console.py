"""Terminal output with rich: a live progress line, tables and log lines; plain lines in a pipe or a file."""

import contextlib
import logging
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rich.console import Console
from rich.control import Control
from rich.segment import ControlType
from rich.table import Table
from rich.text import Text

GAP = "  "
UNBOUNDED = 100_000  # columns outside a terminal, where nothing is cut or wrapped
BAR = (8, 40)  # minimum and maximum columns of the progress bar
STYLES = {logging.WARNING: "yellow", logging.ERROR: "red"}


@dataclass(frozen=True)
class Progress:
    """Content of the live line: the most important field first, since a narrow terminal shows only the beginning."""

    share: float  # share of the run that is done
    fields: Sequence[str]


class Terminal(Console):
    """stdout or stderr. After a failed write, this and all later output is discarded.

    If the reader is gone (`| head`), calls the listeners; BrokenPipeError without a listener.
    """

    listeners: ClassVar[list[Callable[[], None]]] = []

    def __init__(self, stderr: bool = False):
        stream = sys.stderr if stderr else sys.stdout
        self.live = stream is not None and stream.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")
        width = None if self.live else UNBOUNDED
        super().__init__(stderr=stderr, width=width, force_terminal=self.live, highlight=False, markup=False)

    def show(self, content: Any, **options: Any) -> None:
        """Prints a text without wrapping or cutting, or a table at most as wide as the terminal."""
        try:
            if isinstance(content, Table) and not self.live:
                content = self.lines_of(content)
            if isinstance(content, str) and not self.live:
                self.write(content)
            else:
                self.print(content, soft_wrap=isinstance(content, str | Text), emoji=False, **options)
        except BrokenPipeError:
            raise
        except OSError:  # a full device, a closed terminal
            silence(self.file)

    def write(self, line: str) -> None:
        """Writes a line to a pipe or a file, without rich, which takes 0.2 ms longer."""
        try:
            print(line, file=self.file, flush=True)
        except BrokenPipeError:
            self.on_broken_pipe()

    def lines_of(self, drawn: Table) -> str:
        """Returns a table as text, without spaces at the ends of lines."""
        with self.capture() as found:
            self.print(drawn)
        return "\n".join(line.rstrip() for line in found.get().splitlines())

    def on_broken_pipe(self) -> None:
        silence(self.file)
        if not self.listeners:
            raise BrokenPipeError
        for listener in self.listeners:
            listener()

    def show_live(self, progress: Progress) -> None:
        """Prints the progress in the present line, without a newline."""
        self.show(live_line(progress, self.width - 1), end="")

    def erase_line(self) -> None:
        with contextlib.suppress(OSError):
            self.control(Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2)))


class LogHandler(logging.Handler):
    """Prints log records to stdout; in a terminal, records with `progress` share one live line.

    A worker of a parallel sweep shares its terminal with other workers: it prints plain lines with the run's name.
    """

    def __init__(self) -> None:
        super().__init__()
        self.terminal = Terminal()
        self.worker = multiprocessing.current_process().name != "MainProcess"
        self.pending = False  # True: the cursor is at the end of a live line

    def emit(self, record: logging.LogRecord) -> None:
        terminal, progress = self.terminal, getattr(record, "progress", None)
        if self.pending:
            terminal.erase_line()
        self.pending = progress is not None and terminal.live and not self.worker
        if self.pending and progress is not None:
            terminal.show_live(progress)
            return
        name = getattr(record, "run", "") if self.worker else ""
        terminal.show(f"{name}{GAP if name else ''}{record.getMessage()}", style=STYLES.get(record.levelno))


@contextlib.contextmanager
def logging_to(handler: logging.Handler) -> Iterator[None]:
    """Sends the log messages of gan_runner to this handler too; restores the state of the logger afterwards."""
    log = logging.getLogger("gan_runner")
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


@contextlib.contextmanager
def lines_of_run(name: str) -> Iterator[None]:
    """Adds the run's name to every log record, for the workers of a parallel sweep."""

    def add(record: logging.LogRecord) -> bool:
        vars(record)["run"] = name
        return True

    handlers = list(logging.getLogger().handlers)
    for handler in handlers:
        handler.addFilter(add)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(add)


def live_line(progress: Progress, columns: int) -> Text:
    """Returns the first field, a progress bar, and as many of the other fields as fit."""
    first, *rest = progress.fields
    width = max(BAR[0], min(BAR[1], columns // 5))
    done = round(width * progress.share)
    bar = ("━" * done, "bar.complete"), ("─" * (width - done), "bar.back")
    line = Text.assemble(first, GAP, *bar, GAP, fit(rest, columns - len(first) - 2 * len(GAP) - width))
    line.truncate(columns)
    return line


def fit(fields: Sequence[str], columns: int) -> str:
    """Returns the first fields that fit into the columns, joined."""
    line = ""
    for field in fields:
        longer = f"{line}{GAP}{field}" if line else field
        if len(longer) > columns:
            break
        line = longer
    return line


def table(heads: Iterable[str], rows: Iterable[Sequence[object]], numbers: Sequence[str] = ()) -> Table:
    """Returns a table without borders; the columns named in `numbers` are aligned to the right."""
    drawn = Table(box=None, pad_edge=False, padding=(0, len(GAP), 0, 0), header_style="bold")
    for head in heads:
        drawn.add_column(head, justify="right" if head in numbers else "left", overflow="fold")
    for cells in rows:
        drawn.add_row(*(Text(str(cell)) for cell in cells))
    return drawn


def show_error(sentence: object, style: str = "red") -> None:
    """Prints one sentence on stderr."""
    with contextlib.suppress(BrokenPipeError):
        Terminal(stderr=True).show(str(sentence), style=style)


def silence(stream: Any = None) -> None:
    """Discards everything that the process writes to the stream (by default stdout) from now on."""
    with contextlib.suppress(OSError, ValueError):  # a stream without a file
        os.dup2(os.open(os.devnull, os.O_WRONLY), (stream or sys.stdout).fileno())


def keep_files_off_closed_streams() -> None:
    """Opens closed standard streams (descriptors 0 to 2) on /dev/null, so that no other file gets their numbers."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)


def duration(seconds: float) -> str:
    """Returns a duration as text, such as 42 s, 3 min 5 s, 2 h 10 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
