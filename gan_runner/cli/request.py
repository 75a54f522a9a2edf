"""The request of one run: the typed overrides, and the configuration that they compose."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from gan_runner.cli.compose import PRIMARY, compose, composed, config_loader, explained, resolve
from gan_runner.cli.typed import check_names, check_typed, leaves, parse_overrides
from gan_runner.errors import ConfigError


@dataclass(frozen=True, eq=False)
class Request:
    """The overrides of one run as typed, and what they compose."""

    overrides: tuple[str, ...]
    composed: DictConfig  # with interpolations; read-only
    config: dict[str, Any]  # resolved
    choices: Mapping[str, str]  # group -> choice
    loader: ConfigLoaderImpl
    primary: str = PRIMARY  # the primary configuration file

    @cached_property
    def typed(self) -> dict[str, Override]:
        """The typed overrides by key, in the order of typing; the last override of a key wins."""
        return leaves(parse_overrides(self.overrides))

    def recompose(self, overrides: Iterable[str]) -> dict[str, Any]:
        """Returns the resolved configuration of other overrides, from the same files."""
        return compose(overrides, self.primary, self.loader)


def request_of_job(cfg: DictConfig) -> Request:
    """Returns the request of the job that Hydra runs. ConfigError if a choice is invalid or a value is missing."""
    job = HydraConfig.get()
    typed = OmegaConf.to_container(job.overrides.task, resolve=False)  # keeps ${...} as typed
    assert isinstance(typed, list)
    overrides = tuple(str(override) for override in typed)
    check_typed(overrides)
    primary = job.job.config_name
    assert primary is not None  # every command names its primary configuration file
    choices = {str(group): str(choice) for group, choice in job.runtime.choices.items() if choice}
    return Request(overrides, cfg, resolve(cfg), choices, config_loader(), primary)


def request_of(overrides: Iterable[str], loader: ConfigLoaderImpl) -> Request:
    """Returns the request of overrides that were given in Python. ConfigError if they are not those of one run."""
    given = tuple(overrides)
    try:
        parsed = parse_overrides(given)
        check_names(parsed)
        for override in parsed:
            if override.is_sweep_override():
                raise ConfigError(
                    f"{override.input_line} is several values, each of which is a run of its own; compose them one by "
                    f"one in a loop, or quote a text with commas: key='\"value\"'."
                )
            if override.key_or_group.split("/")[0].split(".")[0] == "hydra":
                raise ConfigError(f"{override.input_line} is a setting of the command, not of a run; leave it away.")
        check_typed(given)
        found = composed(given, loader=loader)
    except HydraException as error:
        raise explained(error, given) from error
    return Request(given, found.config, resolve(found.config), found.choices, loader)
