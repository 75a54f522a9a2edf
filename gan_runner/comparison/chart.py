"""Curves as SVG: the mean of the seeds, their standard deviation shaded, and runs that do not count dotted."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from gan_runner.comparison.records import Curve

COLORS = ("#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd", "#8c564b", "#e377c2", "#17becf", "#7f7f7f", "#bcbd22")
DASHES = ("", "8 3", "3 3", "9 3 2 3", "14 4")  # 50 lines that can be told apart
POINTS = 150  # of a curve; longer ones are averaged in as many bins
WIDE, HIGH = 600, 330
LEFT, RIGHT, TOP, BOTTOM = 62, 12, 28, 40
TAIL = 0.01  # share of values at either end that may lie outside the frame
LOGARITHMIC = 30  # ratio of values above which an axis is
MOST_SHADED = 12  # rows; of more the shade appears under the mouse


@dataclass(frozen=True)
class Band:
    """The curves of one row."""

    number: int  # of the row, which decides its color
    label: str
    counted: Sequence[Curve]
    others: Sequence[Curve]  # of runs that are not completed


def style(number: int) -> str:
    dash = DASHES[number // len(COLORS) % len(DASHES)]
    return f'stroke="{COLORS[number % len(COLORS)]}"' + (f' stroke-dasharray="{dash}"' if dash else "")


def thinned(curve: Curve) -> Curve:
    """Means over POINTS bins where there are more points."""
    x, y = curve
    if len(x) <= POINTS:
        return curve
    starts = np.linspace(0, len(x), POINTS, endpoint=False).astype(int)
    counts = np.diff([*starts, len(x)])
    return np.add.reduceat(x, starts) / counts, np.add.reduceat(y, starts) / counts


def spread(curves: Sequence[Curve]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, mean and standard deviation where all curves have values, between their points on straight lines.

    Where there is no such place, as of single points: the mean of those that have values, and no deviation.
    """
    thin = [thinned(curve) for curve in curves]
    low, high = max(x[0] for x, _ in thin), min(x[-1] for x, _ in thin)
    grid = np.unique(np.concatenate([x for x, _ in thin]))
    if low <= high:
        grid = grid[(grid >= low) & (grid <= high)]
        if len(grid) > POINTS:
            grid = np.linspace(low, high, POINTS)
    values = np.array([np.interp(grid, x, y, left=np.nan, right=np.nan) for x, y in thin])
    several = low <= high and len(values) > 1
    deviation = values.std(axis=0, ddof=1) if several else np.zeros(len(grid))
    return grid, np.nanmean(values, axis=0), deviation


