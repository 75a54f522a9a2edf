"""Adaptive discriminator augmentation (Karras et al. 2020), whose strength follows the discriminator's overfitting."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from gan_runner.augment.color import recolored
from gan_runner.augment.corruption import BANDS, band_matrices, filtered, gains, holes
from gan_runner.augment.geometry import Resampling, blit
from gan_runner.augment.pixels import check_probability, each
from gan_runner.errors import require
from gan_runner.noise import Noise
from gan_runner.protocols import Stats
from gan_runner.schedule import Progress, Schedule, valued
from gan_runner.spec import ImageSpec

BLIT = ("xflip", "rotate90", "xint")
GEOMETRY = ("scale", "rotate", "aniso", "xfrac")
COLOR = ("brightness", "contrast", "lumaflip", "hue", "saturation")
COLUMNS = 32  # uniform and as many normal random numbers, at most, that one image uses


class ADA:
    """The 18 transforms of Karras et al. 2020, appendix B, each with the probability p times its own factor.

    The adaptive p begins at 0. After each `every` discriminator updates it changes by sign(r - target) n /
    speed_images; n is the number of real images in these updates, and r the mean sign of their scores.

    probability: p, a number or a schedule; None for the adaptive p.
    target: mean sign of the scores of real images that the adaptive p aims at.
    every: discriminator updates between two changes of p.
    speed_images: real images in which p can rise from 0 to 1.
    xflip, rotate90, xint: factor of p for copied pixels: mirroring; quarter turns; whole-pixel shifts.
    scale, rotate, aniso, xfrac: factor of p for resampled geometry: size; angle; aspect ratio; fractional shifts.
    brightness, contrast, lumaflip, hue, saturation: factor of p for this change of the colours.
    imgfilter, noise, cutout: factor of p for the corruptions: frequency bands; Gaussian noise; a hole.
    """

    state_stays_in_place = True  # p is a tensor on the device that is changed in place after an update

    def __init__(
        self,
        spec: ImageSpec,
        device: torch.device,
        batch_size: int,
        probability: float | Schedule | None = None,
        target: float = 0.6,
        every: int = 4,
        speed_images: float = 500_000.0,
        xflip: float = 1.0,
        rotate90: float = 1.0,
        xint: float = 1.0,
        scale: float = 1.0,
        rotate: float = 1.0,
        aniso: float = 1.0,
        xfrac: float = 1.0,
        brightness: float = 1.0,
        contrast: float = 1.0,
        lumaflip: float = 1.0,
        hue: float = 1.0,
        saturation: float = 1.0,
        imgfilter: float = 0.0,
        noise: float = 0.0,
        cutout: float = 0.0,
    ):
        self.factors = {
            **{"xflip": xflip, "rotate90": rotate90, "xint": xint},
            **{"scale": scale, "rotate": rotate, "aniso": aniso, "xfrac": xfrac},
            **{"brightness": brightness, "contrast": contrast, "lumaflip": lumaflip},
            **{"hue": hue, "saturation": saturation, "imgfilter": imgfilter, "noise": noise, "cutout": cutout},
        }
        for name, factor in self.factors.items():
            check_probability(name, factor)
        require(
            any(self.factors.values()), f"cutout={cutout} and all other factors 0 augment nothing; use augment=none"
        )
        if probability is not None:
            check_probability("probability", probability)
        require(-1 <= target <= 1, f"target={target} is a mean of signs: use -1 to 1")
        require(every >= 1, f"every={every} must be at least 1 (discriminator updates)")
        require(speed_images > 0, f"speed_images={speed_images} must be above 0")
        require(
            spec.channels in (1, 3) or spec.value_range is None or not self.uses(COLOR),
            f"brightness={brightness} and the other colours are for images of 1 or 3 channels, and the data have "
            f"{spec.channels}; use augment=none, or 0 for {', '.join(COLOR)}",
        )
        self.probability, self.target, self.every = probability, target, every
        self.speed_images, self.batch_size = speed_images, batch_size
        self.adaptive = torch.zeros((), device=device)  # the adaptive p
        self.signs = torch.zeros((), device=device)  # mean signs of real scores, summed since the last change of p
        self.resampling = Resampling(spec.height, spec.width, device)
        self.bands = [band_matrices(side).to(device) for side in (spec.height, spec.width)]

    def uses(self, names: tuple[str, ...]) -> bool:
        return any(self.factors[name] for name in names)

    @property
    def adapts(self) -> bool:
        return self.probability is None

    def at(self, progress: Progress) -> Tensor:
        """Returns the current p, on the device."""
        if self.probability is None:
            return self.adaptive
        return torch.full_like(self.adaptive, valued(self.probability, progress))

    # ---- the images

    def __call__(self, images: Tensor, noise: Noise, progress: Progress) -> Tensor:
        draws = Draws(noise, self.at(progress), self.factors)
        if self.uses(BLIT):
            images = blitted(images, draws)
        if self.uses(GEOMETRY):
            images = moved(images, draws, self.resampling)
        if self.uses(COLOR):
            images = colored(images, draws)
        if self.uses(("imgfilter",)):
            gain = gains(torch.stack([draws.log_normal("imgfilter", 1.0) for _ in range(BANDS)], 1))
            images = torch.where(each((gain != 1).any(1)), filtered(images, gain, *self.bands), images)
        if self.uses(("noise",)):
            deviation = each(draws.chosen("noise", 0.1 * draws.normal().abs(), 0.0)).to(images)
            images = images + deviation * noise.scoped("pixels").normal(*images.shape[1:]).to(images)
        if self.uses(("cutout",)):
            images = holes(images, 0.5 * draws.chosen("cutout", 1.0, 0.0), draws.uniform(), draws.uniform())
        return images

    # ---- the probability

    def adapt(self, observed: Stats, update: int, progress: Progress) -> Stats:
        """Called after discriminator update `update`; `accuracy/real` is the share of real images scored above 0."""
        stats = {"augment/probability": self.at(progress).clone()}
        if self.adapts:
            self.signs.copy_(self.signs + 2 * observed["accuracy/real"] - 1)
            if (update + 1) % self.every == 0:
                stride = self.batch_size * self.every / self.speed_images
                step = stride * (self.signs / self.every - self.target).sign()
                self.adaptive.add_(step).clamp_(0, 1)
                self.signs.zero_()
        return stats

    def state_dict(self) -> dict[str, Tensor]:
        return {"adaptive": self.adaptive.clone(), "signs": self.signs.clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.adaptive.copy_(state["adaptive"])
        self.signs.copy_(state["signs"])


class Draws:
    """Random numbers (B,), drawn at once and used in the order of the pipeline."""

    def __init__(self, noise: Noise, probability: Tensor, factors: Mapping[str, float]):
        self.probability, self.factors = probability, factors
        self.uniforms = iter(noise.scoped("uniform").uniform(COLUMNS).unbind(1))
        self.normals = iter(noise.scoped("normal").normal(COLUMNS).unbind(1))

    def uniform(self) -> Tensor:
        """Returns (B,) from U[0, 1)."""
        return next(self.uniforms)

    def symmetric(self) -> Tensor:
        """Returns (B,) from U[-1, 1)."""
        return 2 * self.uniform() - 1

    def normal(self) -> Tensor:
        """Returns (B,) from N(0, 1)."""
        return next(self.normals)

    def chosen(self, name: str, value: Tensor | float, neutral: float) -> Tensor:
        """Returns the value for images that get the transform, else `neutral`, which changes nothing."""
        return self.where(self.factors[name] * self.probability, value, neutral)

    def where(self, probability: Tensor, value: Tensor | float, neutral: float) -> Tensor:
        return torch.where(self.uniform() < probability, value, neutral)

    def log_normal(self, name: str, deviation: float) -> Tensor:
        """Returns 2^(deviation N(0, 1)) for images that get the transform, else 1."""
        return self.chosen(name, torch.exp2(deviation * self.normal()), 1.0)


def blitted(images: Tensor, draws: Draws) -> Tensor:
    height, width = images.shape[2:]
    flip = draws.chosen("xflip", (2 * draws.uniform()).floor(), 0.0)
    turns = draws.chosen("rotate90", (4 * draws.uniform()).floor(), 0.0)
    reach = draws.chosen("xint", 1 / 8, 0.0)
    down, right = ((reach * side * draws.symmetric()).round() for side in (height, width))
    return blit(images, flip, turns, down, right)


def moved(images: Tensor, draws: Draws, resampling: Resampling) -> Tensor:
    """Scales, rotates, stretches, rotates again and shifts by fractions of pixels; unchosen images stay unchanged."""
    height, width = images.shape[2:]
    scale = draws.log_normal("scale", 0.2)
    # the probability of each rotation, so that at least one of the two takes place with the probability of `rotate`
    once = 1 - (1 - draws.factors["rotate"] * draws.probability).sqrt()
    before, after = (draws.where(once, math.pi * draws.symmetric(), 0.0) for _ in range(2))
    stretch = draws.log_normal("aniso", 0.2)
    reach = draws.chosen("xfrac", 1 / 8, 0.0)
    shift = torch.stack([reach * side * draws.normal() for side in (width, height)], 1)
    linear = product(turned(-before), diagonal(1 / (scale * stretch), stretch / scale), turned(-after))
    still = (linear == torch.eye(2, device=linear.device)).all(2).all(1) & (shift == 0).all(1)
    return torch.where(each(still), images, resampling(images, linear, shift))


def turned(angle: Tensor) -> Tensor:
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)


def diagonal(x: Tensor, y: Tensor) -> Tensor:
    return torch.diag_embed(torch.stack([x, y], 1))


def product(*matrices: Tensor) -> Tensor:
    """Product of small matrices by elementwise operations, since a GPU may round torch's product to 10 bits."""
    result, *rest = matrices
    for matrix in rest:
        result = (result[..., :, :, None] * matrix[..., None, :, :]).sum(-2)
    return result


def colored(images: Tensor, draws: Draws) -> Tensor:
    brightness = draws.chosen("brightness", 0.2 * draws.normal(), 0.0)
    contrast = draws.log_normal("contrast", 0.5)
    flip = draws.chosen("lumaflip", (2 * draws.uniform()).floor(), 0.0)
    hue = draws.chosen("hue", math.pi * draws.symmetric(), 0.0)
    saturation = draws.log_normal("saturation", 1.0)
    changed = recolored(images, brightness, contrast, flip, hue, saturation)
    still = (brightness == 0) & (contrast == 1) & (flip == 0) & (hue == 0) & (saturation == 1)
    return torch.where(each(still), images, changed)
