"""Measurements of both networks at a log line, beside the statistics of the steps since the previous line."""

import math
from collections.abc import Mapping, Sequence
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from gan_runner.augment.augmented import augmented
from gan_runner.dataset.images import ImageDataset
from gan_runner.device import Device
from gan_runner.game.average import EMA
from gan_runner.loss.constraint import WeightClipping
from gan_runner.loss.objective import Objective
from gan_runner.model.latent import Latent
from gan_runner.nn.modes import restoring_buffers
from gan_runner.noise import Noise, seed_of
from gan_runner.protocols import Augmentation
from gan_runner.schedule import Progress
from gan_runner.spec import Batch, full_precision, scores

Key = tuple[int | str, ...]  # key of noise

MOST = 64  # images at most: fewer make shares of images inaccurate, more would slow the training down
PIECES = 4  # batches of the training's size at most, also to limit the time, for small batches
CELLS = 7  # approximate side of smoothed images, in pixels: averaging reduces the noise of single pixels
CLOSE = 0.1  # share of the median distance of real neighbours: in many dimensions no two real images are as near


class Probe:
    """Measures samples, and scores of training images, held-out images and samples: a pure function of the weights.

    The networks run in training mode and in batches of the training's size, as in the updates. The real images are the
    same at every line; the samples have the same labels.
    """

    def __init__(
        self,
        *,
        generator: nn.Module,
        discriminator: nn.Module,
        average: EMA,
        objective: Objective,
        latent: Latent,
        augment: Augmentation,
        dataset: ImageDataset,
        device: Device,
        batch_size: int,
        seed: int,
    ):
        self.generator, self.discriminator, self.average = generator, discriminator, average
        self.objective, self.latent, self.augment, self.device = objective, latent, augment, device
        self.real = self.batches(dataset.split("train"), batch_size, seed)
        held_out = "validation" in dataset.splits and dataset.splits["validation"] > 0
        self.held_out = self.batches(dataset.split("validation"), batch_size, seed) if held_out else []
        real = torch.cat([batch.images for batch in self.real])
        self.real_deviation = float(deviation(real))
        networks = {"generator": generator, "discriminator": discriminator}
        self.weights = {name: list(network.parameters()) for name, network in networks.items()}
        self.start = {name: float(norm(weights)) for name, weights in self.weights.items()}
        self.typical = float(neighbour_distances(real).median())
        self.pictures = self.real[0].images[0, 0].numel() > 1  # False for points
        self.typical_smoothed = float(neighbour_distances(smoothed(real)).median())

    def batches(self, split: ImageDataset, batch_size: int, seed: int) -> list[Batch]:
        """Returns batches of a few images, at least 2 each (for batch norm), without repeats if the split has 2."""
        size = max(2, min(batch_size, MOST, len(split)))
        count = max(1, min(PIECES, MOST // size, len(split) // size))
        batches = split.batches(size, self.device.torch, 0, seed_of(seed, "health"), "mapped")  # few images
        known = not self.objective.semi_supervised
        return [batch if known else batch._replace(labels=None) for batch in islice(batches, count)]

    @torch.no_grad()
    def __call__(
        self, key: tuple[int | str, ...], progress: Progress, observed: Mapping[str, float]
    ) -> dict[str, float]:
        """Returns tag -> value. key: the key of the noise; observed: the values of this log line so far."""
        with restoring_buffers(self.generator), restoring_buffers(self.discriminator), self.device.autocast():
            self.device.seed(*key)  # the same dropout on every rank
            fake = [self.sample(batch, self.noise(key, "fake", n, batch)) for n, batch in enumerate(self.real)]
            named = {"real": self.real, "fake": fake, "held_out": self.held_out}
            scored = {name: self.scores(name, batches, key, progress) for name, batches in named.items() if batches}
        values = self.of_samples(torch.cat([batch.images for batch in fake])) | self.of_weights()
        values |= self.of_scores(scored)
        numbers = dict(zip(values, torch.stack([value.double() for value in values.values()]).tolist(), strict=True))
        return ratios(numbers | {"real": self.real_deviation}, observed)

    def noise(self, key: Key, name: str, number: int, batch: Batch) -> Noise:
        return Noise((*key, name, number), len(batch.images), self.device.torch)

    def sample(self, real: Batch, noise: Noise) -> Batch:
        # .forward instead of a call: torch.compile would compile the network once more for this call
        images = self.generator.forward(self.latent.sample(noise.scoped("latent")), real.labels)
        return Batch(full_precision(images), real.labels)

    def scores(self, name: str, batches: list[Batch], key: Key, progress: Progress) -> Tensor:
        """Returns the scores (N,) of images with instance noise and augmentation, as in training."""
        found = []
        for number, batch in enumerate(batches):
            noise = self.noise(key, name, number, batch)
            network = augmented(self.discriminator, self.augment, noise, progress)
            found.append(scores(network.forward, self.objective.noised(batch, noise.scoped("seen"), progress)))
        return torch.cat(found)

    def of_samples(self, images: Tensor) -> dict[str, Tensor]:
        distances = neighbour_distances(images)
        near = distances < CLOSE * self.typical
        values = {"health/sample_std": deviation(images), "health/near_duplicates": near.float().mean()}
        if self.pictures and self.typical_smoothed > 0:
            smooth = smoothed(images)
            of_smooth = distances if smooth is images else neighbour_distances(smooth)
            values["health/neighbour_ratio"] = of_smooth.median() / self.typical_smoothed
        return values

    def of_scores(self, scored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        values = {"health/separation": standardised(scored["real"], scored["fake"])}
        if "held_out" in scored:
            values["health/overfitting"] = standardised(scored["real"], scored["held_out"])
            if self.objective.adversarial.zero_is_boundary:
                values["health/accuracy_held_out"] = (scored["held_out"] > 0).float().mean()
        return values

    def of_weights(self) -> dict[str, Tensor]:
        norms = {name: norm(weights) for name, weights in self.weights.items()}
        values = {
            f"health/weight_growth/{name}": now / self.start[name]
            for name, now in norms.items()
            if self.start[name] > 0
        }
        if self.average.averages:
            difference = torch._foreach_sub(self.average.averaged, self.average.live)
            values["health/ema_distance"] = over(norm(difference), norms["generator"])
        constraint = self.objective.constraint
        if isinstance(constraint, WeightClipping):
            weights = self.weights["discriminator"]
            at_bound = torch.stack([(weight.abs() >= constraint.bound).sum() for weight in weights]).sum()
            values["health/clipped_weights"] = at_bound / sum(weight.numel() for weight in weights)
        return values


def ratios(values: dict[str, float], observed: Mapping[str, float]) -> dict[str, float]:
    """Adds ratios to `values`, except undefined ones: real images may have no variance, gradients be infinite or 0."""
    real = values.pop("real")
    if real > 0:
        values["health/sample_std_ratio"] = values["health/sample_std"] / real
    norms = [observed.get(f"grad_norm/{player}", math.nan) for player in ("generator", "discriminator")]
    if all(math.isfinite(norm) for norm in norms) and norms[1] > 0:
        values["health/grad_norm_ratio"] = norms[0] / norms[1]
    return values


def norm(tensors: Sequence[Tensor]) -> Tensor:
    """Returns the Euclidean norm over all elements of all tensors."""
    whole: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(tensors))))
    return whole


