"""Packages that are extras."""

from importlib.util import find_spec

from gan_runner.errors import ConfigError


def require_packages(what: str, *names: str) -> None:
    """ConfigError if a package that `what` needs is not installed; imports none of them."""
    missing = [name.replace("_", "-") for name in names if find_spec(name) is None]
    if missing:
        many = len(missing) > 1
        raise ConfigError(
            f"{what} needs the package{'s' * many} {' and '.join(missing)}, which {'are' if many else 'is'} not "
            f"installed: pip install {' '.join(missing)}"
        )
