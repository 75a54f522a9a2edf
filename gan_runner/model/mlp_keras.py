"""The MLP of Keras-GAN (Linder-Noren 2017), which tutorials took over: batch norm comes after the activation."""

import itertools

from torch import Tensor, nn

from gan_runner.model.latent import Latent
from gan_runner.model.layers import ToRange, glorot
from gan_runner.spec import ImageSpec

SLOPE = 0.2
# Keras' momentum 0.8 is the share of the running average that is kept, PyTorch's is the share that is replaced
EPS, MOMENTUM = 1e-3, 0.2


class KerasGenerator(nn.Module):
    """z (B, Z) -> images (B, C, H, W) in spec.value_range; labels are not used. 1,489,936 parameters for 28x28x1."""

    def __init__(self, spec: ImageSpec, latent: Latent):
        super().__init__()
        self.shape = spec.shape
        layers: list[nn.Module] = []
        for pair in itertools.pairwise((latent.dim, 256, 512, 1024)):
            norm = nn.BatchNorm1d(pair[1], eps=EPS, momentum=MOMENTUM)
            layers += [glorot(nn.Linear(*pair)), nn.LeakyReLU(SLOPE), norm]
        self.layers = nn.Sequential(*layers, glorot(nn.Linear(1024, spec.size)), ToRange(spec.value_range))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        images: Tensor = self.layers(z)
        return images.view(-1, *self.shape)


class KerasDiscriminator(nn.Module):
    """images (B, C, H, W) -> raw scores (B,); labels are not used. 533,505 parameters for 28x28x1."""

    def __init__(self, spec: ImageSpec):
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        for pair in itertools.pairwise((spec.size, 512, 256)):
            layers += [glorot(nn.Linear(*pair)), nn.LeakyReLU(SLOPE)]
        self.layers = nn.Sequential(*layers, glorot(nn.Linear(256, 1)))

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        score: Tensor = self.layers(images)
        return score.squeeze(1)
