"""The 1797 handwritten 8x8 digits of scikit-learn: real data without a download."""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from gan_runner.dataset.images import ImageDataset

SPLITS = {"train": 1437, "validation": 180, "test": 180}


class Digits(ImageDataset):
    """1797 gray 8x8 images in 17 levels (UCI Optical Recognition of Handwritten Digits, its test part)."""

    def __init__(self, labels_per_class: int | None = None):
        images, labels = shuffled()
        super().__init__(images.clone(), labels.clone(), SPLITS, tuple("0123456789"), labels_per_class)


@cache  # the file is text, whose reading takes longer than building a run
def shuffled() -> tuple[Tensor, Tensor]:
    """Returns images (1797, 1, 8, 8) of uint8 and labels (1797,); the originals are sorted by writer."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    order = torch.randperm(len(bunch.images), generator=torch.Generator().manual_seed(0))
    images = torch.from_numpy(np.round(bunch.images * (255 / 16)).astype(np.uint8)).unsqueeze(1)
    return images[order], torch.from_numpy(bunch.target.astype(np.int64))[order]
