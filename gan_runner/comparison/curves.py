"""Curves of runs over steps, images and seconds: reading from metrics.jsonl, averaging over seeds, thinning."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from gan_runner.comparison.records import Record, Warn, number

AXES = ("steps", "images", "seconds")
POINTS = 1000  # points, at most, of a drawn curve


@dataclass(frozen=True)
class Curve:
    """Values (N,) at increasing positions (N,) along each axis; `steps` is always there."""

    x: dict[str, np.ndarray]
    y: np.ndarray
    deviation: np.ndarray | None = None  # (N,) standard deviation over seeds


def read_curves(record: Record, tags: Iterable[str], warn: Warn) -> dict[str, Curve]:
    """Returns tag -> curve of its values in metrics.jsonl."""
    values: dict[str, dict[float, float]] = {tag: {} for tag in tags}
    places = {0.0: (0.0, 0.0)}  # step -> images, seconds
    for step, line in lines(record.path / "metrics.jsonl", warn):
        if number(line.get("progress/images")) is not None:
            places[step] = place(line, *places[next(reversed(places))])
        for tag, found in values.items():
            value = number(line.get(tag))
            if value is not None:
                found[step] = value
    known = sorted(places)
    curves = {}
    for tag, found in values.items():
        if found:
            x = {"steps": np.array(sorted(found))}
            if len(places) > 1:
                for column, axis in enumerate(AXES[1:]):
                    x[axis] = np.interp(x["steps"], known, [places[step][column] for step in known])
            curves[tag] = Curve(x, np.array([found[step] for step in x["steps"]]))
    return curves


def place(line: dict[str, Any], images_before: float, seconds_before: float) -> tuple[float, float]:
    """Returns images and seconds at a log line; without `speed/seconds`, from the rate since the previous line."""
    images, seconds = float(line["progress/images"]), number(line.get("speed/seconds"))
    if seconds is None:
        rate = number(line.get("speed/images_per_second"))
        seconds = seconds_before + ((images - images_before) / rate if rate else 0.0)
    return images, seconds


def lines(path: Path, warn: Warn) -> Iterator[tuple[float, dict[str, Any]]]:
    """Yields step and content of each valid line; warns of damaged lines."""
    damaged = 0
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for text in file:
                try:
                    line = json.loads(text)
                except (ValueError, RecursionError):
                    line = None
                step = number(line.get("step")) if isinstance(line, dict) else None
                if step is None:
                    damaged += 1
                else:
                    yield step, line
    except OSError as error:
        warn(f"{path} cannot be read ({error.strerror}); this run has no curves.")
    if damaged:
        warn(f"{path}: {damaged} line{'s are' if damaged > 1 else ' is'} damaged and left out.")


def mean_of(curves: Sequence[Curve]) -> Curve:
    """Returns mean and standard deviation over runs, at every step of any run within the range that all runs share.

    Between its own steps a curve is interpolated linearly. If the curves share no range, such as single points, the
    result at each step is the mean of the curves with a value there, without a deviation.
    """
    low, high = max(curve.x["steps"][0] for curve in curves), min(curve.x["steps"][-1] for curve in curves)
    steps = np.unique(np.concatenate([curve.x["steps"] for curve in curves]))
    if low <= high:
        steps = steps[(steps >= low) & (steps <= high)]

    def at_steps(values: list[np.ndarray]) -> np.ndarray:
        rows = (np.interp(steps, c.x["steps"], v, np.nan, np.nan) for c, v in zip(curves, values, strict=True))
        return np.array(list(rows))

    y = at_steps([curve.y for curve in curves])
    axes = [axis for axis in AXES[1:] if all(axis in curve.x for curve in curves)]
    x = {axis: np.nanmean(at_steps([curve.x[axis] for curve in curves]), axis=0) for axis in axes}
    deviation = y.std(axis=0, ddof=1) if low <= high and len(curves) > 1 else None
    return Curve({"steps": steps} | x, np.nanmean(y, axis=0), deviation)


def thinned(curve: Curve) -> Curve:
    """Reduces to at most POINTS points: the lowest and the highest of POINTS / 2 intervals, to keep all extremes."""
    if len(curve.y) <= POINTS:
        return curve
    edges = np.linspace(0, len(curve.y), POINTS // 2 + 1).astype(int)
    parts = [(start, curve.y[start:end]) for start, end in pairwise(edges)]
    kept = np.unique([start + found for start, part in parts for found in (part.argmin(), part.argmax())])
    deviation = None if curve.deviation is None else curve.deviation[kept]
    return Curve({axis: x[kept] for axis, x in curve.x.items()}, curve.y[kept], deviation)
