"""Does a generator repeat its training data? Distances are Euclidean, to the nearest training row: `nearest`."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from gan_runner.errors import require
from gan_runner.metric.neighbours import COLUMNS, ROWS, blocks

ENOUGH = 20  # rows of either kind that make a cell count; the authors ask for 20 generated ones
COPIED = 0.1  # a cosine distance below which MiFID charges for memorization
EPSILON = 1e-15  # of MiFID's denominator


class OneNearestNeighbour(NamedTuple):
    accuracy: float  # .5 where real and fake cannot be distinguished, 1 where they lie apart, towards 0 where copied
    real: float  # of the real ones: share whose nearest other is real
    fake: float  # of the fake ones: share whose nearest other is fake


def nearest_ratio(fake: Tensor, held_out: Tensor) -> float:
    """Mean distance to the nearest training row: of fakes (N,) over that of held-out rows (M,). 1 is healthy, 0 copied.

    Much above 1: fakes that lie apart from the data.
    """
    mean, healthy = float(fake.double().mean()), float(held_out.double().mean())
    require(healthy > 0, "every held-out row is a training row: use a split that is held out")
    return mean / healthy


def cell_centers(train: Tensor, count: int = 10, seed: int = 0) -> Tensor:
    """(count, D), the k-means of the rows (N, D); a row is in the cell of the center that is nearest."""
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
    """C_T of Meehan et al. (2020): << 0 (say -3) is copying, >> 0 underfitting, both beside data held out.

    Of the distances of fakes (m,) and held-out rows (n,) to the nearest training row, as `excess` has it; where cells
    are given, (m,) and (n,), averaged over them by their share of held-out rows. Cells with fewer than `enough` rows of
    either kind do not count; NaN if none does. (The authors look for the nearest row in the cell alone.)
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

    The z-score of Mann and Whitney: about N(0, 1) where both are distances of one distribution.
    """
    below = held_out.double().sort().values
    above = fake.double()
    u = float((torch.searchsorted(below, above) + torch.searchsorted(below, above, right=True)).sum()) / 2
    m, n = len(fake), len(held_out)
    return (u - n * m / 2 + 0.5) / math.sqrt(n * m * (n + m + 1) / 12)


def memorization_distance(fake: Tensor, train: Tensor) -> float:
    """Mean over features fake (N, D) of the least cosine distance 1 - |cos| to any of train (M, D), from 0 to 1."""
    unit = normalize(train, dim=1)
    found = []
    for _, block in blocks(fake, ROWS):
        alike = train[_most_parallel(normalize(block, dim=1), unit)]
        found.append(1 - cosine_similarity(block.double(), alike.double()).abs())  # a copy's is 0 in float64 alone
    return float(torch.cat(found).clamp(min=0).mean())


def mifid(frechet: float, distance: float) -> float:
    """FID / d, d the memorization distance where it is below .1, else 1 (Bai et al. 2021); 1e-15 keeps off zero."""
    return frechet / ((distance if distance < COPIED else 1.0) + EPSILON)


def one_nearest_neighbour_accuracy(
    real_to_real: Tensor, real_to_fake: Tensor, fake_to_fake: Tensor, fake_to_real: Tensor
) -> OneNearestNeighbour:
    """Leave-one-out accuracy of the nearest neighbour (Lopez-Paz & Oquab 2017), from distances (N,), (N,), (M,), (M,).

    To the nearest *other* row of the own set (skip_self), and to the nearest row of the other set. Ties count half.
    .5 is the ideal only with as many fakes as reals.
    """
    real, fake = _own(real_to_real, real_to_fake), _own(fake_to_fake, fake_to_real)
    accuracy = torch.cat([real, fake]).mean()
    return OneNearestNeighbour(float(accuracy), float(real.mean()), float(fake.mean()))


def _own(own: Tensor, other: Tensor) -> Tensor:
    """1 where the own set is nearer, 0 where the other one is, 1/2 where neither."""
    return ((own < other).double() + (own <= other).double()) / 2


def _most_parallel(fake: Tensor, train: Tensor) -> Tensor:
    """(n,) int64: the row of `train` of largest |cos| to each of `fake`; unit rows both."""
    best = fake.new_full((len(fake),), -1.0)
    index = torch.zeros(len(fake), dtype=torch.int64, device=fake.device)
    for start, block in blocks(train, COLUMNS):
        cosine, column = (fake @ block.T).abs_().max(1)
        index = torch.where(cosine > best, column + start, index)
        best = torch.maximum(best, cosine)
    return index
