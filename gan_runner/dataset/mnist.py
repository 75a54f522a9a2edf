"""MNIST and Fashion-MNIST through torchvision, downloaded only where their files are absent."""

from pathlib import Path

import torch

from gan_runner.dataset.images import ImageDataset
from gan_runner.dataset.source import found_or_downloaded

FILES = (
    "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte (also as .gz)"
)
SPLITS = {"train": 50_000, "validation": 10_000, "test": 10_000}  # as in Goodfellow et al. 2014


class MNIST(ImageDataset):
    """70,000 gray 28x28 digits; the last 10,000 of the training file are the validation split."""

    classes: tuple[str, ...] = tuple("0123456789")

    def __init__(self, root: str, labels_per_class: int | None = None):
        """root: the folder that holds MNIST/raw (or FashionMNIST/raw)."""
        from torchvision import datasets

        name = type(self).__name__
        raw = Path(root) / name / "raw"
        source = getattr(datasets, name)
        parts = found_or_downloaded(
            name, root, raw, FILES, lambda: [source(root, train=train, download=True) for train in (True, False)]
        )
        images = torch.cat([part.data for part in parts]).unsqueeze(1)
        labels = torch.cat([part.targets for part in parts]).to(torch.int64)
        super().__init__(images, labels, SPLITS, self.classes, labels_per_class)


class FashionMNIST(MNIST):
    """70,000 gray 28x28 pictures of clothes, in the layout of MNIST (Xiao et al. 2017)."""

    classes = (
        *("T-shirt/top", "trouser", "pullover", "dress", "coat"),
        *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
    )
