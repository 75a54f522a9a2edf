"""Samples of a generator, as a pure function of its weights and a key of noise."""

import torch
from torch import Tensor, nn

from gan_runner.metric.pools import CHUNK, Chunk, Pool
from gan_runner.model.latent import Latent
from gan_runner.nn.statistics import STATISTICS_BATCHES, estimate_batch_statistics, find_singular_vectors
from gan_runner.noise import Noise
from gan_runner.spec import ImageSpec, full_precision, to_levels


class Sampler:
    """Samples a generator, with batch-norm statistics estimated from noise of the run's seed in training-size batches.

    The spectral norms are recomputed exactly: the live network's singular vectors do not fit averaged weights.
    """

    def __init__(
        self, network: nn.Module, latent: Latent, spec: ImageSpec, seed: int, batch_size: int, device: torch.device
    ):
        self.network, self.latent, self.spec = network, latent, spec
        self.seed, self.batch_size, self.device = seed, batch_size, device

    @torch.no_grad()
    def estimate_statistics(self) -> None:
        """Estimates the statistics for the present weights; `draw` uses them."""
        find_singular_vectors(self.network)
        noises = [Noise((self.seed, "statistics", n), self.batch_size, self.device) for n in range(STATISTICS_BATCHES)]
        estimate_batch_statistics(self.network, ((self.latent.sample(n), self.random_labels(n)) for n in noises))

    def draw(self, noise: Noise, labels: Tensor | None) -> Tensor:
        """Returns images (noise.size, C, H, W) float32 in spec.value_range."""
        return self.images(self.latent.sample(noise), labels)

    @torch.no_grad()
    def images(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Returns the images (B, C, H, W) float32 of latents (B, Z)."""
        images: Tensor = self.network(z, labels)
        return full_precision(images)

    def __call__(self, noise: Noise, labels: Tensor | None) -> Tensor:
        self.estimate_statistics()
        return self.draw(noise, labels)

    def chunk(self, seed: int, number: int, chosen: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Returns CHUNK images and their labels, from noise of this chunk only: independent of the number of chunks.

        chosen: labels (CHUNK,) for a conditional generator, by default each class in turn.
        """
        noise = Noise((seed, "sample", number), CHUNK, self.device)
        if not self.conditional:
            return self.draw(noise, self.random_labels(noise)), None
        if chosen is None:
            chosen = torch.arange(number * CHUNK, (number + 1) * CHUNK, device=self.device) % self.spec.num_classes
        return self.draw(noise, chosen), chosen

    def fixed(self, count: int) -> tuple[Tensor, Tensor | None]:
        """Returns about `count` images of the same noise at every step, and labels: equally many images of each class.

        Estimates the statistics first.
        """
        labels = self.rows(count)
        noise = Noise((self.seed, "fixed", 0), count if labels is None else len(labels), self.device)
        return self(noise, self.random_labels(noise) if labels is None else labels), labels

    @property
    def conditional(self) -> bool:
        return bool(getattr(self.network, "conditional", False))

    def rows(self, count: int) -> Tensor | None:
        """Returns labels of about `count` images, in equal runs of as many classes as fit; None if unconditional."""
        if not self.conditional:
            return None
        classes = min(self.spec.num_classes, count)
        return torch.arange(classes, device=self.device).repeat_interleave(count // classes)

    def random_labels(self, noise: Noise) -> Tensor | None:
        classes = self.spec.num_classes
        return (noise.scoped("labels").uniform() * classes).long() if classes else None


def samples_of(sampler: Sampler, seed: int) -> Pool:
    """Returns the images of `python -m gan_runner.sample --seed`, as 8-bit images."""
    sampler.estimate_statistics()

    def read(number: int) -> Chunk:
        images, labels = sampler.chunk(seed, number)
        return Chunk(to_levels(images, sampler.spec).cpu(), None if labels is None else labels.cpu())

    return Pool(read)
