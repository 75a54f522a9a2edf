"""Pictures of points with one or two coordinates, and of the discriminator's score as a function of the position."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gan_runner.spec import ImageSpec

DPI = 100
SIDE = 80  # cells per side of the frame
BINS = 100  # bins of the histogram on the line
ARROWS = 24  # arrows from latents to generated points
FEW = 10  # expected points in a bin; with fewer, p / (p + q) is too noisy to draw
DOTS = 2000  # maximum number of real points drawn
MARGIN = 0.15  # margin around the data, as a share of their width
OF_A_POINT = 4.0  # width of the frame if all data are 0: the Dirac-GAN starts at 1 and circles with radius 1.4
REAL, FAKE, SCORE, BEST = "0.1", "tab:green", "tab:blue", "tab:orange"  # the first three as in the paper of 2014


@dataclass(frozen=True)
class Scene:
    """Both players at one step, on data with one or two coordinates."""

    title: str
    real: Tensor  # (N, coordinates), the same at every step, so that every picture has the same frame
    latent: Tensor  # (M, Z)
    fake: Tensor  # (M, coordinates), generated from these latents
    score: Callable[[Tensor], Tensor]  # points (N, coordinates) -> raw scores (N,)
    log_density: Callable[[Tensor], Tensor | None]  # log density of the data; returns None if it is not known
    probability: bool  # True: sigmoid(score) estimates p / (p + q)

    def judged(self, points: Tensor) -> np.ndarray:
        scores = self.score(points)
        return array(scores.sigmoid() if self.probability else scores)


def can_show(spec: ImageSpec) -> bool:
    """Returns True for unbounded data with one or two coordinates; classes would each need a separate surface."""
    return spec.value_range is None and spec.size in (1, 2) and not spec.num_classes


def array(tensor: Tensor) -> np.ndarray:
    found: np.ndarray = tensor.detach().float().cpu().numpy()
    return found


def picture(scene: Scene) -> np.ndarray:
    """Returns the picture of a scene, (H, W, 3) uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(dpi=DPI)
    canvas = FigureCanvasAgg(figure)
    if scene.real.shape[1] == 1:
        line(scene, figure)
    else:
        plane(scene, figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[:, :, :3]


def window(real: Tensor) -> tuple[np.ndarray, float]:
    """Returns the center and half width of a square frame around the data and the origin, where generators start."""
    low, high = real.amin(dim=0).clamp(max=0), real.amax(dim=0).clamp(min=0)
    width = float((high - low).max()) or OF_A_POINT
    return array((low + high) / 2), width * (0.5 + MARGIN)


def outside(points: np.ndarray, middle: np.ndarray, half: float) -> str:
    """Returns a text with the share of points outside the frame; empty below 0.5 %."""
    share = (np.abs(points - middle) > half).any(axis=1).mean()
    return f", {100 * share:.0f} % outside" if share >= 0.005 else ""


# ---- the plane


def plane(scene: Scene, figure: Any) -> None:
    """Draws generated points, coloured by density, over real ones in gray (left); the discriminator's score (right)."""
    figure.set_size_inches(9, 4.4)
    points, judge = figure.add_axes((0.045, 0.06, 0.43, 0.86)), figure.add_axes((0.51, 0.06, 0.43, 0.86))
    middle, half = window(scene.real)
    real, fake = array(scene.real[:DOTS]), array(scene.fake)
    points.scatter(*real.T, s=5, color="0.75", linewidths=0)
    inside = fake[np.abs(fake - middle).max(axis=1) < half]
    density = crowding((inside - middle) * (SIDE / (2 * half)))
    order = density.argsort()  # the densest on top
    points.scatter(*inside[order].T, c=density[order], s=3, cmap="viridis", linewidths=0)
    points.set_title(f"{scene.title}: generated{outside(fake, middle, half)}", fontsize=10)
    surface(scene, figure, judge, middle, half)
    judge.scatter(*real.T, s=2, color="black", alpha=0.4, linewidths=0)
    for axis in (points, judge):
        axis.set(xlim=(middle[0] - half, middle[0] + half), ylim=(middle[1] - half, middle[1] + half), aspect="equal")
        axis.tick_params(labelsize=7)


def crowding(points: np.ndarray) -> np.ndarray:
    """Returns (N,): for each of the points (N, 2), the logarithm of the number of points in its cell of side 1."""
    _, where, counts = np.unique(np.floor(points), axis=0, return_inverse=True, return_counts=True)
    logarithms: np.ndarray = np.log(counts)[where.reshape(-1)]
    return logarithms


def surface(scene: Scene, figure: Any, axis: Any, middle: np.ndarray, half: float) -> None:
    ticks = [torch.linspace(float(m) - half, float(m) + half, SIDE) for m in middle]
    heights = scene.judged(torch.cartesian_prod(*ticks)).reshape(SIDE, SIDE).T
    levels = np.linspace(0, 1, 21) if scene.probability else 20
    filled = axis.contourf(*map(array, ticks), heights, levels=levels, cmap="coolwarm_r")
    if scene.probability and heights.min() < 0.5 < heights.max():
        axis.contour(*map(array, ticks), heights, levels=[0.5], colors="0.3", linewidths=0.8)
    bar = figure.colorbar(filled, cax=figure.add_axes((0.945, 0.08, 0.012, 0.82)))
    bar.set_ticks([0, 0.25, 0.5, 0.75, 1] if scene.probability else bar.get_ticks()[::2])
    bar.ax.tick_params(labelsize=7)
    name = "sigmoid of the discriminator's score" if scene.probability else "the discriminator's score"
    axis.set_title(f"{name}; real points in black", fontsize=10)


# ---- the line


def line(scene: Scene, figure: Any) -> None:
    """Draws figure 1 of Goodfellow et al. 2014: densities, discriminator, optimal discriminator, arrows from z to x."""
    figure.set_size_inches(7, 5)
    above, below = figure.add_axes((0.08, 0.33, 0.84, 0.6)), figure.add_axes((0.08, 0.04, 0.84, 0.22))
    (middle,), half = window(scene.real)
    edges = np.linspace(middle - half, middle + half, BINS + 1)
    centers = torch.from_numpy((edges[1:] + edges[:-1]) / 2).float().unsqueeze(1)
    x = array(centers).squeeze(1)
    p, q = data_density(scene, centers, edges), histogram(scene.fake, edges)
    above.plot(x, p, color=REAL, linestyle=":", linewidth=2, label="data p")
    above.stairs(q, edges, color=FAKE, fill=True, alpha=0.35, label="generator q")
    above.set(xlim=(edges[0], edges[-1]), ylim=(0, 1.8 * p.max()))
    above.set_title(f"{scene.title}{outside(array(scene.fake), np.array([middle]), half)}", fontsize=10, loc="left")
    judge = above.twinx()
    judge.plot(x, scene.judged(centers), color=SCORE, linestyle="--", label="discriminator")
    if scene.probability:
        few = FEW / (len(scene.fake) * (edges[1] - edges[0]))
        judge.plot(x, np.where(p + q > few, best(p, q), np.nan), color=BEST, linewidth=1, label="best: p / (p + q)")
        judge.axhline(0.5, color="0.6", linewidth=0.7)
        judge.set_ylim(0, 1)
    lines = [*above.get_legend_handles_labels()[0], *judge.get_legend_handles_labels()[0]]
    judge.legend(handles=lines, fontsize=8, loc="lower right", bbox_to_anchor=(1.02, 0.99), ncols=4, frameon=False)
    above.set_ylabel("density", fontsize=8)
    judge.set_ylabel("sigmoid of the score" if scene.probability else "score", fontsize=8)
    for axis in (above, judge):
        axis.tick_params(labelsize=7)
    arrows(scene, below, edges)


def best(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Optimal discriminator of the minimax and non-saturating losses: p / (p + q); nan where both are 0."""
    with np.errstate(invalid="ignore"):
        found: np.ndarray = p / (p + q)
    return found


def histogram(points: Tensor, edges: np.ndarray) -> np.ndarray:
    """Returns the density in each bin, normalised by all points: its integral is the share of points inside."""
    counts, _ = np.histogram(array(points), edges)
    found: np.ndarray = counts / (len(points) * np.diff(edges))
    return found


def data_density(scene: Scene, centers: Tensor, edges: np.ndarray) -> np.ndarray:
    known = scene.log_density(centers)
    return histogram(scene.real, edges) if known is None else array(known.exp())


def arrows(scene: Scene, axis: Any, edges: np.ndarray) -> None:
    """Draws arrows from latents, at equal quantiles of all drawn latents, to the points generated from them."""
    axis.set(xlim=(edges[0], edges[-1]), ylim=(0, 1))
    axis.axis("off")
    axis.axhline(1, color="0.3", linewidth=1)
    if scene.latent.shape[1] > 1:
        axis.text(0.5, 0.5, f"z has {scene.latent.shape[1]} numbers", ha="center", transform=axis.transAxes, fontsize=9)
        return
    z = array(scene.latent).squeeze(1)
    x = array(scene.fake).squeeze(1)
    chosen = z.argsort()[np.linspace(0, len(z) - 1, ARROWS).astype(int)]
    low, high = edges[0] + 0.2 * (edges[-1] - edges[0]), edges[-1] - 0.2 * (edges[-1] - edges[0])
    starts = low + (z[chosen] - z.min()) * ((high - low) / max(float(np.ptp(z)), 1e-9))
    axis.plot([low, high], [0, 0], color="0.3", linewidth=1)
    for start, end in zip(starts, x[chosen], strict=True):
        axis.annotate(
            "",
            (end, 1),
            (start, 0),
            arrowprops={"arrowstyle": "->", "color": FAKE, "linewidth": 0.8},
            annotation_clip=True,
        )
    axis.text(low, 0, "z ", ha="right", va="center", fontsize=9)
    axis.text(edges[0], 0.93, " x = G(z)", ha="left", va="top", fontsize=9)
