"""Configurations in Python: `compose` takes the overrides of the command line."""

import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from gan_runner.cli.compose import loader_of
from gan_runner.cli.naming import run_path
from gan_runner.cli.request import Request, request_of
from gan_runner.errors import ConfigError


class Config(Mapping[str, Any]):
    """A composed configuration, read-only, with the overrides that gave it: the name of the run comes from them.

    `config["train"]["total_steps"]` and `config["train.total_steps"]` are the same value.
    """

    def __init__(self, request: Request, config_dir: str | None = None):
        self.request, self.config_dir = request, config_dir
        self.settings: Mapping[str, Any] = read_only(request.config)

    @property
    def overrides(self) -> tuple[str, ...]:
        """The overrides, as they were given."""
        return self.request.overrides

    @cached_property
    def path(self) -> Path:
        """The run folder, relative to the working directory. ConfigError if `name` or `study` is no folder name."""
        return run_path(self.request)

    @property
    def command(self) -> str:
        """The command line that trains the same run."""
        directory = ["--config-dir", self.config_dir] if self.config_dir is not None else []
        return shlex.join(["python", "-m", "gan_runner", *directory, *self.overrides])

    def __getitem__(self, key: str) -> Any:
        node: Any = self.settings
        for part in key.split("."):
            if not isinstance(node, Mapping) or part not in node:
                raise KeyError(key)
            node = node[part]
        return node

    def __iter__(self) -> Iterator[str]:
        return iter(self.settings)

    def __len__(self) -> int:
        return len(self.settings)

    def __repr__(self) -> str:
        return f"compose({', '.join(map(repr, self.overrides))})"

    def __str__(self) -> str:
        """The configuration as YAML."""
        return yaml.safe_dump(self.request.config, sort_keys=False, allow_unicode=True)


def compose(*overrides: str, config_dir: str | os.PathLike[str] | None = None) -> Config:
    """Composes a configuration: compose("loss=wgan_gp", "train.total_steps=2000").

    config_dir: a folder with choices of your own, as the option --config-dir; your classes are found in it as well.
    ConfigError if an override is no setting, or is several values.
    """
    found = None if config_dir is None else os.path.abspath(config_dir)
    if found is not None:
        if not os.path.isdir(found):
            raise ConfigError(
                f"config_dir={os.fspath(config_dir or '')} is no folder; give it one like mine/loss/NAME.yaml."
            )
        if found not in sys.path:
            sys.path.append(found)
    return Config(request_of(overrides, loader_of(found)), found)


def read_only(node: Any) -> Any:
    """Returns a view of nested dictionaries and lists that cannot be changed."""
    if isinstance(node, dict):
        return MappingProxyType({key: read_only(value) for key, value in node.items()})
    return tuple(map(read_only, node)) if isinstance(node, list) else node
