"""Packing: images are decoded once, in parallel, into one file that is mapped into memory. No torch (see picture).

A packed set is a folder of the cache: `pixels`, (N, C, H, W) uint8 one after another, and `index.json`, which is
written last: without it the set is incomplete. An interrupted packing resumes from its journal.
"""

import contextlib
import gc
import hashlib
import json
import logging
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from gan_runner.dataset.image_files import Found, Source, shown
from gan_runner.dataset.picture import Form, OtherSize, Unreadable, decoded
from gan_runner.errors import ConfigError, require
from gan_runner.storage import lock
from gan_runner.storage.files import write_atomically

log = logging.getLogger(__name__)

VERSION = 1  # of the file format and of the decoding
PART = 256  # images that are decoded together
FEW = 512  # images that one process decodes in the time that other processes need to start
COMMIT = 5.0  # seconds between commits: about the work that a kill can lose, without the time of the flush
AHEAD = 4  # parts for each process that are submitted in advance
LISTED = 20  # broken files, at most, that a message names
PATIENCE = 0.5  # seconds between two attempts to lock a set that another process packs
INDEX, PIXELS, PART_FILE, WHOLE_FILE, JOURNAL = "index.json", "pixels", "pixels.part", "pixels.whole", "journal"


class Broken(NamedTuple):
    position: int  # in the requested list of files
    reason: str


@dataclass(frozen=True)
class Packed:
    """A packed set in the cache."""

    folder: Path
    count: int
    form: Form
    content: str  # hash of the pixels
    broken: tuple[Broken, ...]
    fresh: bool  # whether this call packed it

    @property
    def pixels(self) -> Path:
        return self.folder / PIXELS

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self.count, self.form.channels, self.form.height, self.form.width


class Request(NamedTuple):
    """The images to pack, in this order. gray_or_rgb: one channel if all images are gray, else three."""

    source: Source
    found: Sequence[Found]
    form: Form
    gray_or_rgb: bool
    max_broken: float  # the largest allowed share of broken files

    @property
    def size(self) -> int:
        """Bytes of an image during packing."""
        return self.form.channels * self.form.height * self.form.width

    def key(self) -> str:
        digest = hashlib.sha256(json.dumps([VERSION, asdict(self.form), self.gray_or_rgb]).encode())
        for found in self.found:
            digest.update(f"\n{found.name}\0{found.stamp}".encode("utf-8", "surrogatepass"))
        return digest.hexdigest()[:20]


def packed(cache_dir: str, label: str, request: Request) -> Packed:
    """Returns the cached set, packed now if missing. ConfigError if too many files are broken or no room is left."""
    require(bool(cache_dir), "cache_dir='' names no folder; give one, or unset GAN_RUNNER_CACHE for the usual one")
    folder = Path(cache_dir).expanduser() / f"{label}-{request.key()}"
    found = in_cache(folder)
    if found is None:
        with writing_cache(cache_dir):
            folder.mkdir(parents=True, exist_ok=True)
            with held(folder):
                try:
                    found = in_cache(folder) or pack(folder, request)
                except OtherSize:  # the images packed so far are useless
                    for name in (PART_FILE, JOURNAL):
                        (folder / name).unlink(missing_ok=True)
                    raise
    check_broken(request, found.broken)
    return found


def in_cache(folder: Path) -> Packed | None:
    """Returns a completely packed set; None if it is missing or incomplete."""
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        broken = tuple(Broken(*pair) for pair in index["broken"])
        found = Packed(folder, index["count"], Form(**index["form"]), index["content"], broken, fresh=False)
        whole = found.pixels.stat().st_size == int(np.prod(found.shape))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if whole else None