def deviation(images: Tensor) -> Tensor:
    """Returns the standard deviation over the images, averaged over pixels; 0 for a single image."""
    return images.flatten(1).std(dim=0, correction=0).mean()


def smoothed(images: Tensor) -> Tensor:
    """Returns means over squares of pixels, in which copies that differ only by noise are nearly equal."""
    side = round(min(images.shape[2:]) / CELLS)
    return avg_pool2d(images, side) if side > 1 else images


def neighbour_distances(images: Tensor) -> Tensor:
    """Returns the Euclidean distance (N,) of each image from the nearest other image; infinite for a single image."""
    points = images.flatten(1).double()  # cdist computes a small difference of large products
    distances = torch.cdist(points, points)
    return distances.fill_diagonal_(math.inf).amin(dim=1)


def standardised(high: Tensor, low: Tensor) -> Tensor:
    """Returns the difference of the means over the pooled standard deviation; 0 if all scores are equal."""
    gap, spread = high.mean() - low.mean(), ((high.var(correction=0) + low.var(correction=0)) / 2).sqrt()
    return over(gap, spread)


def over(part: Tensor, whole: Tensor) -> Tensor:
    """Returns part / whole; 0 if `part` is 0."""
    return torch.where(part == 0, 0.0, part / whole.clamp(min=torch.finfo(whole.dtype).tiny))
