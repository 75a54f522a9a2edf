"""One Gaussian fitted to samples on the line, and its divergences from the data (Nowozin et al. 2016, section 4.1)."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gan_runner.errors import require

PLACES = 20_001  # of the sums that stand for integrals
REACH = 12.0  # deviations of the wider of the two, beyond the farther of the two means

# of densities p of the data and q of the model, D_f(p | q) = E_q f(p / q)
DIVERGENCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {  # log p, log q -> integrand
    "kl": lambda p, q: p.exp() * (p - q),
    "reverse_kl": lambda p, q: q.exp() * (q - p),
    "js": lambda p, q: p.exp() * (p - middle(p, q)) + q.exp() * (q - middle(p, q)),  # twice Jensen's and Shannon's
    "jeffrey": lambda p, q: (p.exp() - q.exp()) * (p - q),
    "pearson": lambda p, q: (2 * p - q).exp() - 2 * p.exp() + q.exp(),
}


def middle(p: Tensor, q: Tensor) -> Tensor:
    """The logarithm of the mean of both densities."""
    return torch.logaddexp(p, q) - math.log(2)


def divergences(log_density: Callable[[Tensor], Tensor], mean: float, std: float, spread: float) -> dict[str, float]:
    """Divergence -> its value, between the data and the Gaussian, by sums over a fine grid.

    log_density: of points (N, 1). spread: the largest distance of the data from 0 that matters.
    """
    require(std > 0, f"std={std}: all samples are one point, which has no density")
    reach = max(spread, abs(mean) + REACH * std)
    x = torch.linspace(-reach, reach, PLACES, dtype=torch.float64)
    p = log_density(x[:, None].float()).double().clamp(min=-700)
    q = -((x - mean) ** 2) / (2 * std**2) - math.log(std * math.sqrt(2 * math.pi))
    q = q.clamp(min=-700)
    return {name: float(torch.trapezoid(integrand(p, q), x)) for name, integrand in DIVERGENCES.items()}
