"""Composition of a resolved configuration from overrides. All configurations are composed here.

Hydra needs 0.1 s to compose the choices of groups, so a process composes each set of choices once; the other overrides
are applied to a copy.
"""

import copy
import functools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import hydra._internal.hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
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


class Composed(NamedTuple):
    """A configuration with interpolations unresolved, and the choice of each group."""

    config: DictConfig
    choices: dict[str, str]


def compose(overrides: Iterable[str], primary: str = PRIMARY, loader: ConfigLoaderImpl | None = None) -> dict[str, Any]:
    """Returns the resolved configuration of the overrides, as a new dictionary. ConfigError if they are invalid."""
    typed = list(overrides)
    try:
        return resolve(composed(typed, primary, loader).config)
    except HydraException as error:
        raise explained(error, typed) from error


def composed(overrides: Iterable[str], primary: str = PRIMARY, loader: ConfigLoaderImpl | None = None) -> Composed:
    """Returns the composition of the overrides. Read-only: it may be shared. Raises Hydra's errors.

    loader: by default that of the running command.
    """
    loader, parsed = loader or config_loader(), parse_overrides(overrides)
    choices = [each for each in parsed if loader.repository.group_exists(each.key_or_group) and not merges(each)]
    values = [each for each in parsed if each not in choices]
    found = of_choices(loader, primary, *(str(choice.input_line) for choice in choices))
    if values:
        found = found._replace(config=copy.deepcopy(found.config))
        loader._apply_overrides_to_config(values, found.config)
        keep_typed_totals(found.config, values)
    return found


@functools.lru_cache(maxsize=512)
def of_choices(loader: ConfigLoaderImpl, primary: str, *choices: str) -> Composed:
    """Returns the composition of some choices of groups. The result is cached, so callers must not change it."""
    config = loader.load_configuration(primary, list(choices), RunMode.RUN, from_shell=False)
    chosen = {str(group): str(choice) for group, choice in config.hydra.runtime.choices.items() if choice}
    with open_dict(config):
        del config["hydra"]
    return Composed(config, chosen)


def config_loader() -> ConfigLoaderImpl:
    """Returns the loader of the running command, which respects --config-dir; outside a command, the stock loader.

    The loader of another program that uses Hydra, and calls this package from Python, is not a Loader.
    """
    loader = GlobalHydra.instance().config_loader() if GlobalHydra.instance().is_initialized() else None
    return loader if isinstance(loader, Loader) else loader_of(None)


@functools.lru_cache(maxsize=16)
def loader_of(config_dir: str | None) -> ConfigLoaderImpl:
    """Returns a loader of the stock choices and of those in `config_dir`, as the option --config-dir gives them."""
    search_path = create_config_search_path(str(CONF))
    if config_dir is not None:
        search_path.prepend("command-line", f"file://{config_dir}", SearchPathQuery(provider="schema"))
    return Loader(search_path)


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
        return list(flatten(OmegaConf.to_container(composed(choices).config)))
    except (HydraException, OmegaConfBaseException):
        return []
