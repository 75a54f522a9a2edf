"""Construction of one object from one node of a configuration, and sentences on the node's mistakes."""

import functools
import inspect
import logging
import math
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hydra.utils import get_object

from gan_runner.errors import ConfigError, nearest
from gan_runner.records.identity import show

logging.getLogger("hydra.utils").setLevel(logging.CRITICAL)  # get_object also logs the errors that it raises

Config = Mapping[str, Any]
PLAIN = {bool, int, float, str, type(None)}


def make(node: Any, path: str, **runtime: Any) -> Any:
    """Builds the object that a node with `_target_` describes, its children first.

    runtime: live objects, passed to the constructor if it has a parameter of the same name.
    ConfigError lists all mistakes below the node: unknown and missing settings, and those of a wrong type.
    """
    mistakes = find_mistakes(node, path, set(runtime))
    if not isinstance(node, Mapping) or "_target_" not in node:
        mistakes = [f"{path}._target_ is missing: it should name the class, as module.Class."]
    if mistakes:
        raise ConfigError(*mistakes)
    return construct(node, path, runtime)


def construct(node: Any, path: str, runtime: Config) -> Any:
    if isinstance(node, list):
        return [construct(item, f"{path}[{i}]", {}) for i, item in enumerate(node)]
    if not isinstance(node, Mapping):
        return node
    settings = {key: construct(value, f"{path}.{key}", {}) for key, value in node.items() if key != "_target_"}
    if "_target_" not in node:
        return settings
    return call(get_object(node["_target_"]), path, settings, runtime)


def call(target: Callable[..., Any], path: str, settings: Config, runtime: Config) -> Any:
    """Returns target(**settings, **runtime). An error of the constructor becomes a ConfigError that names `path`."""
    parameters, hints = signature(target)
    converted = {key: convert(value, hints.get(key))[0] for key, value in settings.items()}
    taken = {key: value for key, value in runtime.items() if key in parameters}
    try:
        return target(**converted, **taken)
    except (ValueError, TypeError, IndexError, RuntimeError) as error:
        sentence = str(error).split("\n")[0]
        named = re.split(r"[.=]", sentence)[0] in parameters
        raise ConfigError(f"{path}{'.' if named else ': '}{sentence}") from error


def find_mistakes(node: Any, path: str, runtime: set[str]) -> list[str]:
    """Returns a sentence for each setting at or below `path` that its constructor does not accept."""
    if isinstance(node, list):
        return [m for i, item in enumerate(node) for m in find_mistakes(item, f"{path}[{i}]", set())]
    if not isinstance(node, Mapping):
        return []
    below = [m for key, value in node.items() for m in find_mistakes(value, f"{path}.{key}", set())]
    return below + (setting_mistakes(node, path, runtime) if "_target_" in node else [])


def setting_mistakes(node: Config, path: str, runtime: set[str]) -> list[str]:
    try:
        target = get_object(node["_target_"])
    except Exception as error:  # noqa: BLE001 (an import of the user's module can raise anything)
        reason = str(error.__cause__ or error).split("\n")[0]
        return [f"{path}._target_={node['_target_']} cannot be found ({reason}); it should be module.Class."]
    if not isinstance(target, type):
        return [f"{path}._target_={node['_target_']} is no class; name a class."]
    return unknown_settings(target, {k: v for k, v in node.items() if k != "_target_"}, path, runtime)


def unknown_settings(target: type, settings: Config, path: str, runtime: set[str]) -> list[str]:
    parameters, hints = signature(target)
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return []
    own = [name for name in parameters if name not in runtime]
    mistakes = [
        f"{path}: {target.__name__} has no setting {key!r}{nearest(key, own)}; it has {', '.join(own) or 'none'}."
        for key in settings
        if key not in own
    ]
    required = [name for name in own if parameters[name].default is inspect.Parameter.empty]
    mistakes += [f"{path}.{name} is missing: {target.__name__} needs it." for name in required if name not in settings]
    for key, value in settings.items():
        if isinstance(value, float) and not math.isfinite(value):
            mistakes.append(f"{path}.{key}={value} should be a finite number.")
        elif isinstance(value, list) and any(isinstance(item, float) and not math.isfinite(item) for item in value):
            mistakes.append(f"{path}.{key}={value} should have finite numbers alone.")
        elif key in own and not convert(value, hints.get(key))[1]:
            default = parameters[key].default
            usual = (
                f"; its default is {spelt(default)}" if value is None and default is not parameters[key].empty else ""
            )
            way = f", typed as {path}.{key}.NAME=VALUE" if typing.get_origin(hints[key]) is Mapping else ""
            mistakes.append(f"{path}.{key}={spelt(value)} should be of type {spell(hints[key])}{way}{usual}.")
    return mistakes


@functools.cache
def signature(target: Callable[..., Any]) -> tuple[dict[str, inspect.Parameter], dict[str, Any]]:
    parameters = dict(inspect.signature(target).parameters)
    try:
        hints = typing.get_type_hints(target.__init__ if isinstance(target, type) else target)  # type: ignore[misc]
    except NameError:  # annotations that are imported for the type checker alone
        hints = {}
    return parameters, hints


def convert(value: Any, hint: Any) -> tuple[Any, bool]:
    """Returns the value in the annotated type (1 -> 1.0 for float, 1e4 -> 10000 for int), and whether it fits."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(value, Mapping) and origin is Mapping:
        converted = {key: convert(item, arguments[1]) for key, item in value.items()}
        return {key: item for key, (item, _) in converted.items()}, all(fits for _, fits in converted.values())
    if isinstance(value, Mapping) and set(arguments or (hint,)) <= PLAIN:
        return value, False
    if isinstance(value, Mapping) or not isinstance(value, bool | int | float | str | list | None):
        return value, True  # a nested node or a live object, which is checked elsewhere
    if origin in (typing.Union, types.UnionType):
        return convert_union(value, arguments)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value), True
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value), True
    if hint in (bool, int, float, str):
        return value, type(value) is hint
    if isinstance(value, list) and origin in (list, tuple, Sequence):
        fixed = origin is tuple and ... not in arguments
        items, fits = convert_items(value, [a for a in arguments if a is not ...] or [Any])
        return items, fits and (not fixed or len(items) == len(arguments))
    if hint is type(None):
        return value, value is None
    return value, origin not in (list, tuple, Sequence, Mapping)


def convert_union(value: Any, arguments: tuple[Any, ...]) -> tuple[Any, bool]:
    """Converts by the first alternative of a union that keeps the value unchanged, else by the first that fits."""
    tried = [convert(value, argument) for argument in arguments if argument in (bool, int, float, str, type(None))]
    tried += [convert(value, a) for a in arguments if typing.get_origin(a) is not None and isinstance(value, list)]
    fitting = [result for result, fits in tried if fits]
    if not fitting:
        return value, False
    return next((r for r in fitting if type(r) is type(value) and r == value), fitting[0]), True


def convert_items(values: list[Any], arguments: list[Any]) -> tuple[list[Any], bool]:
    """Converts each item by its own annotation; the last annotation applies to all further items."""
    padded = arguments + arguments[-1:] * len(values)
    items = [convert(value, argument) for value, argument in zip(values, padded, strict=False)]
    return [item for item, _ in items], all(fits for _, fits in items)


def spelt(value: Any) -> str:
    """Returns a value as the user would type it, text in quotes."""
    return show(value) if value is None or isinstance(value, bool) else repr(value)


def spell(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "").replace("collections.abc.", "")
