"""Atomic writes, and one-sentence errors for writes that fail."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from gan_runner.errors import NotWritten


@contextlib.contextmanager
def storing(folder: Path, *then: str) -> Iterator[None]:
    """A context that turns OSError into NotWritten, which the command prints as one sentence without a traceback.

    then: what the same command does next time, if it does not go on from a checkpoint.
    """
    try:
        yield
    except OSError as error:
        raise NotWritten(folder, error, *then) from error


def write_atomically(path: Path, write: Callable[[BinaryIO], object], durable: bool = True) -> None:
    """Calls write(file) on a temporary file, then renames it to `path`: a reader sees all of the content or none.

    durable: False leaves the flush to the disk to the caller, or to the system.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:  # includes KeyboardInterrupt: no temporary file stays behind
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    if durable:
        flush(path.parent)


def flush(path: Path) -> None:
    """Flushes a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