@contextlib.contextmanager
def writing_cache(cache_dir: str) -> Iterator[None]:
    """Converts errors of the operating system within its block into a ConfigError of one sentence."""
    try:
        yield
    except BrokenPipeError:  # an error of the terminal, not of the cache
        raise
    except OSError as error:
        raise ConfigError(
            f"dataset.cache_dir={cache_dir} cannot be written ({error.strerror or error}); make room or allow it, or "
            f"name another folder with dataset.cache_dir= or GAN_RUNNER_CACHE."
        ) from error


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Locks the folder; waits while another process packs the same set."""
    with contextlib.ExitStack() as stack:
        waits = False
        while True:
            try:
                stack.enter_context(lock.hold(folder))
                break
            except lock.InUse as holder:
                if not waits:
                    log.info("%s is being packed by %s; waiting for it", folder, holder)
                waits = True
                time.sleep(PATIENCE)
        yield


def check_broken(request: Request, broken: Sequence[Broken]) -> None:
    total = len(request.found)
    most = min(int(request.max_broken * total), total - 1)
    if len(broken) > most:
        named = "; ".join(named_with_reason(request, broken[:LISTED]))
        rest = f"; and {len(broken) - LISTED} more" if len(broken) > LISTED else ""
        raise ConfigError(
            f"dataset.max_broken={request.max_broken:g} allows {most} of {total} files to be unreadable, and these "
            f"are: {named}{rest}. Mend or remove them, or raise it (up to 1)."
        )


def named_with_reason(request: Request, broken: Sequence[Broken]) -> list[str]:
    """Returns the name of each broken file with the reason."""
    return [f"{shown(request.found[position].name)} ({shown(reason)})" for position, reason in broken]


# ---- packing


class State(NamedTuple):
    """The progress of a packing; a line of its journal."""

    done: int = 0  # requested files that are processed, each at its place in the file
    content: str = ""  # hash of the images so far
    gray: bool = True  # whether all images so far are gray
    broken: tuple[Broken, ...] = ()  # broken files, whose places are empty


def pack(folder: Path, request: Request) -> Packed:
    """Decodes all images into the file, resuming an interrupted attempt. The caller must hold the folder's lock."""
    total, growing = len(request.found), folder / PART_FILE
    with open(folder / JOURNAL, "ab+") as journal, open(growing, "ab") as pixels:
        if pixels.tell() != total * request.size:
            journal.truncate(0)
            require_room(folder, total * request.size)
            pixels.truncate(total * request.size)
        state = resumed(journal)
        check_broken(request, state.broken)
        progress, saved = Progress(total, state.done), time.monotonic()
        with contextlib.closing(decode_all(request, growing, state.done)) as parts:
            for part in parts:
                state = advanced(state, part)
                check_broken(request, state.broken)
                if time.monotonic() - saved > COMMIT:
                    os.fsync(pixels.fileno())  # the images must reach the disk before the line that counts them
                    journal.write(json.dumps(state).encode() + b"\n")
                    journal.flush()
                    saved = time.monotonic()
                progress.show(state.done)
        os.fsync(pixels.fileno())
    return concluded(folder, request, state)


def advanced(state: State, part: "Decoded") -> State:
    content = hashlib.sha256(f"{state.content}{part.content}".encode()).hexdigest()
    return State(part.done, content, state.gray and part.gray, state.broken + part.broken)


def resumed(journal: BinaryIO) -> State:
    """Returns the state of the last complete line of the journal."""
    journal.seek(0)
    state = State()
    for line in journal.read().split(b"\n"):
        with contextlib.suppress(ValueError, TypeError):
            done, content, gray, broken = json.loads(line)
            state = State(done, content, gray, tuple(Broken(*pair) for pair in broken))
    journal.write(b"\n")
    return state


def concluded(folder: Path, request: Request, state: State) -> Packed:
    form = replace(request.form, channels=1) if request.gray_or_rgb and state.gray else request.form
    growing, whole = folder / PART_FILE, folder / WHOLE_FILE
    if state.broken or form != request.form:
        close_up(growing, whole, request, state.broken, form)
    else:
        os.replace(growing, whole)
    os.replace(whole, folder / PIXELS)
    count = len(request.found) - len(state.broken)
    index = {"count": count, "form": asdict(form), "content": state.content, "broken": state.broken}
    write_atomically(folder / INDEX, lambda file: file.write(json.dumps(index).encode()))
    for rest in (growing, folder / JOURNAL):
        rest.unlink(missing_ok=True)
    return Packed(folder, count, form, state.content, state.broken, fresh=True)


