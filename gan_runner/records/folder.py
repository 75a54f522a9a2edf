"""The run folder: its paths, its lock, its configuration and its summary."""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from gan_runner.errors import ConfigError
from gan_runner.records.identity import differences
from gan_runner.storage import lock
from gan_runner.storage.files import storing, write_atomically

YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C seven times as fast, for commands that read many folders


class RunFolder:
    """The folder of one run. Nothing is created before `claim`."""

    def __init__(self, path: Path):
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.config = path / "config.yaml"
        self.summary = path / "summary.json"

    @property
    def has_checkpoint(self) -> bool:
        return any(self.checkpoints.glob("step-*.pt"))

    def check_identity(self, config: Mapping[str, Any]) -> None:
        """ConfigError if `config` is not the configuration that the run in the folder was started with."""
        stored = self.read_config()
        if stored is None:
            return
        changed = differences(stored, config)
        if changed:
            raise ConfigError(
                f"{self.path} holds another configuration: {'; '.join(changed)}. "
                f"Give this run a name of its own with name=..., or start it over with train.fresh=true."
            )

    def read_config(self) -> dict[str, Any] | None:
        """Returns the configuration that the run was started with, or None if the folder holds no run."""
        self.check_readable()
        if not self.config.exists():
            if self.has_checkpoint:
                raise self.unreadable("is missing beside its checkpoints")
            return None
        try:
            stored = yaml.load(self.config.read_text(encoding="utf-8"), YAML)
        except (yaml.YAMLError, UnicodeDecodeError):
            raise self.unreadable("is damaged") from None
        if not isinstance(stored, dict):
            raise self.unreadable("is damaged")
        return stored

    def check_inside(self) -> None:
        """ConfigError if it may not be read, or a link leads out of it: it may come from an untrusted source."""
        self.check_readable()
        home = self.path.resolve()
        for path in (self.config, self.path / "samples", self.checkpoints, *self.checkpoints.glob("*.pt")):
            if not path.resolve().is_relative_to(home):
                raise ConfigError(
                    f"{path} leads out of the run folder, to {path.resolve()}; put the thing itself there."
                )

    def check_readable(self) -> None:
        """ConfigError if the user may not read a part of the folder that is there."""
        for path in (self.path, self.checkpoints, self.config):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                mode = os.R_OK | os.X_OK if path.is_dir() else os.R_OK
                if path.exists() and not os.access(path, mode):
                    raise ConfigError(f"{path} cannot be read (permission denied); allow it, or copy the run folder.")

    def unreadable(self, what: str) -> ConfigError:
        return ConfigError(f"{self.config} {what}; put it back, or start the run over with train.fresh=true.")

    @contextlib.contextmanager
    def claim(self, config: Mapping[str, Any], fresh: bool) -> Iterator[None]:
        """Creates and locks the folder for a run of this configuration; fresh: first moves old content aside."""
        with self.locked():
            with storing(self.path):
                if fresh:
                    self.move_aside()
                else:
                    self.check_identity(config)
                if not self.config.exists():
                    self.write_config(config)
            yield

    def write_config(self, config: Mapping[str, Any]) -> None:
        text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
        write_atomically(self.config, lambda file: file.write(text.encode()))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Creates the folder and locks it against other processes."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{self.path} cannot be made ({error.strerror}); choose another name=...") from error
        with contextlib.ExitStack() as stack:
            try:
                with storing(self.path):
                    stack.enter_context(lock.hold(self.path))
            except lock.InUse as holder:
                raise ConfigError(
                    f"{self.path} is in use by {holder}; wait for it, or give this run another folder with name=..."
                ) from None
            yield

    def status(self) -> str | None:
        """Returns the status in summary.json, or `killed` if that is `running` and no process holds the folder."""
        status = self.read_summary().get("status")
        return "killed" if status == "running" and not lock.is_held(self.path) else status

    def move_aside(self) -> None:
        """Moves everything except the lock to outputs/.old/NAME-N."""
        content = [path for path in self.path.iterdir() if path.name not in lock.FILES]
        if not content:
            return
        old = self.path.parent / ".old"
        number = 1
        while (target := old / f"{self.path.name}-{number}").exists():
            number += 1
        target.mkdir(parents=True)
        for path in content:
            path.rename(target / path.name)

    def read_summary(self) -> dict[str, Any]:
        """Returns the content of summary.json; empty if there is no readable file."""
        try:
            content = json.loads(self.summary.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        text = json.dumps(summary, indent=2) + "\n"
        write_atomically(self.summary, lambda file: file.write(text.encode()))


class FolderOfAnother(RunFolder):
    """The run folder for all ranks but the first, which alone reads and writes the files."""

    def read_config(self) -> None:
        return None

    def write_config(self, config: Mapping[str, Any]) -> None:
        pass

    @contextlib.contextmanager
    def claim(self, config: Mapping[str, Any], fresh: bool) -> Iterator[None]:
        yield

    def read_summary(self) -> dict[str, Any]:
        return {}

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        pass
