"""Sliced Wasserstein distance (Rabin et al. 2011), also of patches of a Laplacian pyramid (Karras et al. 2018)."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from gan_runner.errors import require
from gan_runner.noise import seed_of

PROJECTIONS = 16_000_000  # values in one block of projections: 64 MB in float32
IMAGES = 64  # images whose pyramids are computed together
PATCH = 7  # side of a patch, in pixels
SMALLEST = 14  # smallest side of the coarsest level, in pixels; for powers of two that level has 16, as in the paper
DIRECTIONS = 4 * 128


def sliced_wasserstein(real: Tensor, fake: Tensor, directions: int = DIRECTIONS, seed: int = 0, p: float = 1) -> float:
    """(mean_theta mean_i |a_(i) - b_(i)|^p)^(1/p) over directions theta uniform on the sphere; a, b sorted projections.

    real and fake are both (N, D). For p = 1 and a pure shift by delta in the plane, the mean is (2 / pi) |delta|.
    """
    _require_alike(real, fake)
    generator = torch.Generator().manual_seed(seed_of("directions", seed))
    theta = torch.randn(directions, real.shape[1], generator=generator)
    theta /= theta.norm(dim=1, keepdim=True)
    total = 0.0
    for some in theta.split(max(1, PROJECTIONS // len(real))):
        gap = _sorted_projections(real, some)
        gap -= _sorted_projections(fake, some)
        np.abs(gap, out=gap)
        total += float(np.mean(gap**p, axis=1, dtype=np.float64).sum())
    return float((total / directions) ** (1 / p))


def pyramid_sliced_wasserstein(
    real: Tensor, fake: Tensor, seed: int = 0, patches: int = 128, directions: int = DIRECTIONS
) -> dict[int, float]:
    """Returns height of a level -> 1000 x the sliced Wasserstein distance of 7x7 patches of real and fake (N, C, H, W).

    As in the authors' code: a Laplacian pyramid, 128 patches of each image at each level, every channel normalised to
    mean 0 and deviation 1 over all patches of a set, 512 directions. (Published: 16,384 images.) The result does not
    depend on the range of the images. Sides are halved while they are even and the half has 14 pixels or more: 64, 32,
    16 for a power of two, as published; 28, 14 for MNIST. A constant channel becomes 0.

    Memory: the patches of one level, 4 N x 128 x C x 49 bytes for each set: 250 MB for 10,000 images of one channel.
    """
    _require_alike(real, fake)
    require(min(real.shape[2:]) >= PATCH, f"images of {tuple(real.shape[2:])} pixels: use {PATCH} or more a side")
    found = {}
    for level in range(levels(*real.shape[2:])):
        real_patches = _patches(real, level, patches, seed_of("real", level, seed))
        fake_patches = _patches(fake, level, patches, seed_of("fake", level, seed))
        found[real.shape[2] >> level] = 1000 * sliced_wasserstein(real_patches, fake_patches, directions, seed)
    return found


def levels(height: int, width: int) -> int:
    """Returns the number of levels in the pyramid of images of this size, at least 1."""
    count = 1
    while height % 2 == 0 and width % 2 == 0 and min(height, width) // 2 >= SMALLEST:
        height, width, count = height // 2, width // 2, count + 1
    return count


def laplacian_pyramid(images: Tensor, count: int) -> list[Tensor]:
    """Returns (B, C, H, W), (B, C, H/2, W/2), ...: the detail lost by each halving, and last the smallest image."""
    pyramid = [images.float()]
    for _ in range(count - 1):
        pyramid.append(blurred(pyramid[-1])[:, :, ::2, ::2])
        spread = torch.zeros_like(pyramid[-2])
        spread[:, :, ::2, ::2] = pyramid[-1]
        pyramid[-2] = pyramid[-2] - 4 * blurred(spread)
    return pyramid


def blurred(images: Tensor) -> Tensor:
    """Blurs with the binomial filter (1, 4, 6, 4, 1) / 16 along both sides, with reflection padding."""
    channels = images.shape[1]
    weight = (images.new_tensor([1, 4, 6, 4, 1]) / 16).expand(channels, 1, 5)
    rows = conv2d(pad(images, (2, 2, 2, 2), mode="reflect"), weight[:, :, None, :], groups=channels)
    return conv2d(rows, weight[:, :, :, None], groups=channels)


def _require_alike(real: Tensor, fake: Tensor) -> None:
    shapes = f"{tuple(real.shape)} real and {tuple(fake.shape)} fake"
    require(real.shape == fake.shape and len(real) > 0, f"{shapes}: use equally many of each, of one size")


def _sorted_projections(points: Tensor, directions: Tensor) -> np.ndarray:
    """Returns (directions, N), each row ascending; numpy sorts float32 several times as fast as torch."""
    projected = (directions.to(points) @ points.T).cpu().numpy()
    projected.sort(axis=1)
    return projected


def _patches(images: Tensor, level: int, count: int, seed: int) -> Tensor:
    """Returns (N x count, C x 49) float32: random patches of one level, each channel with mean 0 and deviation 1."""
    generator = torch.Generator().manual_seed(seed)
    found = torch.empty(len(images) * count, images.shape[1], PATCH * PATCH)
    for number, block in enumerate(images.split(IMAGES)):
        rows = slice(number * IMAGES * count, (number * IMAGES + len(block)) * count)
        found[rows] = _patches_of_block(block, level, count, generator)
    for channel in found.unbind(1):
        mean = channel.mean(dtype=torch.float64)
        channel -= mean.float()
        deviation = channel.square().mean(dtype=torch.float64).sqrt()
        if deviation > 0:
            channel /= deviation.float()
    return found.flatten(1)


def _patches_of_block(images: Tensor, level: int, count: int, generator: torch.Generator) -> Tensor:
    """Returns (B x count, C, 49): patches at uniformly random places, those of one image in consecutive rows."""
    plane = laplacian_pyramid(images, levels(*images.shape[2:]))[level]
    _, channels, height, width = plane.shape
    x = torch.randint(width - PATCH + 1, (len(plane), count), generator=generator)
    y = torch.randint(height - PATCH + 1, (len(plane), count), generator=generator)
    side = torch.arange(PATCH)
    offset = (side[:, None] * width + side).flatten()
    place = ((y * width + x)[:, :, None] + offset).flatten(1).to(plane.device)  # (B, count x 49)
    index = place[:, None].expand(-1, channels, -1)
    found = plane.flatten(2).gather(2, index).view(len(plane), channels, count, PATCH * PATCH)
    return found.transpose(1, 2).flatten(0, 1)