@dataclass(frozen=True)
class Axis:
    low: float
    high: float
    start: float  # pixels
    end: float
    log: bool = False

    def __call__(self, value: np.ndarray) -> np.ndarray:
        low, high = (math.log10(self.low), math.log10(self.high)) if self.log else (self.low, self.high)
        scaled = np.log10(np.maximum(value, 1e-300)) if self.log else value
        placed = self.start + (scaled - low) / (high - low) * (self.end - self.start)
        bounded: np.ndarray = np.clip(placed, -1e4, 1e4)
        return bounded

    def ticks(self) -> list[float]:
        if self.log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            between = (1, 2, 5) if last - first < 4 else (1,)
            found = [m * 10.0**d for d in range(first, last + 1, 1 + (last - first) // 8) for m in between]
        else:
            raw = (self.high - self.low) / 5
            unit = 10.0 ** math.floor(math.log10(raw))
            step = next(unit * m for m in (1, 2, 5, 10) if unit * m >= raw * 0.999)
            found = [step * n for n in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]
        return [tick for tick in found if self.low <= tick <= self.high]


def y_axis(values: np.ndarray) -> tuple[Axis, int]:
    """Around the values without their tails, if those are far off; and how many of a hundred lie outside."""
    low, high = np.quantile(values, [TAIL, 1 - TAIL])
    if values.max() - values.min() < 2 * (high - low):
        low, high = values.min(), values.max()
    log = bool(low > 0 and high / low > LOGARITHMIC)
    if log:
        pad = (high / low) ** 0.04
        low, high = low / pad, high * pad
    else:
        pad = 0.05 * (high - low) or abs(high) * 0.05 or 1.0
        low, high = low - pad, high + pad
    outside = 100 * float(((values < low) | (values > high)).mean())
    return Axis(float(low), float(high), HIGH - BOTTOM, TOP, log), math.ceil(outside)


def chart(identifier: str, tag: str, axis_name: str, bands: Sequence[Band]) -> str:
    """One picture; identifier: of no other picture in its page. A row is a group of the class cN."""
    bands = [band for band in bands if band.counted or band.others]
    spreads = {band.number: spread(band.counted) for band in bands if band.counted}
    others = {band.number: [thinned(curve) for curve in band.others] for band in bands}
    drawn = [(x, mean) for x, mean, _ in spreads.values()] + [curve for each in others.values() for curve in each]
    farthest = max(float(x.max()) for x, _ in drawn) or 1.0
    x_axis = Axis(0.0, farthest, LEFT, WIDE - RIGHT)
    vertical, outside = y_axis(np.concatenate([y for _, y in drawn]))
    title = escape(tag) + (", log scale" if vertical.log else "") + (f", {outside} % outside" if outside else "")
    parts = [
        f'<svg viewBox="0 0 {WIDE} {HIGH}" class="chart{" many" if len(bands) > MOST_SHADED else ""}" role="img">',
        f'<clipPath id="{identifier}"><rect x="{LEFT}" y="{TOP}" width="{WIDE - LEFT}" '
        f'height="{HIGH - TOP - BOTTOM}"/></clipPath>',
        f'<text x="{LEFT}" y="18" class="title">{title}</text>',
        *frame(x_axis, vertical, axis_name),
        f'<g clip-path="url(#{identifier})">',
    ]
    for band in bands:
        parts.append(f'<g class="c c{band.number}"><title>{escape(band.label)}</title>')
        if band.number in spreads:
            parts += drawn_band(x_axis, vertical, spreads[band.number], style(band.number), len(band.counted))
        color = COLORS[band.number % len(COLORS)]
        for x, y in others[band.number]:
            where = points(x_axis(x), vertical(y))
            parts.append(f'<polyline points="{where}" stroke="{color}" class="other"/>')
            parts.append(
                f'<text x="{x_axis(x)[-1]:.1f}" y="{vertical(y)[-1] + 4:.1f}" fill="{color}" class="end">&#215;</text>'
            )
        parts.append("</g>")
    return "\n".join([*parts, "</g>", "</svg>"])


def drawn_band(
    x_axis: Axis, vertical: Axis, found: tuple[np.ndarray, np.ndarray, np.ndarray], look: str, runs: int
) -> list[str]:
    x, mean, deviation = found
    horizontal, fill = x_axis(x), look.split('"')[1]
    drawn = []
    if runs > 1:
        up, down = vertical(mean + deviation), vertical(mean - deviation)
        outline = points(np.concatenate([horizontal, horizontal[::-1]]), np.concatenate([up, down[::-1]]))
        drawn.append(f'<polygon points="{outline}" fill="{fill}" class="band"/>')
    drawn.append(f'<polyline points="{points(horizontal, vertical(mean))}" {look}/>')
    if len(x) <= 20:
        drawn += [
            f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.5" fill="{fill}"/>'
            for a, b in zip(horizontal, vertical(mean), strict=True)
        ]
    return drawn


def points(x: np.ndarray, y: np.ndarray) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))


def frame(x_axis: Axis, vertical: Axis, axis_name: str) -> list[str]:
    drawn = []
    for tick in vertical.ticks():
        y = float(vertical(np.array([tick]))[0])
        drawn.append(f'<line x1="{LEFT}" x2="{WIDE - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        drawn.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" class="tick" text-anchor="end">{number(tick)}</text>')
    for tick in x_axis.ticks():
        x = float(x_axis(np.array([tick]))[0])
        drawn.append(
            f'<text x="{x:.1f}" y="{HIGH - BOTTOM + 16}" class="tick" text-anchor="middle">{number(tick)}</text>'
        )
    drawn.append(
        f'<text x="{(LEFT + WIDE - RIGHT) / 2}" y="{HIGH - 6}" class="tick" text-anchor="middle">{axis_name}</text>'
    )
    return drawn


def number(value: float) -> str:
    """1500000 -> 1.5M."""
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= 10 * unit or (abs(value) >= unit and value % (unit / 10) == 0):
            return f"{value / unit:.4g}{letter}"
    return f"{value:.4g}" if abs(value) > 1e-12 else "0"
