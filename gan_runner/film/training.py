"""Films of the fixed samples of runs over their training, from samples/ or from checkpoints."""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gan_runner.assembly.opened import opened
from gan_runner.assembly.trained import make_sampler, weights_of
from gan_runner.errors import ConfigError
from gan_runner.film.frames import Film
from gan_runner.records import checkpoint
from gan_runner.records.folder import RunFolder
from gan_runner.records.grid import headed, image_grid
from gan_runner.spec import ImageSpec

NAME = re.compile(r"step-(\d{8,})\.png")
LARGEST = 2**24  # pixels of one picture in samples/
GAP = 8  # pixels between runs

Picture = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class Filmed:
    """A run with a picture for each of its steps, ascending."""

    name: str
    pictures: Mapping[int, Callable[[], Picture]]  # step -> (H, W, 3) uint8
    shape: tuple[int, int]  # the largest height and width of its pictures

    def at(self, step: int) -> int | None:
        """Returns the last step with a picture up to `step`; None before the first."""
        return max((each for each in self.pictures if each <= step), default=None)


def of_training(
    folders: Sequence[Path], origin: str = "samples", fps: float = 10.0, trusted: Sequence[str] = ()
) -> Film:
    """Returns a film of the fixed samples, a frame for each step at which a run has a picture; runs side by side.

    A run without a picture of this step keeps its last one, and is black before its first.
    origin: samples or checkpoints.
    """
    if not folders:
        raise ConfigError("name at least one run folder, such as outputs/default.")
    find = from_checkpoints if origin == "checkpoints" else from_samples
    runs = [find(folder, trusted) for folder in folders]
    steps = sorted({step for run in runs for step in run.pictures})

    def stacks(numbers: Sequence[int]) -> Iterator[np.ndarray]:
        for number in numbers:
            yield side_by_side([frame(run, steps[number]) for run in runs]).transpose(2, 0, 1)[None]

    return Film(stacks, len(steps), fps, enlarged=False)


def frame(run: Filmed, step: int) -> Picture:
    """Returns the picture of a run at a step below its name and its own step; smaller ones are in the middle."""
    whole = np.zeros((*run.shape, 3), np.uint8)
    own = run.at(step)
    if own is not None:
        picture = run.pictures[own]()
        top, left = (run.shape[0] - picture.shape[0]) // 2, (run.shape[1] - picture.shape[1]) // 2
        whole[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return headed(headed(whole, ["" if own is None else f"step {own}"]), [run.name])


def side_by_side(parts: Sequence[Picture]) -> Picture:
    height = max(part.shape[0] for part in parts)
    padded = [np.pad(part, ((0, height - part.shape[0]), (0, GAP), (0, 0))) for part in parts]
    return np.concatenate(padded, axis=1)[:, :-GAP]


# ---- pictures of a run


def from_samples(folder: Path, trusted: Sequence[str]) -> Filmed:
    run = RunFolder(folder)
    run.check_inside()
    if run.read_config() is None:
        raise ConfigError(f"{folder} is no run folder: it has no config.yaml; name one like outputs/default.")
    found = {path for path in (folder / "samples").glob("step-*.png") if not path.is_symlink()}
    steps = {int(match[1]): path for path in found if (match := NAME.fullmatch(path.name))}
    if not steps:
        raise ConfigError(f"{folder}/samples has no pictures step-*.png; use --from checkpoints.")
    shapes = [size_of(path) for path in steps.values()]
    pictures = {step: partial(read, steps[step]) for step in sorted(steps)}
    return Filmed(folder.name, pictures, (max(height for height, _ in shapes), max(width for _, width in shapes)))


def size_of(path: Path) -> tuple[int, int]:
    """Returns height and width, from the header of the file alone."""
    with reading(path), Image.open(path, formats=("PNG",)) as image:
        if image.width * image.height > LARGEST:
            raise ConfigError(f"{path} has {image.width}x{image.height} pixels, more than {LARGEST}; remove it.")
        return image.height, image.width


def read(path: Path) -> Picture:
    with reading(path), Image.open(path, formats=("PNG",)) as image:
        return np.asarray(image.convert("RGB"))


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SyntaxError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({str(error).splitlines()[0]}); remove it.") from error


def from_checkpoints(folder: Path, trusted: Sequence[str]) -> Filmed:
    run, config = opened(folder, list(trusted))
    paths = checkpoint.checkpoints(run.checkpoints)
    if not paths:
        raise ConfigError(f"{folder} has no checkpoint yet; let it train to its first one.")
    pictures = {checkpoint.step_of(path): partial(fixed_grid, folder.name, config, path) for path in paths}
    return Filmed(folder.name, pictures, fixed_grid(folder.name, config, paths[-1]).shape[:2])


def fixed_grid(name: str, config: dict[str, Any], path: Path) -> Picture:
    """Returns the grid of samples/ at the step of a checkpoint."""
    try:
        sampler = make_sampler(weights_of(name, config, checkpoint.load(path).state), config["train"]["grid"])
    except checkpoint.DAMAGE as error:
        raise ConfigError(f"{path} cannot be used ({checkpoint.reason(error)}); remove it.") from error
    check_drawable(sampler.spec, "; without --from checkpoints the film shows the pictures of samples/")
    images, labels = sampler.fixed(config["train"]["grid"])
    grid = image_grid(images, sampler.spec, labels)
    return grid if grid.shape[2] == 3 else grid.repeat(3, axis=2)


def check_drawable(spec: ImageSpec, hint: str) -> None:
    """ConfigError if the images of a run are no gray or colour pictures."""
    if not spec.drawable:
        raise ConfigError(f"this run makes {spec.kind}, which are no pictures{hint}.")
