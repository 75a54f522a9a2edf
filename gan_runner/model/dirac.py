"""The Dirac-GAN: one parameter per player, so that training is a path in the plane (Mescheder et al. 2018)."""

import torch
from torch import Tensor, nn

from gan_runner.errors import require
from gan_runner.spec import ImageSpec


class DiracGenerator(nn.Module):
    """z (B, Z) -> images (B, C, H, W), all equal to theta.

    theta: initial value.
    """

    def __init__(self, spec: ImageSpec, theta: float = 1.0):
        super().__init__()
        self.shape = spec.shape
        self.theta = nn.Parameter(torch.tensor(theta))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.theta.expand(z.shape[0], *self.shape)


class DiracDiscriminator(nn.Module):
    """images (B, 1, 1, 1) -> psi x (B,). The paper scores fakes high: its (theta, psi) = (1, 1) is (1, -1) here.

    psi: initial value.
    """

    def __init__(self, spec: ImageSpec, psi: float = -1.0):
        super().__init__()
        require(spec.size == 1, f"spec={spec.shape} should be one number; use dataset=point_masses dataset.channels=1")
        self.slope = nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.slope.weight, psi)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        score: Tensor = self.slope(images.flatten(1))
        return score.squeeze(1)
