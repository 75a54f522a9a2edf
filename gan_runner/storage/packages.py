"""Packages that are extras."""

from importlib.util import find_spec

from gan_runner.errors import ConfigError


def require_packages(what: str, *names: str, extra: str = "export") -> None:
    """ConfigError if a package of an extra, which `what` needs, is not installed; imports none of them."""
    missing = " and ".join(name for name in names if find_spec(name) is None)
    if missing:
        raise ConfigError(f"{what} needs {missing}, which is not installed: pip install 'gan-runner[{extra}]'.")
