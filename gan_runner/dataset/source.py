"""Datasets that torchvision knows: read where they are, downloaded only where they are absent."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from gan_runner.errors import ConfigError

T = TypeVar("T")


def found_or_downloaded(name: str, root: str, folder: Path, files: str, fetch: Callable[[], T]) -> T:
    """fetch(), where torchvision looks into `folder` below `root`; ConfigError that says which files belong there."""
    absent = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    try:
        return fetch()
    # URLError is an OSError; ValueError: a file cut short; ModuleNotFoundError: a package that only downloads need
    except (OSError, RuntimeError, ValueError, ModuleNotFoundError) as error:
        remove_empty(absent)
        reason = str(error).split("\n")[0] or type(error).__name__
        raise ConfigError(
            f"dataset.root={root}: {name} is not whole in {folder} and was not downloaded ({reason}); put {files} "
            f"there, or name the folder that has them with dataset.root= or GAN_RUNNER_DATA."
        ) from error


def remove_empty(folders: list[Path]) -> None:
    """What the attempt to download made."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()
