"""Gradient penalties: one class, where the gradient is taken times which norm it should have."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gan_runner.errors import choose, require
from gan_runner.noise import Noise
from gan_runner.protocols import Stats
from gan_runner.schedule import Schedule
from gan_runner.spec import Batch, full_precision


def line(real: Batch, fake: Batch, noise: Noise) -> Batch:
    """eps x + (1 - eps) y with one eps ~ U[0, 1) per sample (Gulrajani et al. 2017, Algorithm 1)."""
    eps = noise.uniform(1, 1, 1).to(real.images.dtype)
    return Batch(torch.lerp(fake.images, real.images, eps), real.labels)


def on_real(real: Batch, fake: Batch, noise: Noise) -> Batch:
    return real


def on_fake(real: Batch, fake: Batch, noise: Noise) -> Batch:
    return fake


def on_both(real: Batch, fake: Batch, noise: Noise) -> Batch:
    """Half real, half fake points, each with weight 1/2."""
    labels = torch.cat([real.labels, fake.labels]) if real.labels is not None and fake.labels is not None else None
    return Batch(torch.cat([real.images, fake.images]), labels)


def around_real(real: Batch, fake: Batch, noise: Noise) -> Batch:
    """x + alpha * 0.5 std(x) u with u ~ U[0, 1) per pixel, alpha ~ U[0, 1) per sample (DRAGAN, the authors' code)."""
    images = real.images
    reach = 0.5 * images.std() * noise.scoped("pixels").uniform(*images.shape[1:]).to(images.dtype)
    return Batch(images + noise.uniform(1, 1, 1).to(images.dtype) * reach, real.labels)


POINTS: dict[str, Callable[[Batch, Batch, Noise], Batch]] = {
    "line": line,
    "real": on_real,
    "fake": on_fake,
    "both": on_both,
    "around_real": around_real,
}


class GradientPenalty:
    """E |  ||grad_x D(x)|| - center  |^power at the points x; one-sided: norms below the center are free.

    The norm is Euclidean over all dimensions of one sample. The members of the family, weight included:
    WGAN-GP 10, at line, center 1. WGAN-LP: one_sided. DRAGAN 10, at around_real, center 1.
    R1 gamma/2, at real, center 0. R2 gamma/2, at fake, center 0. Both, as in R3GAN: gamma, at both, center 0.
    WGAN-div 2, center 0, power 6, at line.
    """

    per_sample = True

    def __init__(
        self,
        weight: float | Schedule = 10.0,
        at: str = "line",
        center: float = 1.0,
        power: float = 2.0,
        one_sided: bool = False,
        every: int = 1,
    ):
        self.points = choose("at", at, POINTS)
        require(isinstance(weight, Schedule) or weight >= 0, f"weight={weight} must be 0 or more")
        require(center >= 0, f"center={center} is a norm: use 0 or more")
        require(power >= 1, f"power={power} must be at least 1")
        require(every >= 1, f"every={every} must be at least 1 (discriminator updates)")
        self.weight, self.center, self.power, self.one_sided, self.every = weight, center, power, one_sided, every
        self.batch_statistics = at == "around_real"  # the deviation is the whole batch's

    def __call__(self, discriminator: nn.Module, real: Batch, fake: Batch, noise: Noise) -> tuple[Tensor, Stats]:
        """Unweighted value of the penalty, and the mean gradient norm at its points."""
        points = self.points(real, fake, noise)
        images = points.images.detach().requires_grad_(True)
        # forward, not the call: double backward through a compiled call raises
        score = full_precision(discriminator.forward(images, points.labels))
        (gradient,) = torch.autograd.grad(score.sum(), images, create_graph=True)
        gradient = full_precision(gradient).flatten(1)
        if self.center == 0:  # no square root: its derivative at 0 is infinite
            squared = gradient.square().sum(1)
            return squared.pow(self.power / 2).mean(), {"gradient_norm": squared.detach().sqrt().mean()}
        norm = torch.linalg.vector_norm(gradient, dim=1)
        excess = norm - self.center
        excess = excess.relu() if self.one_sided else excess.abs()
        return excess.pow(self.power).mean(), {"gradient_norm": norm.detach().mean()}
