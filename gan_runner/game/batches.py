"""The inputs of an update: real images, noise and fakes, all functions of the clock."""

import time
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gan_runner.dataset.images import ImageDataset
from gan_runner.device import Device
from gan_runner.game.clock import Clock
from gan_runner.game.settings import Settings
from gan_runner.model.latent import Latent
from gan_runner.nn.coupling import StatisticsPerBatch
from gan_runner.noise import Noise, seed_of
from gan_runner.spec import Batch, Share, full_precision


class Part(NamedTuple):
    """The inputs of one micro-batch of an update."""

    real: Batch | None
    noise: Noise
    fake: Batch | None = None  # the fakes, if they are already made


class Batches:
    """Real images for both players, from the position of the clock on, and the noise of every update.

    All random numbers of an update are drawn for the global batch from a key, then split, so that ranks and
    accumulation do not change them.
    """

    def __init__(self, real: ImageDataset, clock: Clock, settings: Settings, device: Device, seed: int, labelled: bool):
        """labelled: the discriminator also needs images whose labels are known (semi-supervised)."""
        self.real, self.clock, self.settings = real, clock, settings
        self.device, self.seed, self.labelled = device, seed, labelled
        self.waited = 0.0  # seconds spent waiting for data so far
        self.open()

    # ---- one update

    def of_discriminator(self, update: int) -> list[Part]:
        return self.parts(self.next(self.for_discriminator), self.discriminator_noise(update))

    def of_generator(self, step: int, with_real: bool) -> list[Part]:
        """Returns the parts of a generator update; with_real: the update needs labels or scores of real images."""
        real = self.next(self.for_generator) if with_real else None
        return self.parts(real, self.generator_noise(step))

    def parts(self, real: Batch | None, noise: Noise) -> list[Part]:
        """Returns this rank's micro-batches. real: this rank's share of the images; noise: the noise of all ranks."""
        count, share = self.settings.accumulate, self.share
        reals = real.split(count) if real is not None else [None] * count
        noises = noise.split(share.parts * count)[share.part * count :][:count]
        return [Part(*pair) for pair in zip(reals, noises, strict=True)]

    def discriminator_noise(self, update: int) -> Noise:
        return self.noise("discriminator", update, self.settings.batch_size)

    def generator_noise(self, step: int) -> Noise:
        return self.noise("generator", step, self.settings.generator_batch_size)

    def noise(self, purpose: str, number: int, size: int) -> Noise:
        """Returns the noise of an update; it changes after each rollback, to avoid the same divergence again."""
        again = ("rollback", self.clock.rollbacks) if self.clock.rollbacks else ()
        return Noise((self.seed, purpose, number, *again), size, self.device.torch)

    def next(self, stream: Iterator[Batch]) -> Batch:
        began = time.perf_counter()
        batch = next(stream)
        self.waited += time.perf_counter() - began
        return batch

    # ---- the streams

    def open(self) -> None:
        """Opens the streams at the position of the clock; called again after the clock was set."""
        settings, clock = self.settings, self.clock
        self.for_discriminator = self.stream(settings.batch_size, clock.images, "discriminator")
        if self.labelled:
            self.for_discriminator = self.with_labelled(self.for_discriminator)
        start = clock.steps * settings.generator_batch_size
        self.for_generator = self.stream(settings.generator_batch_size, start, "generator")

    def stream(self, size: int, start: int, player: str) -> Iterator[Batch]:
        device = self.device
        return self.real.batches(size, device.torch, start, seed_of(self.seed, player), device.data, self.share)

    def with_labelled(self, unlabelled: Iterator[Batch]) -> Iterator[Batch]:
        """Yields batches of images without labels, each with a labelled batch of the same size."""
        size, seed = self.settings.batch_size, seed_of(self.seed, "labelled")
        known = self.real.labelled(seed).batches(size, self.device.torch, self.clock.images, seed, share=self.share)
        return (Batch(batch.images, None, labelled=few) for batch, few in zip(unlabelled, known, strict=True))

    @property
    def share(self) -> Share:
        """This rank's share of every batch."""
        return Share(self.device.ranks.rank, self.device.ranks.count)


class Fakes:
    """Generates images with the live generator, for the labels of the real batch."""

    def __init__(self, generator: nn.Module, latent: Latent, device: Device):
        self.generator, self.latent, self.device = generator, latent, device

    def __call__(self, real: Batch | None, noise: Noise) -> Batch:
        labels = real.labels if real is not None else None
        return Batch(full_precision(self.generator(self.sample(noise), labels)), labels)

    def sample(self, noise: Noise) -> Tensor:
        z: Tensor = self.latent.sample(noise.scoped("latent"))
        return z

    def together(self, drawn: list[list[Part]]) -> list[list[Part]]:
        """Generates the fakes of several updates (one part each) in one pass: the same images as in separate passes."""
        parts = [part for (part,) in drawn]
        z = torch.cat([self.sample(part.noise) for part in parts])
        labels = [part.real.labels for part in parts if part.real is not None and part.real.labels is not None]
        with torch.no_grad(), self.device.autocast(), StatisticsPerBatch(len(parts)):
            images = full_precision(self.generator(z, torch.cat(labels) if labels else None))
        made = zip(parts, images.chunk(len(parts)), strict=True)
        return [[part._replace(fake=Batch(own, part.real.labels if part.real else None))] for part, own in made]
