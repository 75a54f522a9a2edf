"""Pixels as features, which need no network, no labels and no download."""

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from gan_runner.metric.pools import Features
from gan_runner.spec import ImageSpec

MOST = 3072  # features, at most: 32x32 in colour; covariances and neighbours of more would take too long


class Pixels:
    """Pixels from 0 to 1 (points unchanged); images with more than 3072 values are reduced to means of equal areas."""

    digest = "none"
    accuracy: float | None = None
    cheap = True

    def __init__(self, spec: ImageSpec):
        self.height, self.width = spec.height, spec.width
        while spec.channels * self.height * self.width > MOST:
            self.height, self.width = -(-self.height // 2), -(-self.width // 2)
        self.pooled = (self.height, self.width) != (spec.height, spec.width)
        self.name = f"pixels {spec.channels}x{self.height}x{self.width}"

    def __call__(self, images: Tensor) -> Features:
        pixels = images.float() / 255 if images.dtype == torch.uint8 else images
        if self.pooled:
            pixels = adaptive_avg_pool2d(pixels, (self.height, self.width))
        return Features(pixels.flatten(1))
