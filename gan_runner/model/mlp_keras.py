"""The MLP of Keras-GAN (Linder-Noren 2017), copied by many tutorials: batch norm comes after the activation."""

import itertools

from torch import Tensor, nn

from gan_runner.model.conditioning import (
    FOR_DISCRIMINATORS,
    FOR_GENERATORS,
    ConditionalBatchNorm,
    Discriminator,
    Head,
    JoinVector,
    Layers,
    check,
)
from gan_runner.model.latent import Latent
from gan_runner.model.layers import ToRange, glorot
from gan_runner.spec import ImageSpec

SLOPE = 0.2
# Keras' momentum 0.8 is the share of the running average that is kept, PyTorch's is the share that is replaced
EPS, MOMENTUM = 1e-3, 0.2


class KerasGenerator(nn.Module):
    """z (B, Z) and labels (B,) -> images (B, C, H, W) in spec.value_range. 1,489,936 parameters for 28x28x1.

    conditioning: none, one_hot, embedding, or norm (the label sets gain and shift of every batch norm).
    """

    def __init__(self, spec: ImageSpec, latent: Latent, conditioning: str = "none"):
        super().__init__()
        self.shape = spec.shape
        self.conditional = check(conditioning, FOR_GENERATORS, spec) != "none"
        self.join = JoinVector(latent.dim, spec.num_classes, conditioning)
        layers: list[nn.Module] = []
        for pair in itertools.pairwise((self.join.width, 256, 512, 1024)):
            layers += [glorot(nn.Linear(*pair)), nn.LeakyReLU(SLOPE)]
            layers += (
                [ConditionalBatchNorm(pair[1], spec.num_classes, images=False)]
                if conditioning == "norm"
                else [nn.BatchNorm1d(pair[1], eps=EPS, momentum=MOMENTUM)]
            )
        self.layers = Layers(*layers, glorot(nn.Linear(1024, spec.size)), ToRange(spec.value_range))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        images: Tensor = self.layers(self.join(z, labels), labels)
        return images.view(-1, *self.shape)


class KerasDiscriminator(Discriminator):
    """images (B, C, H, W) and labels (B,) -> raw scores (B,). 533,505 parameters for 28x28x1.

    conditioning: none, one_hot, embedding, projection or classifier.
    """

    def __init__(self, spec: ImageSpec, conditioning: str = "none"):
        super().__init__()
        self.conditional = check(conditioning, FOR_DISCRIMINATORS, spec) != "none"
        self.join = JoinVector(spec.size, spec.num_classes, conditioning)
        layers: list[nn.Module] = []
        for pair in itertools.pairwise((self.join.width, 512, 256)):
            layers += [glorot(nn.Linear(*pair)), nn.LeakyReLU(SLOPE)]
        self.layers = nn.Sequential(*layers)
        self.head = Head(256, spec.num_classes, conditioning)

    def features(self, images: Tensor, labels: Tensor | None) -> Tensor:
        features: Tensor = self.layers(self.join(images.flatten(1), labels))
        return features
