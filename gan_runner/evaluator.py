"""Metrics of averaged networks, as a pure function of their weights."""

from itertools import islice

import torch
from torch import nn

from gan_runner.dataset.images import ImageDataset
from gan_runner.ema import STATISTICS_BATCHES, estimate_batch_statistics, find_singular_vectors
from gan_runner.metric.test_error import error_rate
from gan_runner.noise import seed_of


class Evaluator:
    """Of a discriminator that knows the classes. Its batch statistics are those of training images."""

    def __init__(self, classifier: nn.Module, dataset: ImageDataset, seed: int, batch_size: int, device: torch.device):
        self.classifier, self.seed, self.batch_size, self.device = classifier, seed, batch_size, device
        self.dataset = dataset

    @torch.no_grad()
    def __call__(self) -> dict[str, float]:
        find_singular_vectors(self.classifier)
        test = self.dataset.split("test")
        seed = seed_of(self.seed, "statistics")
        real = self.dataset.split("train").batches(self.batch_size, self.device, 0, seed, "mapped")  # only a few
        shown = ((batch.images, None) for batch in islice(real, STATISTICS_BATCHES))
        estimate_batch_statistics(self.classifier, shown)
        assert test.labels is not None  # a discriminator that knows the classes was made for them
        parts = (part.split(self.batch_size) for part in (test.images, test.labels))
        error = error_rate(
            (self.classifier.heads(test.decode(images.to(self.device))).logits, labels.to(self.device))  # type: ignore[operator]
            for images, labels in zip(*parts, strict=True)
        )
        return {"metric/test_error": error}
