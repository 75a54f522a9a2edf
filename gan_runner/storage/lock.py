"""One process a folder: an advisory lock of the file system or, where it has none, a heartbeat."""

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
BEAT = 5.0  # seconds between two beats
SILENCE = 60.0  # seconds without one after which the process counts as dead
PATIENCE = 0.2  # seconds that a look at the lock by `is_held` may take


class InUse(Exception):
    """Another process holds the folder; the message says which, as far as it is known."""


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Holds a folder that exists until the context ends or the process dies."""
    with open(folder / LOCK, "a", encoding="utf-8") as handle:  # kept open: closing it is what releases the lock
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
        (folder / OWNER).write_text(myself(), encoding="utf-8")
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                (folder / OWNER).unlink()


def take(descriptor: int) -> None:
    """BlockingIOError when another process has it for longer than a look at it takes."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(PATIENCE / 10)


def is_held(folder: Path) -> bool:
    """Does a living process hold the folder? Without locks in the file system: as its heartbeat says."""
    try:
        with open(folder / LOCK, "rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except OSError as error:
        return error.errno in WITHOUT_LOCKS and is_beating(folder / HEARTBEAT)


def holder(folder: Path) -> int | None:
    """The process of this machine that holds the folder by a lock."""
    who = re.fullmatch(r"process (\d+) on (.*)", read(folder / OWNER))
    return int(who[1]) if who and who[2] == socket.gethostname() and is_held(folder) else None


def myself() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").split("\n")[0]
    except OSError:
        return ""


# ---- file systems without locks: a file that exists once and is touched as long as its process lives


@contextlib.contextmanager
def beating(path: Path) -> Iterator[None]:
    mine = f"{myself()}\n{uuid.uuid4()}"
    if not is_beating(path):
        path.unlink(missing_ok=True)
    with contextlib.suppress(FileExistsError), open(path, "x", encoding="utf-8") as file:
        file.write(mine)
    time.sleep(PATIENCE)  # another that saw the same silence may have removed ours
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
    """Was it touched of late? Both times are the file system's, whose clock may differ from ours."""
    probe = path.with_name(f"{path.name}.{uuid.uuid4()}")
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime < SILENCE
    except FileNotFoundError:
        return False
    finally:
        probe.unlink(missing_ok=True)
