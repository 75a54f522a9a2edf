"""Paths in the prior of a generator's input, its truncation, and the region that holds it."""

import math

import torch
from torch import Tensor

from gan_runner.errors import ConfigError
from gan_runner.model.latent import Latent
from gan_runner.noise import Noise

PARALLEL = 1e-4  # sine of an angle below which slerp is a straight line
HELD = 0.999  # share of a normal prior within the ball that projected latents stay in
LEAST = 0.05  # the least psi: rejection takes ever longer


def between(latent: Latent, start: Tensor, end: Tensor, share: Tensor) -> Tensor:
    """Returns latents (B, Z) on the way from `start` to `end` (B, Z), at shares (B,) from 0 to 1.

    Slerp for a normal prior, whose mass lies near a sphere; a straight line for a uniform one, whose box is convex.
    """
    share = share[:, None]
    return slerp(start, end, share) if latent.distribution == "normal" else torch.lerp(start, end, share)


def slerp(start: Tensor, end: Tensor, share: Tensor) -> Tensor:
    """Spherical linear interpolation (Shoemake 1985; White 2016); a straight line between (anti)parallel latents."""
    norms = start.norm(dim=1, keepdim=True) * end.norm(dim=1, keepdim=True)
    cosine = ((start * end).sum(1, keepdim=True) / norms.clamp(min=1e-12)).clamp(-1, 1)
    angle = cosine.acos()
    sine = angle.sin()
    curved = sine > PARALLEL
    divisor = torch.where(curved, sine, torch.ones_like(sine))
    weights = torch.where(curved, ((1 - share) * angle).sin() / divisor, 1 - share)
    return weights * start + torch.where(curved, (share * angle).sin() / divisor, share) * end


def truncated(latent: Latent, noise: Noise, psi: float) -> Tensor:
    """Returns latents (B, Z) of the prior without its tails; of all of it for psi=inf (normal) or 1 (uniform).

    normal: coordinates beyond psi standard deviations are drawn again until none is (Brock et al. 2019). uniform: the
    interval of every coordinate shrinks about its middle to the share psi.
    """
    if not psi >= LEAST:
        raise ConfigError(f"--psi={psi:g} must be at least {LEAST}.")
    if latent.distribution == "uniform" and psi > 1:
        raise ConfigError(f"--psi={psi:g} is the share of a uniform prior, which is at most 1.")
    z = latent.sample(noise)
    if latent.distribution == "uniform":
        middle = (latent.low + latent.high) / 2
        return middle + psi * (z - middle)
    generator = noise.scoped("truncated").generator()
    while len(rejected := (z.abs() > psi).nonzero(as_tuple=True)[0]):
        z[z.abs() > psi] = torch.randn(len(rejected), generator=generator, device=z.device)
    return z


def deviation(latent: Latent) -> float:
    """Returns the standard deviation of a coordinate."""
    return 1.0 if latent.distribution == "normal" else (latent.high - latent.low) / math.sqrt(12)


def within(latent: Latent, z: Tensor) -> Tensor:
    """Returns the nearest latents (B, Z) in the prior's region: its box, or a ball that holds 99.9 % of a normal."""
    if latent.distribution == "uniform":
        return z.clamp(latent.low, latent.high)
    from scipy.stats import chi2

    radius = math.sqrt(float(chi2.ppf(HELD, latent.dim)))
    shorter: Tensor = z * (radius / z.norm(dim=1, keepdim=True).clamp(min=1e-12)).clamp(max=1)
    return shorter
