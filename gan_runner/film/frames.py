"""A film: pictures in succession, which are computed while they are written."""

import io
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from gan_runner.errors import ConfigError
from gan_runner.film.writers import WRITERS, as_image, check_format
from gan_runner.records.grid import CELL, arranged, headed, named

STRIP = 16  # frames in a PNG strip, at most, unless a film chooses them itself
SIDE, SMALLEST = 256, 64  # pixels: the height of a film of one image, and of an image in a film of several

Stacks = Callable[[Sequence[int]], Iterator[np.ndarray]]


class Film:
    """Pictures in succession. Iterating computes frames (H, W, C) uint8, one after the other; a notebook shows a strip.

    count: number of frames. fps: frames per second. titles: the text above each frame.
    """

    def __init__(
        self,
        stacks: Stacks,
        count: int,
        fps: float,
        titles: Sequence[str] = (),
        names: Sequence[str] = (),
        keys: Sequence[int] = (),
        enlarged: bool = True,
    ):
        """stacks(numbers): yields the images (N, C, H, W) uint8 of each of these frames.

        names: of the N images, in a strip. keys: the frames of a strip; by default evenly spaced. enlarged: whether
        small images are enlarged.
        """
        if not 0.1 <= fps <= 100:
            raise ConfigError(f"--fps={fps:g} must be between 0.1 and 100 frames per second.")
        self.stacks, self.count, self.fps, self.titles, self.names = stacks, count, fps, titles, names
        self.keys = keys or sorted({round(n * (count - 1) / (STRIP - 1)) for n in range(STRIP)})
        self.enlarged = enlarged

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[np.ndarray]:
        for number, cells in enumerate(self.stacks(range(self.count))):
            columns = math.isqrt(len(cells) - 1) + 1
            frame = arranged(cells, columns, max(SMALLEST, SIDE // columns) if self.enlarged else 1)
            yield headed(frame, [self.titles[number]]) if self.titles else frame

    def strip(self) -> np.ndarray:
        """Returns one picture (H, W, C) uint8: a column for each of at most 16 frames, and a row for each image.

        Frames that are whole pictures form a square instead.
        """
        cells = np.stack(list(self.stacks(self.keys)), axis=1)
        columns = len(self.keys) if self.enlarged else math.isqrt(len(self.keys) - 1) + 1
        alone = arranged(cells.reshape(-1, *cells.shape[2:]), columns, CELL if self.enlarged else 1)
        picture = named(alone, self.names) if self.names else alone
        if not self.titles:
            return picture
        return headed(picture, [self.titles[number] for number in self.keys], picture.shape[1] - alone.shape[1])

    def save(self, out: str | os.PathLike[str]) -> Path:
        """Writes an .mp4, .gif or .webp film, or a .png strip, and returns its path. ConfigError if it cannot be."""
        path = Path(out)
        check_format(path, self.count)
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.unlink(missing_ok=True)  # a link may lead out of an untrusted folder
            if path.suffix == ".png":
                as_image(self.strip()).save(temporary, "png")
            else:
                WRITERS[path.suffix](temporary, iter(self), self.fps)
            os.replace(temporary, path)
        except OSError as error:
            raise ConfigError(f"--out={path} cannot be written: {error.strerror or error}.") from error
        finally:
            if temporary.is_file():
                temporary.unlink()
        return path

    def __repr__(self) -> str:
        return f"Film: {self.count} frames, {self.count / self.fps:.1f} seconds"

    def _repr_png_(self) -> bytes:
        png = io.BytesIO()
        as_image(self.strip()).save(png, "png")
        return png.getvalue()
