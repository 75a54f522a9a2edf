"""Composition of a resolved configuration from overrides. All configurations are composed here.

Hydra needs 0.1 s to compose the choices of groups, so a process composes each set of choices once; the other overrides
are applied to a copy.
"""

import copy
import functools
from collections.abc import Iterable, Sequence
from typing import Any

import hydra._internal.hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from gan_runner.cli.places import CONF
from gan_runner.cli.sentences import one_sentence
from gan_runner.cli.typed import check_names, keep_typed_totals, parse_overrides
from gan_runner.errors import ConfigError
from gan_runner.records.groups import CHOICES
from gan_runner.records.identity import flatten

PRIMARY = "config"  # the primary configuration file, in Hydra's terms


def compose(overrides: Iterable[str], primary: str = PRIMARY) -> dict[str, Any]:
    """Returns the resolved configuration of the overrides, as a new dictionary. ConfigError if they are invalid."""
    typed = list(overrides)
    try:
        return resolve(composed(typed, primary))
    except HydraException as error:
        raise explained(error, typed) from error


def composed(overrides: Iterable[str], primary: str = PRIMARY) -> DictConfig:
    """Returns the configuration with interpolations unresolved. Read-only: it may be shared. Raises Hydra's errors."""
    loader, parsed = config_loader(), parse_overrides(overrides)
    choices = [each for each in parsed if loader.repository.group_exists(each.key_or_group) and not merges(each)]
    values = [each for each in parsed if each not in choices]
    config = of_choices(loader, primary, *(str(choice.input_line) for choice in choices))
    if values:
        config = copy.deepcopy(config)
        loader._apply_overrides_to_config(values, config)
        keep_typed_totals(config, values)
    return config


@functools.lru_cache(maxsize=512)
def of_choices(loader: ConfigLoaderImpl, primary: str, *choices: str) -> DictConfig:
    """Returns the configuration of some choices of groups. The result is cached, so callers must not change it."""
    config = loader.load_configuration(primary, list(choices), RunMode.RUN, from_shell=False)
    with open_dict(config):
        del config["hydra"]
    return config


def config_loader() -> ConfigLoaderImpl:
    """Returns the loader of the running command, which respects --config-dir; outside a command, the stock loader."""
    if GlobalHydra.instance().is_initialized():
        loader = GlobalHydra.instance().config_loader()
        assert isinstance(loader, ConfigLoaderImpl)
        return loader
    return stock_loader()


@functools.lru_cache(maxsize=1)
def stock_loader() -> ConfigLoaderImpl:
    return Loader(create_config_search_path(str(CONF)))


class Loader(ConfigLoaderImpl):
    """Hydra's loader, which also applies `keep_typed_totals`. Jobs of commands and --cfg use it."""

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        config = super().load_configuration(config_name, overrides, run_mode, from_shell, validate_sweep_overrides)
        keep_typed_totals(config, parse_overrides(overrides))
        return config


def use_loader() -> None:
    """Makes Hydra's commands compose with Loader, by replacing the class in Hydra's module: Hydra has no other hook."""
    hydra._internal.hydra.ConfigLoaderImpl = Loader  # type: ignore[attr-defined]


def merges(override: Override) -> bool:
    """Whether the override of a group is a dictionary, which Hydra merges, and not the name of a choice."""
    return not override.is_delete() and isinstance(override.value(), dict)


def resolve(config: DictConfig) -> dict[str, Any]:
    """Returns a dictionary with interpolations resolved. ConfigError if one is invalid or a value is missing."""
    try:
        resolved = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {one_sentence(error)}") from error
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}


def explained(error: BaseException, typed: Sequence[str]) -> ConfigError:
    """Converts an error of Hydra about the typed overrides into a ConfigError of one sentence."""
    try:
        check_names(parse_overrides(typed))
    except ConfigError as mistake:
        return mistake
    except HydraException:  # the overrides cannot be parsed: Hydra's own message follows
        pass
    return ConfigError(one_sentence(error, lambda: settings_of(typed)))


def settings_of(typed: Sequence[str]) -> list[str]:
    """Returns all settings of the typed choices of groups; an empty list if they cannot be composed."""
    choices = [word for word in typed if word.split("=")[0] in CHOICES and "," not in word]
    try:
        return list(flatten(OmegaConf.to_container(composed(choices))))
    except (HydraException, OmegaConfBaseException):
        return []
