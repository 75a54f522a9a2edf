"""A cache on disk, shared by runs, for costly results about real images."""

import contextlib
import hashlib
import io
import logging
import pickle
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from gan_runner.errors import ConfigError
from gan_runner.storage import lock
from gan_runner.storage.files import write_atomically

DAMAGE = (EOFError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, pickle.UnpicklingError)
PATIENCE = 0.2  # seconds between two attempts to lock a result that another process computes
FILE = "content.pt"

log = logging.getLogger(__name__)

Content = dict[str, Any]  # tensors and plain values


class Cache:
    """A cache with one folder for each result, named by a hash of everything that the result depends on."""

    def __init__(self, folder: str):
        if not folder:
            raise ConfigError("metric.cache_dir='' names no folder; give one, or unset GAN_RUNNER_CACHE.")
        self.folder = Path(folder).expanduser()

    def get_or_compute(self, kind: str, key: str, make: Callable[[Content | None], Content | None]) -> Content:
        """Returns the content of `key`. `make` gets the stored content or None, and returns its replacement or None.

        If several processes need the same content, one computes it and the others wait. ConfigError if the cache cannot
        be written.
        """
        home = self.folder / "metrics" / f"{kind}-{hashlib.sha256(key.encode()).hexdigest()[:20]}"
        try:
            home.mkdir(parents=True, exist_ok=True)
            with waiting_for(home):
                found = read(home / FILE, key)
                made = make(found)
                if made is not None:
                    buffer = io.BytesIO()
                    torch.save({"key": key, **made}, buffer)
                    write_atomically(home / FILE, lambda file: file.write(buffer.getbuffer()))
        except OSError as error:
            raise ConfigError(
                f"metric.cache_dir={self.folder} cannot be written ({error.strerror or error}); make room or allow "
                f"it, or name another folder with metric.cache_dir= or GAN_RUNNER_CACHE."
            ) from error
        content = found if made is None else made
        assert content is not None  # `make` returns new content if nothing is stored
        return content


def read(path: Path, key: str) -> Content | None:
    """Returns the stored content; None if the file is missing or, with a warning, damaged."""
    if not path.exists():
        return None
    try:
        content: Content = torch.load(path, map_location="cpu", weights_only=True)
        if content.pop("key") != key:
            raise ValueError("it belongs to something else")
    except DAMAGE as error:
        log.warning("%s is damaged (%s); it is made anew", path, str(error).split("\n")[0])
        return None
    return content


@contextlib.contextmanager
def waiting_for(home: Path) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(lock.hold(home))
                break
            except lock.InUse:
                time.sleep(PATIENCE)
        yield
