"""The 1797 handwritten 8x8 digits of scikit-learn: real data without a download."""

import numpy as np
import torch

from gan_runner.dataset.images import ImageDataset

SPLITS = {"train": 1437, "validation": 180, "test": 180}


class Digits(ImageDataset):
    """1797 gray 8x8 images in 17 levels (UCI Optical Recognition of Handwritten Digits, its test part)."""

    def __init__(self, labels_per_class: int | None = None):
        from sklearn.datasets import load_digits

        bunch = load_digits()
        # the originals are sorted by writer; one fixed shuffle gives all splits the same distribution
        order = torch.randperm(len(bunch.images), generator=torch.Generator().manual_seed(0))
        images = torch.from_numpy(np.round(bunch.images * (255 / 16)).astype(np.uint8)).unsqueeze(1)
        labels = torch.from_numpy(bunch.target.astype(np.int64))
        super().__init__(images[order], labels[order], SPLITS, tuple("0123456789"), labels_per_class)
