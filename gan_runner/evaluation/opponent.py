"""Access to both players for metrics."""

import contextlib
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gan_runner.dataset.images import ImageDataset
from gan_runner.evaluation.sampler import Sampler, samples_of
from gan_runner.nn.modes import restoring_buffers
from gan_runner.nn.statistics import STATISTICS_BATCHES, estimate_batch_statistics, find_singular_vectors
from gan_runner.noise import seed_of
from gan_runner.spec import full_precision


class Opponent:
    """The players for metrics: in evaluation mode, but batch norms use batch statistics as in training."""

    def __init__(
        self,
        sampler: Sampler,
        discriminator: nn.Module,
        classifier: nn.Module | None,
        dataset: ImageDataset,
        seed: int,
        batch_size: int,
    ):
        """sampler: samples the live generator; classifier: the averaged discriminator if it has class logits."""
        self.sampler, self.discriminator, self.classifier = sampler, discriminator, classifier
        self.dataset, self.seed, self.batch_size, self.device = dataset, seed, batch_size, sampler.device

    def scores(self, images: Tensor, labels: Tensor | None) -> Tensor:
        forward = self.discriminator.forward  # for a call, torch.compile would compile once more
        with self.playing():
            parts = self.parts(images, labels)
            return torch.cat([full_precision(forward(part, known)).cpu() for part, known in parts])

    def fake_scores(self, count: int) -> Tensor:
        generator, training = self.sampler.network, self.sampler.network.training
        with restoring_buffers(generator):
            pool = samples_of(self.sampler, self.seed)
            scores = self.scores(pool.images(count), pool.labels(count))
        generator.train(training)
        return scores

    def features(self, images: Tensor, labels: Tensor | None) -> Tensor:
        last = [layer for layer in self.discriminator.modules() if isinstance(layer, nn.Linear | nn.Conv2d)][-1]
        seen: list[Tensor] = []
        hook = last.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0].flatten(1).float().cpu()))
        try:
            self.scores(images, labels)
        finally:
            hook.remove()
        return torch.cat(seen)

    @torch.no_grad()
    def classify(self, images: Tensor) -> Tensor:
        """Returns class logits (N, K); the batch statistics are estimated from training images."""
        assert self.classifier is not None  # metrics call this only if there is a classifier
        find_singular_vectors(self.classifier)
        seed = seed_of(self.seed, "statistics")
        real = self.dataset.split("train").batches(self.batch_size, self.device, 0, seed, "mapped")  # few images
        shown = ((batch.images, None) for batch in islice(real, STATISTICS_BATCHES))
        estimate_batch_statistics(self.classifier, shown)
        heads: Callable[[Tensor], Any] = self.classifier.heads  # type: ignore[assignment]
        return torch.cat([heads(part).logits.cpu() for part, _ in self.parts(images, None)])

    def parts(self, images: Tensor, labels: Tensor | None) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yields batches of the training's size, the last with the remainder: batch norm needs several images."""
        whole = max(1, len(images) // self.batch_size)
        ends = [*(self.batch_size * n for n in range(1, whole)), len(images)]
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            known = labels[start:end].to(self.device) if labels is not None else None
            yield self.dataset.decode(images[start:end].to(self.device)), known

    @contextlib.contextmanager
    def playing(self) -> Iterator[None]:
        network, training = self.discriminator, self.discriminator.training
        with torch.no_grad(), restoring_buffers(network):
            network.eval()
            for layer in network.modules():
                if isinstance(layer, _BatchNorm):
                    layer.train()
            yield
        network.train(training)
