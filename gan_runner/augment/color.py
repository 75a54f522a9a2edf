"""Changes of colour, as one affine map of (red, green, blue) for each image."""

import math

import torch
from torch import Tensor

from gan_runner.augment.pixels import each


def recolored(
    images: Tensor, brightness: Tensor, contrast: Tensor, flip: Tensor, hue: Tensor, saturation: Tensor
) -> Tensor:
    """x + brightness, x * contrast, inverted luma if flip = 1, hue rotated by an angle, distance to grey * saturation.

    The steps are applied in this order; each parameter is (B,). One channel is treated as a grey image.
    """
    light = contrast * (1 - 2 * flip)
    if images.shape[1] == 1:
        return each(light) * (images + each(brightness))
    grey = torch.full((3, 3), 1 / 3, device=images.device)  # projects onto the grey axis
    identity = torch.eye(3, device=images.device)
    # rotates by 90 degrees about the grey axis, and maps the axis to 0
    quarter = (identity.roll(1, 0) - identity.roll(1, 1)) / math.sqrt(3)
    turned = hue.cos()[:, None, None] * (identity - grey) + hue.sin()[:, None, None] * quarter
    linear = light[:, None, None] * grey + (contrast * saturation)[:, None, None] * turned
    changed = (linear.to(images)[..., None, None] * images[:, None]).sum(2)
    return changed + each((light * brightness).to(images))
