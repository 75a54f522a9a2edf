"""Kernel distance of two sets of features (Binkowski et al. 2018); with Inception's features this is KID."""

from typing import NamedTuple

from torch import Tensor

from gan_runner.errors import require


class KernelDistance(NamedTuple):
    mean: float  # over the subsets; unbiased, so it can be negative if the sets have one distribution
    std: float  # over the subsets, population


def kernel_distance(
    real: Tensor, fake: Tensor, subsets: int = 100, subset_size: int = 1000, seed: int = 2020
) -> KernelDistance:
    """Unbiased squared MMD of real (N, D) and fake (M, D) under k(x, y) = (x.y / D + 1)^3, by torch-fidelity.

    E k(x, x') + E k(y, y') - 2 E k(x, y), over 100 random subsets of 1000 without replacement, as in the authors'
    script and torch-fidelity. Subsets have min(N, M) rows if a set has fewer than `subset_size`.
    """
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

    size = min(subset_size, len(real), len(fake))
    require(size >= 2, f"{len(real)} real and {len(fake)} fake rows in subsets of {subset_size}: use 2 or more of each")
    settings = {"kid_subsets": subsets, "kid_subset_size": size, "rng_seed": seed, "verbose": False}
    found = kid_features_to_metric(real.double(), fake.double(), **settings)
    return KernelDistance(found[KEY_METRIC_KID_MEAN], found[KEY_METRIC_KID_STD])
