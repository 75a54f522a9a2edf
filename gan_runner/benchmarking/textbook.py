"""The training loop of tutorials, as a baseline for the runner's own loop."""

from collections.abc import Iterator
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from gan_runner.augment.none import NoAugmentation
from gan_runner.dataset.images import ImageDataset
from gan_runner.loss.objective import Objective
from gan_runner.noise import Noise
from gan_runner.schedule import Progress
from gan_runner.spec import Batch, scores
from gan_runner.training.run import Run


def unfit(run: Run) -> str | None:
    """Returns a sentence on why this run has no textbook loop; None if it has one."""
    spec = run.real.spec
    if not spec.drawable or run.real.endless:
        return "the textbook loop is left out: it reads pictures, and these data are none."
    if type(run.objective) is not Objective:
        name = type(run.objective).__name__
        return f"the textbook loop is left out: it knows adversarial terms and penalties, and {name} is more."
    if run.settings.accumulate > 1:
        return "the textbook loop is left out: it computes a batch at once, and train.accumulate cuts it."
    if not isinstance(run.augment, NoAugmentation):
        return f"the textbook loop is left out: it knows no augmentation such as {type(run.augment).__name__}."
    return None


class Textbook:
    """PIL images from a DataLoader in this process, three discriminator forwards, no frozen weights, .item().

    The networks, objective and optimizers are those of a run that is used for nothing else. The discriminator's fakes
    are made with an autograd graph of the generator, which `detach` drops. There is no moving average.
    """

    def __init__(self, run: Run):
        self.objective, self.latent, self.settings, self.length = (
            run.objective,
            run.latent,
            run.settings,
            run.clock.length,
        )
        self.generator, self.discriminator = run.generator.network, run.discriminator.network
        self.generator_optimizer, self.discriminator_optimizer = run.generator.optimizer, run.discriminator.optimizer
        for player in (run.generator, run.discriminator):
            player.thaw(True)
        self.seed, self.device = run.seed, run.device
        self.batches = forever(run.real, run.settings.batch_size, self.device.torch)
        self.steps = self.updates = self.images = 0

    def step(self) -> None:
        progress = Progress(self.steps, self.length)
        for _ in range(self.objective.n_critic_at(self.steps)):
            real = next(self.batches)
            self.update_discriminator(real, progress)
        self.update_generator(real, progress)
        self.steps += 1

    def update_discriminator(self, real: Batch, progress: Progress) -> float:
        noise = self.noise("discriminator", self.updates, len(real.images))
        self.discriminator_optimizer.zero_grad()
        fake = Batch(self.fake(noise, real.labels).detach(), real.labels)
        scored = self.score(real, noise.scoped("real"), progress), self.score(fake, noise.scoped("fake"), progress)
        loss = self.objective.adversarial.discriminator(*scored)
        penalty, _ = self.objective.penalty(Untouched(self.discriminator), real, fake, noise, self.updates, progress)
        total = loss + penalty
        total.backward()
        self.discriminator_optimizer.step()
        self.objective.enforce(self.discriminator)
        self.updates += 1
        self.images += len(real.images)
        return total.item()

    def update_generator(self, real: Batch, progress: Progress) -> float:
        real = of_size(real, self.settings.generator_batch_size)
        noise = self.noise("generator", self.steps, len(real.images))
        self.generator_optimizer.zero_grad()
        fake = Batch(self.fake(noise, real.labels), real.labels)
        real_score = self.score(real, noise.scoped("real"), progress) if self.objective.paired else None
        loss = self.objective.adversarial.generator(self.score(fake, noise.scoped("fake"), progress), real_score)
        loss.backward()
        self.generator_optimizer.step()
        return loss.item()

    def noise(self, purpose: str, number: int, size: int) -> Noise:
        return Noise((self.seed, purpose, number), size, self.device.torch)

    def fake(self, noise: Noise, labels: Tensor | None) -> Tensor:
        images: Tensor = self.generator(self.latent.sample(noise.scoped("latent")), labels)
        return images

    def score(self, batch: Batch, noise: Noise, progress: Progress) -> Tensor:
        return scores(self.discriminator, self.objective.noised(batch, noise, progress))


class Untouched(nn.Module):
    """A discriminator that uses torch's own layers, even if a penalty would replace some of their functions."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        with torch._C.DisableTorchFunction():
            scored: Tensor = self.network(images, labels)
        return scored


def of_size(batch: Batch, size: int) -> Batch:
    """Returns a batch of `size` images; if there are fewer, some of them are repeated."""
    if len(batch.images) == size:
        return batch
    rows = torch.arange(size, device=batch.images.device) % len(batch.images)
    return Batch(batch.images[rows], batch.labels[rows] if batch.labels is not None else None)


class Pictures(Dataset[Any]):
    """Stored images in the style of torchvision's datasets: PIL images, transformed one by one."""

    def __init__(self, real: ImageDataset):
        from torchvision import transforms

        mirrored = [transforms.RandomHorizontalFlip()] if real.flip else []
        scaled = [transforms.ToTensor(), transforms.Normalize([0.5], [0.5])]  # to [-1, 1]
        self.transform = transforms.Compose([*mirrored, *scaled])
        self.images, self.labels = real.images, real.labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        pixels = self.images[index].permute(1, 2, 0).numpy()
        image = Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)
        return self.transform(image), int(self.labels[index]) if self.labels is not None else -1


def forever(real: ImageDataset, size: int, device: torch.device) -> Iterator[Batch]:
    loader = DataLoader(Pictures(real), min(size, len(real)), shuffle=True, num_workers=0, drop_last=True)
    while True:
        for images, labels in loader:
            yield Batch(images.to(device), labels.to(device) if real.labels is not None else None)
