"""Divergences between the data and a Gaussian fitted to 1D samples (Nowozin et al. 2016, section 4.1)."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gan_runner.errors import require

PLACES = 20_001  # grid points of the numerical integrals
REACH = 12.0  # standard deviations of the Gaussian that the grid extends beyond its mean

# D_f(p | q) = E_q f(p / q), with the density p of the data and q of the model
DIVERGENCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {  # log p, log q -> integrand
    "kl": lambda p, q: p.exp() * (p - q),
    "reverse_kl": lambda p, q: q.exp() * (q - p),
    "js": lambda p, q: p.exp() * (p - middle(p, q)) + q.exp() * (q - middle(p, q)),  # twice Jensen-Shannon
    "jeffrey": lambda p, q: (p.exp() - q.exp()) * (p - q),
    "pearson": lambda p, q: (2 * p - q).exp() - 2 * p.exp() + q.exp(),
}


def middle(p: Tensor, q: Tensor) -> Tensor:
    """Returns log((p + q) / 2) for log densities p and q."""
    return torch.logaddexp(p, q) - math.log(2)


def divergences(log_density: Callable[[Tensor], Tensor], mean: float, std: float, spread: float) -> dict[str, float]:
    """Returns the value of each divergence between the data and N(mean, std^2), integrated over a fine grid.

    log_density: log density of the data at points (N, 1). spread: the grid covers at least [-spread, spread].
    """
    require(std > 0, f"std={std}: all samples are one point, which has no density")
    reach = max(spread, abs(mean) + REACH * std)
    x = torch.linspace(-reach, reach, PLACES, dtype=torch.float64)
    p = log_density(x[:, None].float()).double().clamp(min=-700)
    q = -((x - mean) ** 2) / (2 * std**2) - math.log(std * math.sqrt(2 * math.pi))
    q = q.clamp(min=-700)
    return {name: float(torch.trapezoid(integrand(p, q), x)) for name, integrand in DIVERGENCES.items()}
