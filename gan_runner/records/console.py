"""The terminal: one live line of progress where there is a terminal, plain lines elsewhere."""

import logging
import multiprocessing
import shutil
import sys

GAP = "  "


class Console(logging.Handler):
    """Prints log records to stdout; those with `fields` are progress, which a terminal shows in one line.

    A worker of a parallel sweep shares its terminal with others: it prints plain lines that begin with the run's name.
    """

    def __init__(self) -> None:
        super().__init__()
        self.worker = multiprocessing.current_process().name != "MainProcess"
        self.live = sys.stdout.isatty() and not self.worker
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
        sys.stdout.write(f"{clear}{line}{end}")
        sys.stdout.flush()


def fit(fields: list[str], columns: int) -> str:
    """The first fields that fit into a line."""
    line = fields[0]
    for field in fields[1:]:
        if len(line) + len(GAP) + len(field) > columns:
            break
        line += GAP + field
    return line[:columns]


def duration(seconds: float) -> str:
    """42 s, 3 min 5 s, 2 h 10 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
