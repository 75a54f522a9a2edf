"""The packages of trackers, which are extras."""

from importlib.util import find_spec

from gan_runner.errors import ConfigError


def require_package(name: str) -> None:
    """ConfigError if the package is not installed; does not import it."""
    if find_spec(name) is None:
        raise ConfigError(f"tracker={name} needs the package {name}, which is not installed: pip install {name}")
