"""Nearest neighbours and balls in Euclidean distance: exact, in blocks of bounded memory.

A matrix product computes all squared distances fast, as |a|^2 - 2 a.b + |b|^2, but inaccurately if they are small
compared with the norms: the distance of a point to its own copy may be 1e-2 instead of 0. So the product only selects
candidates. Every decision that its rounding could change is made again from the differences, in float64.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from gan_runner.errors import require

ROWS, COLUMNS = 512, 2048  # of one block of distances: 4 MB in float32, which fits into a processor's cache
BLOCK = 8_000_000  # values in one block of points: 32 MB in float32
GROUP = 32  # columns in a group, whose minimum is computed first
SPARE = 4  # candidates beyond the k neighbours
DIFFERENCES = 4_000_000  # values in one block of differences: 32 MB in float64
MANY = 100  # if more than 1 / MANY of the distances are uncertain, a product in float64 is faster than differences
SAME = 1e-12  # relative difference of equal distances: above float64's rounding, below float32's resolution


class Neighbours(NamedTuple):
    distances: Tensor  # (N, k) float64, ascending
    indices: Tensor  # (N, k) int64, row numbers in `among`


class Contained(NamedTuple):
    balls_around_point: Tensor  # (N,) int64, the number of balls that contain each point
    points_in_ball: Tensor  # (M,) int64, the number of points in each ball


def nearest(points: Tensor, among: Tensor, k: int = 1, skip_self: bool = False) -> Neighbours:
    """Finds the k rows of `among` (M, D) nearest to each of `points` (N, D), Euclidean; finite float32 or float64.

    With `skip_self` both must be the same rows, and no row is its own neighbour; copies of a row are, at distance 0.
    """
    needed = k + int(skip_self)
    require(k >= 1, f"k={k} neighbours: use 1 or more")
    require(len(among) >= needed, f"k={k} neighbours among {len(among)} points: use {needed} points or more")
    require(not skip_self or len(points) == len(among), "skip_self=True: points and among must be the same rows")
    distances = points.new_empty(len(points), k, dtype=torch.float64)
    indices = torch.empty(len(points), k, dtype=torch.int64, device=points.device)
    middle = among.mean(0)
    for start, block in blocks(points, _few(ROWS, points, BLOCK)):
        own = torch.arange(start, start + len(block), device=points.device) if skip_self else None
        found, sure = _nearest_of_block(block, among, middle, k, own)
        if not bool(sure.all()):
            again = (~sure).nonzero().squeeze(1)
            exact = block[again].double(), among, middle.double(), k, None if own is None else own[again]
            found.distances[again], found.indices[again] = _nearest_of_block(*exact)[0]
        distances[start : start + len(block)], indices[start : start + len(block)] = found
    return Neighbours(distances, indices)


def contained(centers: Tensor, radii: Tensor, points: Tensor, closed: bool) -> Contained:
    """Counts which `points` (N, D) lie in which balls, with `centers` (M, D) and `radii` (M,) float64.

    A ball is |p - c| <= r if `closed`, else |p - c| < r. Equality has a tolerance of 1e-12, so that the point that
    defines a radius counts as lying on it.
    """
    around = torch.zeros(len(points), dtype=torch.int64, device=points.device)
    inside = torch.zeros(len(centers), dtype=torch.int64, device=points.device)
    middle = centers.mean(0)
    for row, block in blocks(points, _few(ROWS, points, BLOCK)):
        for column, some in blocks(centers, _few(COLUMNS, centers, BLOCK)):
            hit = _hits(block, some, radii[column : column + len(some)].double(), middle, closed)
            around[row : row + len(block)] += hit.sum(1, dtype=torch.int32)
            inside[column : column + len(some)] += hit.sum(0, dtype=torch.int32)
    return Contained(around, inside)


def radii(points: Tensor, k: int) -> Tensor:
    """Returns (N,) float64: the distance of each of `points` (N, D) to its k-th nearest other point.

    The columns of one `nearest(points, points, k, skip_self=True).distances` are the radii for every smaller k.
    """
    return nearest(points, points, k, skip_self=True).distances[:, -1]


def blocks(rows: Tensor, size: int) -> Iterator[tuple[int, Tensor]]:
    """Yields (number of the first row, block of at most `size` rows)."""
    for start in range(0, len(rows), size):
        yield start, rows[start : start + size]


def _few(rows: int, points: Tensor, numbers: int) -> int:
    """Returns the rows in a block of (N, D) points: at most `rows`, with at most `numbers` values; at least 1."""
    return max(1, min(rows, numbers // max(1, points.shape[1])))


def _distance(a: Tensor, b: Tensor) -> Tensor:
    """Returns the distances (...) between a and b (..., D), from their differences, in float64."""
    return (a.double() - b.double()).square_().sum(-1).sqrt_()


def _rounding(points: Tensor) -> float:
    """Bounds the error of a product of two rows, relative to their norms: a few deviations of a walk of D steps."""
    return 4 * torch.finfo(points.dtype).eps * math.sqrt(max(16, points.shape[1]))


def _nearest_of_block(
    points: Tensor, among: Tensor, middle: Tensor, k: int, own: Tensor | None
) -> tuple[Neighbours, Tensor]:
    """Returns the neighbours of (n, D) points, and (n,) bool: whether rounding cannot have hidden a neighbour."""
    centered = points - middle
    scores, indices = _candidates(centered, among, middle, min(k + SPARE, len(among) - (own is not None)), own)
    count = indices.shape[1]
    size = _few(ROWS, points, DIFFERENCES // count)
    pairs = zip(points.split(size), indices.split(size), strict=True)
    distances, order = torch.cat([_distance(a[:, None], among[b]) for a, b in pairs]).sort(dim=1, stable=True)
    found = Neighbours(distances[:, :k], indices.gather(1, order)[:, :k])
    norm = centered.double().square().sum(1)
    beyond = 2 * scores[:, -1].double() + norm  # a lower bound, by the product, on the others' squared distances
    furthest = found.distances[:, -1].square()
    sure = furthest + 4 * _rounding(points) * (norm + furthest) < beyond
    return found, sure | (count == len(among) - (own is not None))


def _candidates(
    centered: Tensor, among: Tensor, middle: Tensor, count: int, own: Tensor | None
) -> tuple[Tensor, Tensor]:
    """For each a of `centered`: the `count` rows b of `among` of least |b|^2 / 2 - a.b; ascending scores, indices."""
    scores = centered.new_full((len(centered), 0), 0.0)
    indices = torch.empty(len(centered), 0, dtype=torch.int64, device=centered.device)
    for start, block in blocks(among, _few(COLUMNS, among, BLOCK)):
        some = block.to(centered.dtype) - middle
        score = torch.addmm(some.square().sum(1) / 2, centered, some.T, alpha=-1)
        if own is not None:
            mine = ((own >= start) & (own < start + len(block))).nonzero().squeeze(1)
            score[mine, own[mine] - start] = torch.inf
        least, index = _smallest(score, min(count, len(block)))
        scores, indices = torch.cat([scores, least], 1), torch.cat([indices, index + start], 1)
        scores, order = scores.topk(min(count, scores.shape[1]), largest=False)
        indices = indices.gather(1, order)
    return scores, indices


def _smallest(score: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """score.topk(count, largest=False), faster: the results lie in the `count` column groups of smallest minimum."""
    rows, columns = score.shape
    groups = columns // GROUP
    if columns % GROUP or groups <= 2 * count:
        return score.topk(count, largest=False)
    grouped = score.view(rows, GROUP, groups)
    group = grouped.amin(1).topk(count, largest=False).indices
    members = group[:, None, :] + groups * torch.arange(GROUP, device=score.device)[None, :, None]
    members = members.flatten(1)
    least, order = score.gather(1, members).topk(count, largest=False)
    return least, members.gather(1, order)


def _hits(points: Tensor, centers: Tensor, radii: Tensor, middle: Tensor, closed: bool) -> Tensor:
    """Returns (n, m) bool: whether each point is in each ball."""
    a, b = points - middle, centers - middle
    size_a, size_b = a.square().sum(1), b.square().sum(1)
    slack = _rounding(points)
    excess = torch.addmm(((size_b - radii.square()) / 2).to(a.dtype), a, b.T, alpha=-1).add_(size_a[:, None] / 2)
    hit = excess < 0  # (|p - c|^2 - r^2) / 2
    tolerance = torch.add(slack * size_a[:, None], slack * (size_b + radii.square())[None].to(a.dtype))
    row, column = (excess.abs_() <= tolerance).nonzero(as_tuple=True)
    if points.dtype != torch.float64 and len(row) > hit.numel() // MANY:
        return _hits(points.double(), centers.double(), radii, middle.double(), closed)
    size = _few(DIFFERENCES, points, DIFFERENCES)
    for i, j in zip(row.split(size), column.split(size), strict=True):
        limit = radii[j] * (1 + SAME if closed else 1 - SAME)
        d = _distance(points[i], centers[j])
        hit[i, j] = d <= limit if closed else d < limit
    return hit
