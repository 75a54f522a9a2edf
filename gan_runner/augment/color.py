"""Colour as one affine map of (red, green, blue) for each image."""

import math

import torch
from torch import Tensor

from gan_runner.augment.pixels import each


def recolored(
    images: Tensor, brightness: Tensor, contrast: Tensor, flip: Tensor, hue: Tensor, saturation: Tensor
) -> Tensor:
    """+ brightness, x contrast, dark for light (flip 1, else 0), hue turned by an angle, distance to grey x saturation.

    In this order, each given for every image, (B,); of one channel, what a grey pixel becomes.
    """
    light = contrast * (1 - 2 * flip)
    if images.shape[1] == 1:
        return each(light) * (images + each(brightness))
    grey = torch.full((3, 3), 1 / 3, device=images.device)  # projects on the axis of greys
    identity = torch.eye(3, device=images.device)
    quarter = (identity.roll(1, 0) - identity.roll(1, 1)) / math.sqrt(3)  # turns about that axis, and takes it to 0
    turned = hue.cos()[:, None, None] * (identity - grey) + hue.sin()[:, None, None] * quarter
    linear = light[:, None, None] * grey + (contrast * saturation)[:, None, None] * turned
    changed = (linear.to(images)[..., None, None] * images[:, None]).sum(2)
    return changed + each((light * brightness).to(images))
