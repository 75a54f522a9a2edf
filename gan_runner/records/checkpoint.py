"""Checkpoints, written atomically: to a temporary file, flushed to the disk, then renamed."""

import io
import logging
import os
import pickle
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from gan_runner.errors import ConfigError
from gan_runner.storage.files import write_atomically

FORMAT = 8
BEST = "best.pt"
NAME = re.compile(r"step-(\d{8,})\.pt")
DAMAGE = (OSError, EOFError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, pickle.UnpicklingError)

log = logging.getLogger(__name__)


State = dict[str, Any]


def from_5(state: State, config: Mapping[str, Any]) -> State:
    """Format 5 to 6: renames the selection's step of the last evaluation to `evaluated`."""
    selection = dict(state["selection"])
    selection["evaluated"] = selection.pop("judged")
    return {**state, "selection": selection}


def from_6(state: State, config: Mapping[str, Any]) -> State:
    """Format 6 to 7: adds the buffers of the live networks to the averages, and `peaks` to the health state."""
    lives = {"ema": "generator", "classifier": "discriminator"}
    averages = {name: state[lives[name]]["network"] | state[name] for name in lives.keys() & state.keys()}
    return {**state, **averages, "health": {**state["health"], "peaks": {}}}


def from_7(state: State, config: Mapping[str, Any]) -> State:
    """Format 7 to 8: adds a bias of 0 to the first convolution of the DCGAN discriminator for 8x8 images."""
    target = config["model"]["discriminator"]["_target_"]
    if target != "gan_runner.model.dcgan.DCGANDiscriminator" or state["spec"]["height"] != 8:
        return state
    player = state["discriminator"]
    names = list(player["network"])
    first = next(name for name in names if "layers.0." in name)
    path, _, weight = first.rpartition("layers.0.")
    bias = {f"{path}layers.0.bias": torch.zeros(player["network"][first].shape[0])}
    number = names.index(first) + (weight == "weight")  # a parametrized weight is listed after the bias
    optimizer = with_parameter(player["optimizer"], number, next(iter(bias.values())))
    new = {**player, "network": player["network"] | bias, "optimizer": optimizer}
    averaged = {"classifier": state["classifier"] | bias} if "classifier" in state else {}
    return {**state, "discriminator": new, **averaged}


def with_parameter(optimizer: State, number: int, value: torch.Tensor) -> State:
    """Returns the state of an optimizer with one parameter more, which has the statistics of a constant 0."""
    kept = {index + (index >= number): entries for index, entries in optimizer["state"].items()}
    for entries in list(kept.values())[:1]:  # none before the first update
        kept[number] = {key: torch.zeros_like(value) if each.dim() else each for key, each in entries.items()}
    (group,) = optimizer["param_groups"]
    return {"state": kept, "param_groups": [{**group, "params": list(range(len(group["params"]) + 1))}]}


Upgrade = Callable[[State, Mapping[str, Any]], State]  # state and configuration of the run -> state
UPGRADES: dict[int, Upgrade] = {5: from_5, 6: from_6, 7: from_7}  # format -> upgrade to the next format


class Checkpoint(NamedTuple):
    """A loaded checkpoint: its path, the configuration of the run, and the state."""

    path: Path
    config: dict[str, Any]
    state: dict[str, Any]


def checkpoints(folder: Path) -> list[Path]:
    """Returns the checkpoints of a folder, from the oldest to the newest."""
    found = [path for path in folder.glob("step-*.pt") if NAME.fullmatch(path.name)]
    return sorted(found, key=step_of)


def step_of(path: Path) -> int:
    match = NAME.fullmatch(path.name)
    assert match is not None, path  # callers pass only names that match
    return int(match[1])


def packed(config: Mapping[str, Any], state: dict[str, Any]) -> memoryview:
    """Returns the content of a checkpoint's file."""
    buffer = io.BytesIO()  # torch.save to a file would hide the error of a full disk behind another one
    torch.save({"format": FORMAT, "config": dict(config), "state": state}, buffer)
    return buffer.getbuffer()


def save(folder: Path, step: int, content: memoryview, keep: int) -> Path:
    """Writes step-NNNNNNNN.pt atomically, then removes all but the newest `keep`. content: from `packed`."""
    folder.mkdir(exist_ok=True)
    path = folder / f"step-{step:08d}.pt"
    write_atomically(path, lambda file: file.write(content))
    for old in checkpoints(folder)[:-keep]:
        old.unlink()
    return path


def keep_as_best(folder: Path, step: int) -> None:
    """Links the checkpoint of this step as best.pt, which stays when the checkpoint itself is removed."""
    temporary = folder / ".best.pt.tmp"
    temporary.unlink(missing_ok=True)
    source = folder / f"step-{step:08d}.pt"
    try:
        os.link(source, temporary)
    except OSError:  # a file system without links
        shutil.copyfile(source, temporary)
    os.replace(temporary, folder / BEST)


def best_step(folder: Path) -> int | None:
    """Returns the step of best.pt; None if there is no readable best.pt."""
    try:
        return int(load(folder / BEST).state["counters"]["steps"])
    except DAMAGE:
        return None


def set_aside_after(folder: Path, step: int) -> None:
    """Renames checkpoints after the step of a resume: they could not be loaded, and must not count as the newest."""
    for path in checkpoints(folder):
        if step_of(path) > step:
            path.rename(path.with_suffix(".damaged"))


def load(path: Path) -> Checkpoint:
    """Loads one checkpoint to the CPU. Unpickles only tensors and plain values.

    ConfigError if the file may not be read: it is not damaged, and an older one must not take its place.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError as error:
        raise ConfigError(f"{path} cannot be read (permission denied); allow it, or copy the run folder.") from error
    steps, state = upgrades(path, content["format"]), content["state"]
    for step in steps:
        state = step(state, content["config"])
    return Checkpoint(path, content["config"], state)


def upgrades(path: Path, written: int) -> list[Upgrade]:
    """Returns the upgrades from the format of a file to the present format. ConfigError if there are none."""
    if written != FORMAT and written not in UPGRADES:
        raise ConfigError(
            f"{path} has format {written}, this version of gan_runner reads {min(UPGRADES)} to {FORMAT}; go on with "
            f"the version that wrote it, or start over with train.fresh=true."
        )
    return [UPGRADES[number] for number in range(written, FORMAT)]


def reason(error: BaseException) -> str:
    """Returns in one line why a file cannot be used.

    The first line of torch's message alone names neither the weight nor the cause of a damage.
    """
    if isinstance(error, pickle.UnpicklingError):
        return "it is damaged, or holds more than tensors and plain values"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:3]).rstrip(".") or type(error).__name__


def load_latest(folder: Path, use: Callable[[Checkpoint], None]) -> bool:
    """Calls `use` with the newest usable checkpoint; warns about damaged ones. Returns False if there are none."""
    paths = checkpoints(folder)
    for path in reversed(paths):
        try:
            use(load(path))
        except DAMAGE as error:
            log.warning("checkpoint %s cannot be used (%s); trying the one before it", path, reason(error))
        else:
            return True
    if paths:
        raise ConfigError(
            f"none of the {len(paths)} checkpoints in {folder} can be used; put one back, or start over with "
            f"train.fresh=true."
        )
    return False
