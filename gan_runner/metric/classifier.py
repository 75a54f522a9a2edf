"""A small classifier, trained once on the labels of the dataset, whose features need no download."""

import logging
import math
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, cross_entropy

from gan_runner.metric.cache import Cache, Content
from gan_runner.metric.fidelity import digest_of
from gan_runner.metric.pools import CHUNK, Features
from gan_runner.noise import seed_of
from gan_runner.spec import ImageSpec

VERSION = 1
LARGEST = 64  # largest side of its input, in pixels; larger images are reduced to the means of equal areas
WIDTHS = (32, 64, 128, 128)
FEATURES = 128
SHOWN = 150_000  # images shown in its training, over all epochs
BATCH = 128
RATE = 2e-3

log = logging.getLogger(__name__)


class Labelled(Protocol):
    """Stored images (N, C, H, W) uint8 and their labels (N,); the fingerprint identifies them."""

    images: Tensor
    labels: Tensor | None
    spec: ImageSpec

    @property
    def fingerprint(self) -> str: ...


class Network(nn.Module):
    """A 3x3 convolution of stride 2 with batch norm for each halving of the side down to about 4, then 128 features."""

    def __init__(self, channels: int, side: int, classes: int):
        super().__init__()
        self.side = side
        layers: list[nn.Module] = []
        for width in WIDTHS[: max(1, round(math.log2(side / 4)))]:
            layers += [nn.Conv2d(channels, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        self.convolutions = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten())
        self.features = nn.Sequential(nn.Linear(16 * channels, FEATURES), nn.ReLU())
        self.logits = nn.Linear(FEATURES, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) uint8 -> features (B, 128) and logits (B, classes)."""
        pixels = images.float() / 127.5 - 1
        if max(pixels.shape[2:]) > self.side:
            pixels = adaptive_avg_pool2d(pixels, self.side)
        features = self.features(self.convolutions(pixels))
        return features, self.logits(features)


class Classifier:
    """Features and logits of the trained classifier; `accuracy` is measured on the test images."""

    cheap = False

    def __init__(self, train: Labelled, test: Labelled, cache: Cache, device: torch.device):
        self.device, spec = device, train.spec
        self.network = Network(spec.channels, min(LARGEST, max(spec.height, spec.width)), spec.num_classes)

        def train_it(found: Content | None) -> Content | None:
            if found is not None:
                return None
            log.info("training a classifier on the labels of the dataset, once; it is kept in %s", cache.folder)
            return learned(self.network.to(device), train, test, device)

        content = cache.get_or_compute(
            "classifier", f"version {VERSION} {train.fingerprint} {test.fingerprint}", train_it
        )
        self.network.load_state_dict(content["weights"])
        self.network.to(device).eval()
        self.accuracy: float | None = content["accuracy"]
        self.name, self.digest = "classifier of the dataset", digest_of(self.network)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Features:
        vectors, logits = self.network(images.to(self.device))
        return Features(vectors.cpu(), logits.cpu())


def learned(network: Network, train: Labelled, test: Labelled, device: torch.device) -> Content:
    """Trains with Adam on cross-entropy, over 150,000 images, with one cycle of the learning rate."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for layer in network.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d | nn.BatchNorm2d):
                layer.reset_parameters()
    network.train()
    steps = math.ceil(SHOWN / BATCH)
    optimizer = torch.optim.Adam(network.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    assert train.labels is not None  # the metric has checked it
    batches = shuffled(len(train.labels))
    with torch.enable_grad():
        for _ in range(steps):
            rows = next(batches)
            _, logits = network(train.images[rows].to(device))
            optimizer.zero_grad(set_to_none=True)
            cross_entropy(logits, train.labels[rows].to(device)).backward()
            optimizer.step()
            schedule.step()
    network.eval()
    weights = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
    return {"weights": weights, "accuracy": accuracy(network, test, device)}


def shuffled(count: int) -> Iterator[Tensor]:
    """Yields the rows of endless batches, with every row once in an epoch."""
    epoch, rows = 0, torch.empty(0, dtype=torch.long)
    size = min(BATCH, count)
    while True:
        while len(rows) < size:
            generator = torch.Generator().manual_seed(seed_of("classifier", epoch))
            rows, epoch = torch.cat([rows, torch.randperm(count, generator=generator)]), epoch + 1
        yield rows[:size]
        rows = rows[size:]


@torch.no_grad()
def accuracy(network: Network, images: Labelled, device: torch.device) -> float:
    assert images.labels is not None
    rights = [
        network(part.to(device))[1].argmax(1).cpu() == labels
        for part, labels in zip(images.images.split(CHUNK), images.labels.split(CHUNK), strict=True)
    ]
    return float(torch.cat(rights).float().mean())
