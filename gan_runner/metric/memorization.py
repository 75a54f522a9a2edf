"""Measures of memorization of training data. Distances are Euclidean, to the nearest training row (`nearest`)."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from gan_runner.errors import require
from gan_runner.metric.neighbours import COLUMNS, ROWS, blocks

ENOUGH = 20  # rows of each kind, at least, in a cell that counts; the authors require 20 generated ones
COPIED = 0.1  # the cosine distance below which MiFID penalises memorization
EPSILON = 1e-15  # added to MiFID's denominator


class OneNearestNeighbour(NamedTuple):
    accuracy: float  # .5 if real and fake cannot be distinguished, 1 if they are separate, near 0 for copies
    real: float  # share of real rows whose nearest other row is real
    fake: float  # share of fake rows whose nearest other row is fake


def nearest_ratio(fake: Tensor, held_out: Tensor) -> float:
    """Ratio of mean distances to the nearest training row: fakes (N,) over held-out rows (M,). 1: healthy, 0: copies.

    A ratio much above 1 means that the fakes are far from the data.
    """
    mean, healthy = float(fake.double().mean()), float(held_out.double().mean())
    require(healthy > 0, "every held-out row is a training row: use a split that is held out")
    return mean / healthy


def cell_centers(train: Tensor, count: int = 10, seed: int = 0) -> Tensor:
    """Returns the k-means centers (count, D) of rows (N, D); a row belongs to the cell of its nearest center."""
    from sklearn.cluster import KMeans

    means = KMeans(count, n_init=1, random_state=seed).fit(train.cpu().numpy())
    return torch.from_numpy(means.cluster_centers_).to(train)


def copying(
    fake: Tensor,
    held_out: Tensor,
    fake_cells: Tensor | None = None,
    held_out_cells: Tensor | None = None,
    enough: int = ENOUGH,
) -> float:
    """C_T of Meehan et al. (2020): << 0 (say -3) is copying, >> 0 underfitting, both relative to held-out data.

    `fake` (m,) and `held_out` (n,) are distances to the nearest training row, compared by `excess`. With cells (m,) and
    (n,), the result is the mean over cells, weighted by their held-out rows. Cells with fewer than `enough` rows of
    either kind do not count; NaN if no cell counts. (The authors search the nearest row in the cell alone.)
    """
    if fake_cells is None or held_out_cells is None:
        fake_cells, held_out_cells = torch.zeros(len(fake)).long(), torch.zeros(len(held_out)).long()
    weight, total = 0, 0.0
    for cell in held_out_cells.unique():
        ours, theirs = fake[fake_cells == cell], held_out[held_out_cells == cell]
        if min(len(ours), len(theirs)) >= enough:
            weight += len(theirs)
            total += len(theirs) * excess(ours, theirs)
    return total / weight if weight else math.nan


def excess(fake: Tensor, held_out: Tensor) -> float:
    """Z_U = (U - n m / 2 + 1/2) / sqrt(n m (n + m + 1) / 12); U counts pairs with fake (m,) > held out (n,), ties half.

    The z-score of Mann and Whitney: about N(0, 1) if both distances have the same distribution.
    """
    below = held_out.double().sort().values
    above = fake.double()
    u = float((torch.searchsorted(below, above) + torch.searchsorted(below, above, right=True)).sum()) / 2
    m, n = len(fake), len(held_out)
    return (u - n * m / 2 + 0.5) / math.sqrt(n * m * (n + m + 1) / 12)


def memorization_distance(fake: Tensor, train: Tensor) -> float:
    """Mean over fake features (N, D) of the least cosine distance 1 - |cos| to train features (M, D), from 0 to 1."""
    unit = normalize(train, dim=1)
    found = []
    for _, block in blocks(fake, ROWS):
        alike = train[_most_parallel(normalize(block, dim=1), unit)]
        found.append(1 - cosine_similarity(block.double(), alike.double()).abs())  # 0 for a copy only in float64
    return float(torch.cat(found).clamp(min=0).mean())


def mifid(frechet: float, distance: float) -> float:
    """FID / (d + 1e-15), d the memorization distance if it is below .1, else 1 (Bai et al. 2021)."""
    return frechet / ((distance if distance < COPIED else 1.0) + EPSILON)


def one_nearest_neighbour_accuracy(
    real_to_real: Tensor, real_to_fake: Tensor, fake_to_fake: Tensor, fake_to_real: Tensor
) -> OneNearestNeighbour:
    """Leave-one-out accuracy of the nearest neighbour (Lopez-Paz & Oquab 2017), from distances (N,), (N,), (M,), (M,).

    The distances are to the nearest *other* row of the own set (skip_self), and to the nearest row of the other set.
    Ties count half. The ideal is .5 only if both sets have equally many rows.
    """
    real, fake = _own(real_to_real, real_to_fake), _own(fake_to_fake, fake_to_real)
    accuracy = torch.cat([real, fake]).mean()
    return OneNearestNeighbour(float(accuracy), float(real.mean()), float(fake.mean()))


def _own(own: Tensor, other: Tensor) -> Tensor:
    """Returns 1 for rows whose own set is nearer, 0 if the other set is nearer, 1/2 for ties."""
    return ((own < other).double() + (own <= other).double()) / 2


def _most_parallel(fake: Tensor, train: Tensor) -> Tensor:
    """Returns (n,) int64: for each row of `fake`, the row of `train` with the largest |cos|; both have unit rows."""
    best = fake.new_full((len(fake),), -1.0)
    index = torch.zeros(len(fake), dtype=torch.int64, device=fake.device)
    for start, block in blocks(train, COLUMNS):
        cosine, column = (fake @ block.T).abs_().max(1)
        index = torch.where(cosine > best, column + start, index)
        best = torch.maximum(best, cosine)
    return index
