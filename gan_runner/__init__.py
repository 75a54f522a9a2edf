"""gan_runner: a Hydra-configured experiment runner for generative adversarial networks.

The public names are imported when they are first used, so that `import gan_runner` loads no library.
"""

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gan_runner.errors import ConfigError, Diverged, NotWritten, Stopped
    from gan_runner.film.frames import Film
    from gan_runner.interface.composition import Config, compose
    from gan_runner.interface.frames import curves, ranking, runs
    from gan_runner.interface.images import Images
    from gan_runner.interface.latents import training_film
    from gan_runner.interface.loading import Evaluated, Model, load
    from gan_runner.interface.training import Interrupted, TrainedRun, train

__version__ = "0.2.0"
__all__ = [
    "Config",
    "ConfigError",
    "Diverged",
    "Evaluated",
    "Film",
    "Images",
    "Interrupted",
    "Model",
    "NotWritten",
    "Stopped",
    "TrainedRun",
    "compose",
    "curves",
    "load",
    "ranking",
    "runs",
    "train",
    "training_film",
]

HOMES = {  # module -> its public names
    "gan_runner.errors": ("ConfigError", "Diverged", "NotWritten", "Stopped"),
    "gan_runner.film.frames": ("Film",),
    "gan_runner.interface.composition": ("Config", "compose"),
    "gan_runner.interface.frames": ("curves", "ranking", "runs"),
    "gan_runner.interface.images": ("Images",),
    "gan_runner.interface.latents": ("training_film",),
    "gan_runner.interface.loading": ("Evaluated", "Model", "load"),
    "gan_runner.interface.training": ("Interrupted", "TrainedRun", "train"),
}

# Waiting OpenMP threads spin by default, which takes the cores from other processes and from the working threads.
# OpenMP reads the variable when torch is loaded, so setting it has no effect if torch was imported first.
SPINS = not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys()
if SPINS and "torch" not in sys.modules:
    os.environ["GOMP_SPINCOUNT"] = "0"
    SPINS = False


def __getattr__(name: str) -> Any:
    for module, names in HOMES.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
