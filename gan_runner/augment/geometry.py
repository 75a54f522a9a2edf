"""Geometric transforms: by whole pixels, and by resampling between pixels.

Images are continued by reflection beyond their border.
"""

import math

import torch
from torch import Tensor

from gan_runner.augment.pixels import centred, reflect, take

# The symlet with 6 vanishing moments (Daubechies 1992); the sum of its taps is the square root of 2. It is orthogonal
# to itself shifted by two, so that enlarging and reducing reconstruct an image that is not moved.
SYM6 = (
    *(0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633, 0.4910559419267466),
    *(0.787641141030194, 0.3379294217276218, -0.07263752278646252, -0.021060292512300564, 0.04472490177066578),
    *(0.0017677118642428036, -0.007800708325034148),
)
LEAD = len(SYM6) // 2 - 1  # taps before the tap at a pixel's own place
CENTRE = sum(i * tap for i, tap in enumerate(SYM6)) / sum(SYM6) - LEAD  # centre of mass of the asymmetric filter
MARGIN = 4  # pixels around an image that are enlarged with it; enough for an image that is not moved


def blit(images: Tensor, flip: Tensor, turns: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Mirrors (flip 1, else 0), rotates clockwise by quarter turns, shifts by whole pixels; parameters are (B,)."""
    height, width = images.shape[2:]
    turns = turns[:, None, None]
    cos, sin = (turns == 0).float() - (turns == 2).float(), (turns == 1).float() - (turns == 3).float()
    y = centred(height, images.device, torch.float32)[:, None] - down[:, None, None]
    x = centred(width, images.device, torch.float32) - right[:, None, None]
    rows, columns = cos * y - sin * x, (cos * x + sin * y) * (1 - 2 * flip[:, None, None])
    places = (
        reflect((place + (size - 1) / 2).floor().long(), size) for place, size in ((rows, height), (columns, width))
    )
    return take(images, *places)


class Resampling:
    """Antialiased affine maps of images (B, C, height, width), as in Karras et al. 2020 (appendix B).

    Images are enlarged by two, sampled bilinearly on a grid twice as fine, and reduced, both with the same wavelet.
    """

    def __init__(self, height: int, width: int, device: torch.device):
        self.sides = (height, width)
        self.up = [enlarging(side).to(device) for side in self.sides]
        self.down = [reducing(side).to(device) for side in self.sides]

    def __call__(self, images: Tensor, linear: Tensor, shift: Tensor) -> Tensor:
        """The output at `place` is the input at `linear @ (place - shift)`; (x, y) in pixels from the middle.

        linear: (B, 2, 2); shift: (B, 2).
        """
        (up_y, up_x), (down_y, down_x) = (
            [matrix.to(images) for matrix in matrices] for matrices in (self.up, self.down)
        )
        rows, columns = self.places(linear.to(images), shift.to(images))
        return down_y @ bilinear(up_y @ images @ up_x.T, rows, columns) @ down_x.T

    def places(self, linear: Tensor, shift: Tensor) -> list[Tensor]:
        """Returns the rows and columns (B, h, w) at which the enlarged images are sampled."""
        y, x = (fine(side, linear) for side in self.sides)
        x, y = x - shift[:, 0, None, None], y[:, None] - shift[:, 1, None, None]
        columns, rows = (row[:, 0] * x + row[:, 1] * y for row in linear[..., None, None].unbind(1))
        return [enlarged(place, side) for place, side in zip((rows, columns), self.sides, strict=True)]


def fine(side: int, like: Tensor) -> Tensor:
    """Returns the places of the fine grid that `reducing` reduces to pixels, in pixels from the image's middle."""
    count = 2 * (side - 1) + len(SYM6)
    return (torch.arange(count, device=like.device, dtype=like.dtype) - LEAD - CENTRE) / 2 - (side - 1) / 2


def enlarged(places: Tensor, side: int) -> Tensor:
    """Converts places, in pixels from the image's middle, to indices in the image that `enlarging` makes."""
    places = places + (side - 1) / 2
    far = (places < -MARGIN) | (places > side - 1 + MARGIN)
    return 2 * (torch.where(far, reflect(places, side), places) + MARGIN) + CENTRE


def enlarging(side: int) -> Tensor:
    """Returns the matrix (2 (side + 2 MARGIN), side); its row j is at the place (j - CENTRE) / 2 - MARGIN."""
    matrix = torch.zeros(2 * (side + 2 * MARGIN), side)
    for row in range(len(matrix)):
        for tap in range((row + LEAD) % 2, len(SYM6), 2):
            pixel = torch.tensor((row + LEAD - tap) // 2 - MARGIN)
            matrix[row, int(reflect(pixel, side))] += math.sqrt(2) * SYM6[tap]
    return matrix


def reducing(side: int) -> Tensor:
    """Returns (side, 2 side + 10): enlarging, transposed, without border; column j is at (j - LEAD - CENTRE) / 2."""
    matrix = torch.zeros(side, 2 * (side - 1) + len(SYM6))
    for row in range(side):
        matrix[row, 2 * row : 2 * row + len(SYM6)] = torch.tensor(SYM6) / math.sqrt(2)
    return matrix


def bilinear(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Samples images (B, C, H, W) bilinearly at fractional rows and columns (B, h, w)."""
    top, left = rows.floor(), columns.floor()
    below, beside = (rows - top)[:, None], (columns - left)[:, None]
    top, left = top.long(), left.long()
    upper = torch.lerp(take(images, top, left), take(images, top, left + 1), beside)
    lower = torch.lerp(take(images, top + 1, left), take(images, top + 1, left + 1), beside)
    return torch.lerp(upper, lower, below)
