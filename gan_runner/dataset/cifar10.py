"""CIFAR-10 through torchvision, downloaded only where its files are absent."""

from pathlib import Path

import numpy as np
import torch

from gan_runner.dataset.images import ImageDataset
from gan_runner.dataset.source import found_or_downloaded

FILES = "data_batch_1 to data_batch_5, test_batch and batches.meta"
SPLITS = {"train": 45_000, "validation": 5_000, "test": 10_000}


class CIFAR10(ImageDataset):
    """60,000 colour 32x32 photographs of ten classes; the last 5,000 of the training files are the validation split."""

    def __init__(self, root: str, labels_per_class: int | None = None):
        """root: the folder that holds cifar-10-batches-py."""
        from torchvision import datasets

        parts = found_or_downloaded(
            *("CIFAR-10", root, Path(root) / "cifar-10-batches-py", FILES),
            lambda: [datasets.CIFAR10(root, train=train, download=True) for train in (True, False)],
        )
        images = torch.from_numpy(np.concatenate([part.data for part in parts])).permute(0, 3, 1, 2).contiguous()
        labels = torch.tensor([label for part in parts for label in part.targets])
        super().__init__(images, labels, SPLITS, tuple(parts[0].classes), labels_per_class)
