"""Penalties: a family of gradient penalties (points times target norm), Roth's regulariser, orthogonal weights."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gan_runner.errors import choose, require
from gan_runner.loss.double_backward import Lean
from gan_runner.noise import Noise
from gan_runner.protocols import Stats
from gan_runner.schedule import Schedule, check_schedulable
from gan_runner.spec import Batch, full_precision, joined


def line(real: Batch, fake: Batch, noise: Noise) -> Batch:
    """eps x + (1 - eps) y with one eps ~ U[0, 1) per sample (Gulrajani et al. 2017, Algorithm 1)."""
    eps = noise.uniform(1, 1, 1).to(real.images.dtype)
    return Batch(torch.lerp(fake.images, real.images, eps), real.labels)


def on_real(real: Batch, fake: Batch, noise: Noise) -> Batch:
    return real


def on_fake(real: Batch, fake: Batch, noise: Noise) -> Batch:
    return fake


def on_both(real: Batch, fake: Batch, noise: Noise) -> Batch:
    """Returns real and fake points together, so that the mean weighs each kind with 1/2."""
    return joined(real, fake)


def around_real(real: Batch, fake: Batch, noise: Noise) -> Batch:
    """x + alpha * 0.5 std(x) u with u ~ U[0, 1) per pixel, alpha ~ U[0, 1) per sample (DRAGAN, the authors' code)."""
    images = real.images
    reach = 0.5 * images.std() * noise.scoped("pixels").uniform(*images.shape[1:]).to(images.dtype)
    return Batch(images + noise.uniform(1, 1, 1).to(images.dtype) * reach, real.labels)


def around_real_symmetric(real: Batch, fake: Batch, noise: Noise) -> Batch:
    """x + std(x) u with u ~ U[-1/2, 1/2) per pixel (DRAGAN in compare_gan)."""
    images = real.images
    return Batch(images + images.std() * (noise.uniform(*images.shape[1:]).to(images.dtype) - 0.5), real.labels)


def around_real_gaussian(real: Batch, fake: Batch, noise: Noise) -> Batch:
    """x + 0.5 std(x) u with u ~ N(0, 1) per pixel (DRAGAN's Algorithm 1, with the deviation of the authors' code)."""
    images = real.images
    return Batch(images + 0.5 * images.std() * noise.normal(*images.shape[1:]).to(images.dtype), real.labels)


POINTS: dict[str, Callable[[Batch, Batch, Noise], Batch]] = {
    "line": line,
    "real": on_real,
    "fake": on_fake,
    "both": on_both,
    "around_real": around_real,
    "around_real_symmetric": around_real_symmetric,
    "around_real_gaussian": around_real_gaussian,
}


def score_and_gradient(discriminator: nn.Module, points: Batch) -> tuple[Tensor, Tensor]:
    """Returns the scores (B,) of the points and their gradients at the points, flat (B, D), both differentiable."""
    images = points.images.detach().requires_grad_(True)
    with Lean():
        # .forward instead of a call: double backward through a compiled call raises
        score = full_precision(discriminator.forward(images, points.labels))
    (gradient,) = torch.autograd.grad(score.sum(), images, create_graph=True)
    return score, full_precision(gradient).flatten(1)


def check_weight(weight: float | Schedule, every: int) -> None:
    check_schedulable("weight", weight)
    require(every >= 1, f"every={every} must be at least 1 (discriminator updates)")


class GradientPenalty:
    """E |  ||grad_x D(x)|| - center  |^power at the points x; one-sided: no penalty for norms below the center.

    The norm is Euclidean over all dimensions of one sample. Published penalties of this family, with their weights:
    WGAN-GP 10, at line, center 1. WGAN-LP: one_sided. DRAGAN 10, at around_real, center 1.
    R1 gamma/2, at real, center 0. R2 gamma/2, at fake, center 0. Both, as in R3GAN: gamma, at both, center 0.
    WGAN-div 2, center 0, power 6, at line.

    weight: factor of the penalty, a number or a schedule.
    at: points x: line between real and fake, real, fake, both, around_real, around_real_symmetric,
    around_real_gaussian.
    center: target of the gradient norm.
    power: exponent of the difference from the center.
    one_sided: True penalises only norms above the center.
    every: discriminator updates from one penalty to the next, each multiplied by this number (lazy regularisation).
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
        check_weight(weight, every)
        require(center >= 0, f"center={center} is a norm: use 0 or more")
        require(power >= 1, f"power={power} must be at least 1")
        self.weight, self.center, self.power, self.one_sided, self.every = weight, center, power, one_sided, every
        self.batch_statistics = at.startswith("around_real")  # its standard deviation is over the whole batch

    def __call__(self, discriminator: nn.Module, real: Batch, fake: Batch, noise: Noise) -> tuple[Tensor, Stats]:
        """Returns the unweighted penalty, and the mean gradient norm at its points."""
        _, gradient = score_and_gradient(discriminator, self.points(real, fake, noise))
        if self.center == 0 and self.power >= 2:  # no square root, whose derivative at 0 is infinite
            squared = gradient.square().sum(1)
            return squared.pow(self.power / 2).mean(), {"gradient_norm": squared.detach().sqrt().mean()}
        norm = torch.linalg.vector_norm(gradient, dim=1)
        excess = norm - self.center
        excess = excess.relu() if self.one_sided else excess.abs()
        return excess.pow(self.power).mean(), {"gradient_norm": norm.detach().mean()}


class JensenShannonRegularizer:
    """E (1 - sigma(D(x)))^2 ||grad D(x)||^2 + E sigma(D(y))^2 ||grad D(y)||^2, weight gamma/2 (Roth et al. 2017).

    To first order, its effect equals that of noise on the images for the discriminator of the minimax GAN.

    weight: gamma/2, a number or a schedule.
    every: discriminator updates from one penalty to the next, each multiplied by this number.
    """

    per_sample = True
    batch_statistics = False

    def __init__(self, weight: float | Schedule = 1.0, every: int = 1):
        check_weight(weight, every)
        self.weight, self.every = weight, every

    def __call__(self, discriminator: nn.Module, real: Batch, fake: Batch, noise: Noise) -> tuple[Tensor, Stats]:
        real_score, real_gradient = score_and_gradient(discriminator, real)
        fake_score, fake_gradient = score_and_gradient(discriminator, fake)
        real_square, fake_square = real_gradient.square().sum(1), fake_gradient.square().sum(1)
        value = torch.sigmoid(-real_score).square() * real_square + torch.sigmoid(fake_score).square() * fake_square
        norm = torch.cat([real_square, fake_square]).detach().sqrt().mean()
        return value.mean(), {"gradient_norm": norm}


class OrthonormalRegularizer:
    """Sum over the layers of ||W W^T - I||_F^2, W (outputs, rest) (Brock et al. 2017).

    weight: factor of the sum, a number or a schedule.
    every: discriminator updates from one penalty to the next, each multiplied by this number.
    off_diagonal: uses only the entries off the diagonal, without a penalty on the norms (BigGAN, Brock et al. 2019).
    For layers with more outputs than inputs, W^T W replaces W W^T.
    """

    per_sample = False
    batch_statistics = False

    def __init__(self, weight: float | Schedule = 1e-4, off_diagonal: bool = True, every: int = 1):
        check_weight(weight, every)
        self.weight, self.off_diagonal, self.every = weight, off_diagonal, every

    def __call__(self, discriminator: nn.Module, real: Batch, fake: Batch, noise: Noise) -> tuple[Tensor, Stats]:
        layers = [module for module in discriminator.modules() if isinstance(module, MATRICES)]
        with torch.autocast(real.images.device.type, enabled=False):
            return torch.stack([self.excess(matrix(layer)) for layer in layers]).sum(), {}

    def excess(self, weight: Tensor) -> Tensor:
        gram = weight @ weight.T if len(weight) <= weight.shape[1] else weight.T @ weight
        identity = torch.eye(len(gram), device=gram.device, dtype=gram.dtype)
        return ((gram * (1 - identity)) if self.off_diagonal else (gram - identity)).square().sum()


MATRICES = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d)


def matrix(layer: nn.Module) -> Tensor:
    """Returns the weight as (outputs, rest), at least in float32."""
    weight = full_precision(layer.weight)  # type: ignore[arg-type]
    return (weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else weight).flatten(1)
