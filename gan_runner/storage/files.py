"""Files that are whole or absent."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from gan_runner.errors import NotWritten


@contextlib.contextmanager
def storing(folder: Path) -> Iterator[None]:
    """What the operating system refuses within it becomes NotWritten, one sentence without a traceback."""
    try:
        yield
    except OSError as error:
        raise NotWritten(folder, error) from error


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Calls write(file) on a temporary neighbour, then gives it its name: a reader sees all of it or none."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:  # a second Ctrl-C, too, leaves nothing half written
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
