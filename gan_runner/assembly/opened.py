"""Opening of run folders from untrusted sources, without executing anything that the folders name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.utils import get_object

from gan_runner.assembly.structure import check_structure
from gan_runner.assembly.trust import check_trust
from gan_runner.errors import ConfigError
from gan_runner.records import checkpoint
from gan_runner.records.checkpoint import Checkpoint
from gan_runner.records.folder import RunFolder


def opened(path: Path, trusted: list[str]) -> tuple[RunFolder, dict[str, Any]]:
    """Returns a run folder and its configuration. ConfigError if the configuration names an untrusted class."""
    folder = RunFolder(path)
    folder.check_inside()
    config = folder.read_config()
    if config is None:
        raise ConfigError(f"{folder.path} is no run folder: it has no config.yaml; name one like outputs/default.")
    check_structure(config)
    check_trust(config, trusted, get_object)
    return folder, config


def use_chosen(folder: Path, which: str, use: Callable[[Checkpoint], None]) -> None:
    """Calls `use` with a checkpoint. which: last, best or a step, as the option --checkpoint."""
    if which == "last":
        if not checkpoint.load_latest(folder, use):
            raise ConfigError(f"{folder.parent} has no checkpoint yet; let it train to its first one.")
        return
    if which != "best" and not which.isdecimal():
        raise ConfigError(f"--checkpoint={which} should be last, best or a step.")
    path = folder / (checkpoint.BEST if which == "best" else f"step-{int(which):08d}.pt")
    there = ", ".join(str(checkpoint.step_of(found)) for found in checkpoint.checkpoints(folder)) or "none"
    if not path.is_file():
        raise ConfigError(f"--checkpoint={which} is not in {folder}; there are steps {there}.")
    try:
        use(checkpoint.load(path))
    except checkpoint.DAMAGE as error:
        why = checkpoint.reason(error)
        raise ConfigError(f"--checkpoint={which} cannot be used ({why}); there are steps {there}.") from error
