"""Grids of several images, with the names of their classes if there are labels."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from gan_runner.spec import ImageSpec, to_levels

CELL = 32  # pixels: smaller images are enlarged by an integer factor to at least this height
TITLE, SMALLEST = 14, 8  # pixels of a title's letters, at most and at least


def to_pixels(images: Tensor, spec: ImageSpec) -> np.ndarray:
    """Images (N, C, H, W) in spec.value_range -> the nearest of 256 levels, uint8."""
    pixels: np.ndarray = to_levels(images, spec).cpu().numpy()
    return pixels


def image_grid(images: Tensor, spec: ImageSpec, labels: Tensor | None = None) -> np.ndarray:
    """Images (N, C, H, W) in spec.value_range -> one picture (H', W', C) uint8, with one black pixel between images.

    A square, or, with labels (N,) in equal runs of several classes, one named row per class. With few classes, each
    class takes several rows, so that the picture has at most three times as many columns as rows.
    """
    if labels is not None and len(labels.unique()) > 1:
        names = spec.names(labels.unique_consecutive())
        each = len(images) // len(names)  # images per class
        columns = next(c for c in range(each, 0, -1) if each % c == 0 and (c <= 3 * len(images) / c or c == 1))
        return named(tiled(images, spec, columns), names)
    return tiled(images, spec, math.isqrt(len(images) - 1) + 1)


def named(grid: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Returns a grid of equal parts with their names in white on its left."""
    height, _, channels = grid.shape
    row = (height + 1) // len(names)
    font = ImageFont.load_default(size=min(16, row - 2))
    margin = max(int(font.getlength(name)) for name in names) + 8
    picture = Image.new("L", (margin, height))
    for number, name in enumerate(names):
        ImageDraw.Draw(picture).text((4, number * row + row // 2), name, fill=255, font=font, anchor="lm")
    return np.concatenate([np.array(picture)[:, :, None].repeat(channels, axis=2), grid], axis=1)


def tiled(images: Tensor, spec: ImageSpec, columns: int) -> np.ndarray:
    return arranged(to_pixels(images, spec), columns)


def arranged(cells: np.ndarray, columns: int, least: int = CELL) -> np.ndarray:
    """Cells (N, C, H, W) uint8 -> one picture (H', W', C), with each cell enlarged to at least `least` pixels."""
    factor = max(1, -(-least // cells.shape[2]))
    cells = cells.repeat(factor, axis=2).repeat(factor, axis=3)
    count, channels, height, width = cells.shape
    rows = -(-count // columns)
    grid = np.zeros((rows * (height + 1) - 1, columns * (width + 1) - 1, channels), np.uint8)
    for index, cell in enumerate(cells):
        top, left = index // columns * (height + 1), index % columns * (width + 1)
        grid[top : top + height, left : left + width] = cell.transpose(1, 2, 0)
    return grid


def headed(picture: np.ndarray, titles: Sequence[str], margin: int = 0) -> np.ndarray:
    """Returns a picture (H, W, C) of equal columns with their titles in white above it.

    margin: pixels at its left that belong to no column. A title that is too long is cut.
    """
    _, width, channels = picture.shape
    column = (width - margin + 1) // len(titles)
    longest = max(titles, key=len)
    fitting = (size for size in range(TITLE, SMALLEST, -1) if ImageFont.load_default(size).getlength(longest) <= column)
    font = ImageFont.load_default(next(fitting, SMALLEST))
    band = Image.new("L", (width, TITLE + 6))
    for number, title in enumerate(titles):
        part = Image.new("L", (column - 1, TITLE + 6))
        ImageDraw.Draw(part).text((column // 2, TITLE // 2 + 3), title, fill=255, font=font, anchor="mm")
        band.paste(part, (margin + number * column, 0))
    return np.concatenate([np.array(band)[:, :, None].repeat(channels, axis=2), picture])
