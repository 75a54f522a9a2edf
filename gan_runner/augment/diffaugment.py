"""DiffAugment (Zhao et al. 2020): a few strong augmentations, on every image and in both updates."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gan_runner.augment.pixels import inside, take, whole
from gan_runner.errors import choose, require
from gan_runner.noise import Noise
from gan_runner.schedule import Progress

SHIFT, CUT = 1 / 8, 1 / 2  # shares of the side


def part_of(side: int, share: float) -> int:
    """Returns a share of the side in whole pixels, half a pixel rounded up, as in the authors' code."""
    return int(side * share + 0.5)


def color(images: Tensor, noise: Noise) -> Tensor:
    """Adds U[-.5, .5]; scales by U[0, 2] about each pixel's mean (saturation), by U[.5, 1.5] about the image's."""
    brightness, saturation, contrast = noise.uniform(3, 1, 1, 1).to(images.dtype).unbind(1)
    images = images + brightness - 0.5
    images = torch.lerp(images.mean(1, keepdim=True), images, 2 * saturation)
    return torch.lerp(images.mean((1, 2, 3), keepdim=True), images, contrast + 0.5)


def translation(images: Tensor, noise: Noise) -> Tensor:
    """Shifts by whole pixels, up to an eighth of the side in each direction; empty places are 0, a medium grey."""
    (height, width), uniform = images.shape[2:], noise.uniform(2, 1, 1)
    down, right = (
        whole(u, -part_of(n, SHIFT), part_of(n, SHIFT)) for u, n in zip(uniform.unbind(1), (height, width), strict=True)
    )
    rows = torch.arange(height, device=images.device)[:, None] - down
    columns = torch.arange(width, device=images.device) - right
    there = inside(rows, height) & inside(columns, width)
    places = torch.broadcast_tensors(rows.clamp(0, height - 1), columns.clamp(0, width - 1))
    return take(images, *places) * there[:, None]


def cutout(images: Tensor, noise: Noise) -> Tensor:
    """Sets a square of half the side to 0; its centre is anywhere in the image, and the border clips it."""
    (height, width), uniform = images.shape[2:], noise.uniform(2, 1, 1)
    down, right = (hole(u, n) for u, n in zip(uniform.unbind(1), (height, width), strict=True))
    return images * ~(down.transpose(1, 2) & right)[:, None]


def hole(uniform: Tensor, side: int) -> Tensor:
    """Returns (B, 1, side) bool: the places of one side that are cut out."""
    size = part_of(side, CUT)
    first = whole(uniform, 0, side - size % 2) - size // 2
    return inside(torch.arange(side, device=uniform.device) - first, size)


POLICIES: dict[str, Callable[[Tensor, Noise], Tensor]] = {
    "color": color,
    "translation": translation,
    "cutout": cutout,
}


class DiffAugment:
    """Color, translation and cutout, each on every image, in the order of the policy (Zhao et al. 2020).

    policy: a list of color, translation and cutout.
    """

    def __init__(self, policy: Sequence[str] = ("color", "translation", "cutout")):
        require(len(policy) > 0, "policy=[] augments nothing; use augment=none")
        self.policy = {name: choose("policy", name, POLICIES) for name in policy}
        require(len(self.policy) == len(policy), f"policy={list(policy)} names one twice; name each once")

    def __call__(self, images: Tensor, noise: Noise, progress: Progress) -> Tensor:
        for name, change in self.policy.items():
            images = change(images, noise.scoped(name))
        return images
