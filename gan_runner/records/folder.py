"""The run folder: its name, its identity, its lock and its summary."""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from gan_runner.errors import ConfigError
from gan_runner.storage import lock
from gan_runner.storage.files import storing, write_atomically

# Settings that do not change the result, and so are part of neither the name nor the identity of a run.
WITHOUT_EFFECT = (
    *("train.total_*", "train.*_every", "train.keep_checkpoints", "train.grid", "train.select_by"),
    "train.patience",
    *("train.on_divergence", "train.fresh", "dataset.root", "dataset.cache_dir", "device.kind", "device.data"),
    "device.graphs",
    *("metric", "metric.*", "study", "name", "hydra", "hydra.*"),
)
YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C seven times as fast, for who reads many folders
LONGEST = 200  # bytes of a folder's name, of the 255 that file systems allow
SAFE = "letters, digits and = , . _ + -"


def flatten(config: Any, path: str = "") -> dict[str, Any]:
    """Nested mappings -> dotted key: value. An empty mapping stays a value."""
    if not isinstance(config, Mapping) or not config:
        return {path: config}
    leaves: dict[str, Any] = {}
    for key, value in config.items():
        leaves |= flatten(value, f"{path}.{key}" if path else str(key))
    return leaves


def canonical(value: Any) -> Any:
    """1 and 1.0 are one value; so are a list and a tuple."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list | tuple):
        return [canonical(item) for item in value]
    return value


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """The resolved settings that change the result, flat, by dotted key."""
    leaves = flatten(config)
    return {
        key: canonical(value)
        for key, value in sorted(leaves.items())
        if not any(fnmatchcase(key, pattern) for pattern in WITHOUT_EFFECT)
    }


def config_hash(config: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(identity(config), default=str).encode()).hexdigest()[:16]


def differences(stored: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """'key: stored value, asked value' for each setting that differs."""
    one, other = identity(stored), identity(asked)
    return [
        f"{key} was {show(one.get(key, 'absent'))}, now {show(other.get(key, 'absent'))}"
        for key in sorted(one.keys() | other.keys())
        if one.get(key, ...) != other.get(key, ...)
    ]


def show(value: Any) -> str:
    """A value as it is typed on the command line; equal values look alike."""
    value = canonical(value)
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, list):
        return f"[{','.join(show(item) for item in value)}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{show(item)}' for key, item in value.items())}}}"
    return str(value)


def folder_name(settings: list[str]) -> str:
    """A safe file name from `key=value` strings; nothing left is `default`."""
    name = escape(",".join(sorted(settings))) or "default"
    if len(name) <= LONGEST:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:10]
    return f"{name[: LONGEST - len(digest) - 1].rstrip('%')}-{digest}"


def escape(name: str) -> str:
    """Percent-encodes every byte outside letters, digits and =,._+- (and a leading dot); two names never become one."""
    safe = re.sub(rb"[^A-Za-z0-9=,._+-]", lambda match: b"%%%02X" % ord(match[0]), os.fsencode(name)).decode()
    return re.sub(r"^\.", "%2E", safe)


def chosen_name(setting: str, value: Any) -> str:
    """A folder name that the user typed himself: refused rather than changed when it is not safe."""
    name = str(value)
    if not re.fullmatch(rf"(?!\.)[A-Za-z0-9=,._+-]{{1,{LONGEST}}}", name):
        raise ConfigError(
            f"{setting}={name[:80]!r} is no folder name; use 1 to {LONGEST} of {SAFE}, not beginning with a dot."
        )
    return name


class RunFolder:
    """Paths of one run. Nothing is created before `claim`."""

    def __init__(self, path: Path):
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.config = path / "config.yaml"
        self.summary = path / "summary.json"

    def check_identity(self, config: Mapping[str, Any]) -> None:
        """Refuses to go on with another configuration than the one that began the folder."""
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
        """The configuration that the folder was begun with, or nothing where there is no run yet."""
        if not self.config.exists():
            if any(self.checkpoints.glob("step-*.pt")):
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
        """Refuses links that lead out of a folder that may come from a stranger."""
        home = self.path.resolve()
        for path in (self.config, self.path / "samples", self.checkpoints, *self.checkpoints.glob("*.pt")):
            if not path.resolve().is_relative_to(home):
                raise ConfigError(
                    f"{path} leads out of the run folder, to {path.resolve()}; put the thing itself there."
                )

    def unreadable(self, what: str) -> ConfigError:
        return ConfigError(f"{self.config} {what}; put it back, or start the run over with train.fresh=true.")

    @contextlib.contextmanager
    def claim(self, config: Mapping[str, Any], fresh: bool) -> Iterator[None]:
        """Makes the folder and holds it against other processes; fresh: moves what was there aside first."""
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
        """Makes the folder and holds it against other processes."""
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
        """As summary.json says; `killed` where it says `running` and no process holds the folder."""
        said = self.read_summary().get("status")
        return "killed" if said == "running" and not lock.is_held(self.path) else said

    def move_aside(self) -> None:
        """Moves everything but the lock to outputs/.old/NAME-N."""
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
        """summary.json, or nothing where there is none that can be read."""
        try:
            content = json.loads(self.summary.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        text = json.dumps(summary, indent=2) + "\n"
        write_atomically(self.summary, lambda file: file.write(text.encode()))


class FolderOfAnother(RunFolder):
    """The run folder as ranks see it that neither read nor write it: the first one does."""

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
