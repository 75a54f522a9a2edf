"""ADA's changes of pixel values other than colour: frequency bands and cutouts."""

import torch
from torch import Tensor
from torch.nn.functional import conv1d, pad

from gan_runner.augment.pixels import reflect

# The wavelet with 2 vanishing moments (Daubechies 1992); the sum of its taps is the square root of 2.
SYM2 = (-0.12940952255092145, 0.22414386804185735, 0.836516303737469, 0.48296291314469025)
POWER = (10 / 13, 1 / 13, 1 / 13, 1 / 13)  # shares of the bands in the power of natural images, by a 1/f spectrum
BANDS = len(POWER)


def filter_bank() -> Tensor:
    """Returns (4, 43): one filter for each band, lowest first; their sum is the identity (Karras et al. 2020, app. B).

    Each octave splits the lowest band in two by half-band filters, the autocorrelations of the wavelet's filters.
    """
    low = torch.tensor(SYM2, dtype=torch.float64)
    high = low * torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
    half_low, half_high = (convolved(taps[None], taps.flip(0))[0] / 2 for taps in (low, high))
    bank = torch.ones(1, 1, dtype=torch.float64)
    for _ in range(BANDS - 1):
        bank = convolved(stretched(bank), half_low)
        margin = (bank.shape[1] - len(half_high)) // 2
        bank = torch.cat([bank, pad(half_high, (margin, margin))[None]])
    return bank.float()


def convolved(rows: Tensor, taps: Tensor) -> Tensor:
    """Full convolution of rows (N, L) with taps (T,): (N, L + T - 1)."""
    return conv1d(rows[:, None], taps.flip(0)[None, None], padding=len(taps) - 1)[:, 0]


def stretched(rows: Tensor) -> Tensor:
    """Inserts a zero between every two taps."""
    return torch.stack([rows, torch.zeros_like(rows)], 2).flatten(1)[:, :-1]


def band_matrices(side: int) -> Tensor:
    """Returns (4, side, side): the filters as matrices on a row of pixels, with reflection beyond its ends."""
    bank = filter_bank()
    reach = bank.shape[1] // 2
    places = reflect(torch.arange(side)[:, None] + torch.arange(-reach, reach + 1), side)
    matrices = torch.zeros(BANDS, side, side)
    return matrices.scatter_add(2, places.expand(BANDS, -1, -1), bank[:, None].expand(-1, side, -1))


def gains(amplification: Tensor) -> Tensor:
    """Returns the gains (B, 4) of the bands: each is amplified in turn, and the expected power restored each time."""
    identity = torch.eye(BANDS, device=amplification.device)
    each_alone = 1 + identity * (amplification[:, :, None] - 1)
    power = sum(share * each_alone[:, :, band].square() for band, share in enumerate(POWER))
    return (each_alone / torch.as_tensor(power).sqrt()[:, :, None]).prod(1)


def filtered(images: Tensor, gain: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Multiplies the bands by their gains (B, 4), along both axes; rows and columns are `band_matrices`."""
    vertical, horizontal = (
        torch.einsum("bk,kij->bij", gain.to(images), matrices.to(images))[:, None] for matrices in (rows, columns)
    )
    return vertical @ images @ horizontal.mT


def holes(images: Tensor, size: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Sets a rectangle to 0: `size` is its share of the sides, (x, y) in [0, 1) its centre; each parameter is (B,)."""
    height, width = images.shape[2:]
    rows, columns = (
        ((torch.arange(side, device=images.device) + 0.5) / side - middle[:, None]).abs() < size[:, None] / 2
        for side, middle in ((height, y), (width, x))
    )
    return images * ~(rows[:, None, :, None] & columns[:, None, None, :])
