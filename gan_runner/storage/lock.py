"""A lock on a folder for one process: an advisory file lock, or a heartbeat file if the file system has no locks."""

import contextlib
import errno
import fcntl
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

FILES = LOCK, OWNER, HEARTBEAT = ".lock", ".owner", ".heartbeat"
WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
BEAT = 5.0  # seconds between two heartbeats
SILENCE = 60.0  # seconds without a heartbeat after which the process counts as dead
PATIENCE = 0.2  # seconds that `is_held` of another process may hold the lock for its check


class InUse(Exception):
    """Another process holds the folder; the message names the process if it is known."""


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Locks an existing folder until the context ends or the process dies. InUse if another process holds it."""
    with open(folder / LOCK, "a", encoding="utf-8") as handle:  # stays open: closing the file releases the lock
        try:
            take(handle.fileno())
        except BlockingIOError:
            raise InUse(read(folder / OWNER) or "another process") from None
        except OSError as error:
            if error.errno not in WITHOUT_LOCKS:
                raise
            with beating(folder / HEARTBEAT):
                yield
            return
        (folder / OWNER).write_text(this_process(), encoding="utf-8")
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                (folder / OWNER).unlink()


def take(descriptor: int) -> None:
    """Takes the lock. BlockingIOError if another process holds it for longer than PATIENCE."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(PATIENCE / 10)


def is_held(folder: Path) -> bool:
    """Returns True if a running process holds the folder; without file locks, if its heartbeat is recent."""
    try:
        with open(folder / LOCK, "rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except OSError as error:
        return error.errno in WITHOUT_LOCKS and is_beating(folder / HEARTBEAT)


def holder(folder: Path) -> int | None:
    """Returns the id of the process of this machine that holds the folder by a file lock, or None."""
    who = re.fullmatch(r"process (\d+) on (.*)", read(folder / OWNER))
    return int(who[1]) if who and who[2] == socket.gethostname() and is_held(folder) else None


def this_process() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").split("\n")[0]
    except OSError:
        return ""


# ---- file systems without locks: one file, which its process touches regularly as long as it runs


@contextlib.contextmanager
def beating(path: Path) -> Iterator[None]:
    mine = f"{this_process()}\n{uuid.uuid4()}"
    if not is_beating(path):
        path.unlink(missing_ok=True)
    with contextlib.suppress(FileExistsError), open(path, "x", encoding="utf-8") as file:
        file.write(mine)
    time.sleep(PATIENCE)  # another process that found no heartbeat either may have removed our file
    if not path.exists() or path.read_text(encoding="utf-8") != mine:
        raise InUse(read(path) or "another process")
    done = threading.Event()
    thread = threading.Thread(target=beat, args=(path, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        path.unlink(missing_ok=True)


def beat(path: Path, done: threading.Event) -> None:
    while not done.wait(BEAT):
        with contextlib.suppress(OSError):
            os.utime(path)


def is_beating(path: Path) -> bool:
    """Returns True if the file was touched in the last SILENCE seconds.

    Both times come from the file system, whose clock may differ from that of this machine.
    """
    probe = path.with_name(f"{path.name}.{uuid.uuid4()}")
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime < SILENCE
    except FileNotFoundError:
        return False
    finally:
        probe.unlink(missing_ok=True)
