"""Names that an untrusted configuration may contain: classes of gan_runner and of torch, never functions."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

from gan_runner.errors import ConfigError

OURS = "gan_runner."
NAMES_CODE = ("_target_", "source")  # keys whose value is imported and called: source is of dataset=torch
TORCHS = {"torch.nn.": nn.Module, "torch.optim.": Optimizer}


def targets(node: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yields path and value of every name of code below a node."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            below = f"{path}.{key}" if path else str(key)
            if key in NAMES_CODE and value is not None:
                yield below, str(value)
            yield from targets(value, below)
    if isinstance(node, list):
        for number, item in enumerate(node):
            yield from targets(item, f"{path}[{number}]")


def check_trust(config: Mapping[str, Any], trusted: Iterable[str], locate: Callable[[str], Any]) -> None:
    """ConfigError unless every name of code is a trusted class. Other names are neither imported nor called."""
    untrusted = {path: target for path, target in targets(config) if not is_trusted(target, tuple(trusted), locate)}
    if untrusted:
        listed = ", ".join(f"{path}={target}" for path, target in untrusted.items())
        what = "is neither a class" if len(untrusted) == 1 else "are neither classes"
        way = " ".join(f"--trust {target}" for target in dict.fromkeys(untrusted.values()))
        raise ConfigError(
            f"{listed} in the run folder {what} of gan_runner nor of torch's networks and optimizers; if you trust "
            f"what is named, add {way}"
        )


def is_trusted(target: str, trusted: tuple[str, ...], locate: Callable[[str], Any]) -> bool:
    """Whether a target is trusted: checks the name before the import, and the object that it names after it."""
    if target in trusted:
        return True
    if not target.startswith((OURS, *TORCHS)):
        return False
    try:
        found = locate(target)
    except ImportError:  # nothing has this name
        return False
    if not isinstance(found, type):
        return False
    home = f"{found.__module__}."
    return home.startswith(OURS) or any(
        home.startswith(prefix) and issubclass(found, base) for prefix, base in TORCHS.items()
    )
