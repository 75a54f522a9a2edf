"""Checkpoints that are whole or absent: written beside their final name, flushed to the disk, renamed."""

import logging
import pickle
import re
from pathlib import Path
from typing import Any

import torch

from gan_runner.files import write_atomically

FORMAT = 1
NAME = re.compile(r"step-(\d{8,})\.pt")
DAMAGE = (OSError, EOFError, RuntimeError, ValueError, KeyError, TypeError, pickle.UnpicklingError)

log = logging.getLogger(__name__)


def checkpoints(folder: Path) -> list[Path]:
    """From the oldest to the newest."""
    found = [path for path in folder.glob("step-*.pt") if NAME.fullmatch(path.name)]
    return sorted(found, key=step_of)


def step_of(path: Path) -> int:
    match = NAME.fullmatch(path.name)
    assert match is not None, path  # only called on names that matched
    return int(match[1])


def save(folder: Path, step: int, state: dict[str, Any], keep: int) -> Path:
    """Writes step-NNNNNNNN.pt atomically, then removes all but the newest `keep`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{step:08d}.pt"
    write_atomically(path, lambda file: torch.save({"format": FORMAT, "state": state}, file))
    for old in checkpoints(folder)[:-keep]:
        old.unlink()
    return path


def set_aside_after(folder: Path, step: int | None) -> None:
    """Renames what lies past the step that a run goes on from: it could not be read, and must not count as newest."""
    for path in checkpoints(folder):
        if step is None or step_of(path) > step:
            path.rename(path.with_suffix(".damaged"))


def load(path: Path) -> dict[str, Any]:
    """The state of one checkpoint, on the CPU. Nothing but tensors and plain values is unpickled."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    if content["format"] != FORMAT:
        raise ValueError(f"it has format {content['format']}, this version reads {FORMAT}")
    state: dict[str, Any] = content["state"]
    return state


def load_latest(folder: Path) -> dict[str, Any] | None:
    """The newest state that can be read; a damaged file is named and the one before it is used."""
    for path in reversed(checkpoints(folder)):
        try:
            return load(path)
        except DAMAGE as error:
            log.warning("checkpoint %s cannot be read (%s); trying the one before it", path, str(error).split("\n")[0])
    return None
