"""Samples of a generator in Python, which a notebook shows as a picture."""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gan_runner.errors import ConfigError
from gan_runner.records.grid import image_grid
from gan_runner.records.weights import content_hash
from gan_runner.sampling.formats import SUFFIXES, WRITERS, ignore
from gan_runner.sampling.source import held, to_array
from gan_runner.spec import ImageSpec


class Images:
    """Generated images: `tensor` (N, C, H, W) float32 in spec.value_range, and `labels` (N,) if conditional.

    `np.asarray(images)` is what --format npz writes: (N, H, W, C) uint8, or (N, 1, 1, C) float32 for points.
    """

    def __init__(self, tensor: Tensor, labels: Tensor | None, spec: ImageSpec):
        self.tensor, self.labels, self.spec = tensor, labels, spec

    def numpy(self) -> np.ndarray:
        return to_array(self.tensor, self.spec)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.numpy(), dtype=dtype)

    def __len__(self) -> int:
        return len(self.tensor)

    def __getitem__(self, index: int) -> Tensor:
        return self.tensor[index]

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.tensor)

    def grid(self) -> np.ndarray:
        """Returns one picture (H', W', C) uint8: a square, or a row for each class. ConfigError if they are none."""
        self.check_drawable()
        images, labels, spec = self.by_class()
        return image_grid(images, spec, labels)

    def save(self, out: str | os.PathLike[str]) -> Path:
        """Writes an .npz or .zip file, a .png file with a grid, or a folder of .png files; returns its path."""
        path = Path(out)
        form = format_of(path)
        if form != "npz":
            self.check_drawable()
        images = held(*self.by_class()) if form == "grid" else held(self.tensor, self.labels, self.spec)
        try:
            WRITERS[form](path, images, {"images": content_hash({"images": {"": self.tensor}})}, ignore)
        except OSError as error:
            raise ConfigError(f"{path} cannot be written: {error.strerror or error}.") from error
        return path

    def by_class(self) -> tuple[Tensor, Tensor | None, ImageSpec]:
        """Returns the images for a grid: sorted by class, equally many of each. Images in such an order stay."""
        if self.labels is None:
            return self.tensor, None, self.spec
        classes = [(self.labels == label).nonzero().flatten() for label in dict.fromkeys(self.labels.tolist())]
        fewest = min(map(len, classes))
        order = torch.cat([rows[:fewest] for rows in classes])
        return self.tensor[order], self.labels[order], self.spec

    def check_drawable(self) -> None:
        if not self.drawable:
            raise ConfigError(
                f"these are {self.spec.kind}, which make no picture; use np.asarray, or save them as .npz."
            )

    @property
    def drawable(self) -> bool:
        return self.spec.drawable

    def __repr__(self) -> str:
        return f"Images: {len(self)} of {'x'.join(map(str, self.spec.shape))}"

    def _repr_png_(self) -> bytes | None:
        if not self.drawable:
            return None
        grid, png = self.grid(), io.BytesIO()
        Image.fromarray(grid.squeeze(2) if grid.shape[2] == 1 else grid).save(png, "png")
        return png.getvalue()


def format_of(path: Path) -> str:
    """Returns the format that the ending of a path stands for. ConfigError if it is none."""
    for form, suffix in SUFFIXES.items():
        if suffix == path.suffix:
            return form
    raise ConfigError(f"{path} should end in .npz, .png or .zip, or be a folder without an ending.")