def close_up(growing: Path, whole: Path, request: Request, broken: Sequence[Broken], form: Form) -> None:
    """Copies the file without the places of broken files; of gray images it copies one of three equal channels."""
    missing = {position for position, _ in broken}
    with open(growing, "rb") as old, open(whole, "wb") as new:
        for position in range(len(request.found)):
            image = old.read(request.size)
            if position not in missing:
                new.write(image[: form.channels * form.height * form.width])
        new.flush()
        os.fsync(new.fileno())


def require_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ConfigError(
            f"dataset.cache_dir: {folder.parent} has room for {free / 1e6:.1f} MB and the images take "
            f"{needed / 1e6:.1f} MB; make room, choose a smaller dataset.size, or another folder with "
            f"dataset.cache_dir=."
        )


class Progress:
    """Logs a line for each percent, but at most one line a second."""

    def __init__(self, total: int, done: int):
        self.total, self.first, self.percent = total, done, 0
        self.began = self.shown_at = time.monotonic()

    def show(self, done: int) -> None:
        now, percent = time.monotonic(), 100 * done // self.total
        if percent == self.percent or (now - self.shown_at < 1 and done < self.total):
            return
        self.shown_at, self.percent = now, percent
        rate = (done - self.first) / (now - self.began)
        bar = "#" * (percent // 5) + "." * (20 - percent // 5)
        left = (self.total - done) / rate
        fields = [f"packing {bar} {done:,} of {self.total:,} images", f"{rate:.0f} images/s", f"{left:.0f} s left"]
        log.info("  ".join(fields), extra={"fields": fields})


# ---- decoding, in one or several processes


class Decoded(NamedTuple):
    """The result of one part, whose images are in the file."""

    done: int  # requested files that are processed, this part included
    content: str  # hash of the images
    gray: bool
    broken: tuple[Broken, ...]


def decode_all(request: Request, growing: Path, start: int) -> Generator[Decoded, None, None]:
    """Decodes the parts from `start` on; yields their results in order."""
    total = len(request.found)
    parts = ((at, request.found[at : at + PART]) for at in range(start, total, PART))
    decode = partial(decode_part, request.source, request.form, growing)
    processes = cores()
    alone = multiprocessing.current_process().daemon  # true in some parallel sweeps; a daemon may not start processes
    if processes == 1 or alone or total - start < FEW:
        yield from map(decode, parts)
        return
    # a fork starts faster, but would copy locks that other threads hold
    forks = sys.platform == "linux" and threading.active_count() == 1
    context = multiprocessing.get_context("fork" if forks else "spawn")
    with ProcessPoolExecutor(processes, context, stay_with_parent) as pool:
        try:
            coming = deque(pool.submit(decode, part) for part in islice(parts, AHEAD * processes))
            while coming:
                yield coming.popleft().result()
                coming.extend(pool.submit(decode, part) for part in islice(parts, 1))
        except BrokenProcessPool as error:
            raise ConfigError(
                "dataset: a process that decodes images was killed (out of memory?); the same command goes on from "
                "where it was."
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def stay_with_parent() -> None:
    """Makes a process of the pool ignore Ctrl-C, which its parent handles, and end when its parent is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()  # garbage collection would copy the memory shared with the parent
    threading.Thread(target=follow, args=(multiprocessing.parent_process(),), daemon=True).start()


def follow(parent: Any) -> None:
    parent.join()
    os._exit(1)


def decode_part(source: Source, form: Form, growing: Path, part: tuple[int, Sequence[Found]]) -> Decoded:
    """Decodes the images of one part into their places in the file."""
    start, found = part
    pixels = np.zeros((len(found), form.channels, form.height, form.width), np.uint8)
    broken, gray = [], True
    for number, each in enumerate(found):
        try:
            with source.open(each) as file:
                pixels[number], was_gray = decoded(file, form)
            gray = gray and was_gray
        except Unreadable as error:
            broken.append(Broken(start + number, str(error)))
    with open(growing, "rb+") as file:
        file.seek(start * pixels[0].size)
        file.write(pixels.data)
    return Decoded(start + len(found), hashlib.sha256(pixels.data).hexdigest(), gray, tuple(broken))
