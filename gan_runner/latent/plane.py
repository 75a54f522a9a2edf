"""The map of a generator of points in the plane: where the lines of a grid of z land."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gan_runner.assembly.objects import make_dataset
from gan_runner.errors import ConfigError
from gan_runner.film.frames import Film
from gan_runner.latent.generator import Generator
from gan_runner.records.points import DOTS, DPI, array, window

LINES, POINTS = 33, 200  # lines of the grid in each direction, and points on a line
REACH = 3.0  # of the grid of a normal prior, in standard deviations
FRAMES = 60  # of a film in which the grid moves to its place


def plane_map(generator: Generator, fps: float = 30.0) -> Film:
    """Returns a film in which the grid moves, in straight lines, from z to G(z); a strip has its end alone.

    The first two coordinates of z span the grid; further ones are 0. Colours are those of the first coordinate.
    """
    spec = generator.sampler.spec
    if spec.value_range is not None or spec.size != 2:
        raise ConfigError("map is for runs on points in the plane; this run makes images: use interpolate.")
    if generator.sampler.conditional:
        raise ConfigError("map is for generators without labels.")
    real = make_dataset(generator.config).split("train").images.flatten(1)
    lines = grid(generator)
    flat = lines.flatten(0, 1)
    landed = generator.sampler.images(flat, None).flatten(1).view(*lines.shape[:2], 2)
    start = lines[:, :, :2] if lines.shape[2] > 1 else torch.cat([lines, torch.zeros_like(lines)], dim=2)

    def stacks(numbers: Sequence[int]) -> Iterator[np.ndarray]:
        for number in numbers:
            share = 0.5 - 0.5 * np.cos(np.pi * number / (FRAMES - 1))
            yield drawn(real, torch.lerp(start, landed, float(share)), start).transpose(2, 0, 1)[None]

    return Film(stacks, FRAMES, fps, keys=[FRAMES - 1], enlarged=False)


def grid(generator: Generator) -> Tensor:
    """Returns lines (L, POINTS, Z) of the plane of the first two coordinates; one line if z has one coordinate."""
    prior = generator.prior
    low, high = (-REACH, REACH) if prior.distribution == "normal" else (prior.low, prior.high)
    along, across = torch.linspace(low, high, POINTS), torch.linspace(low, high, LINES)
    if prior.dim == 1:
        return along.view(1, -1, 1)
    z = torch.zeros(2, LINES, POINTS, prior.dim)
    z[0, :, :, 0], z[0, :, :, 1] = across[:, None], along
    z[1, :, :, 0], z[1, :, :, 1] = along, across[:, None]
    return z.flatten(0, 1)


def drawn(real: Tensor, lines: Tensor, colours: Tensor) -> np.ndarray:
    """Returns the picture (H, W, 3) uint8 of lines (L, POINTS, 2), over real points in gray."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 6), dpi=DPI)
    canvas: Any = FigureCanvasAgg(figure)
    axis: Any = figure.add_axes((0.06, 0.05, 0.92, 0.92))
    middle, half = window(real)
    axis.scatter(*array(real[:DOTS]).T, s=5, color="0.6", linewidths=0)
    pairs = torch.stack([lines[:, :-1], lines[:, 1:]], dim=2).flatten(0, 1)
    drawn_lines = LineCollection(list(array(pairs)), array=array(colours[:, :-1, 0].flatten()), linewidths=0.6)
    axis.add_collection(drawn_lines)
    axis.set(xlim=(middle[0] - half, middle[0] + half), ylim=(middle[1] - half, middle[1] + half), aspect="equal")
    axis.tick_params(labelsize=7)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[:, :, :3]
