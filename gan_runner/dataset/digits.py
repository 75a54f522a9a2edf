"""The 1797 handwritten 8x8 digits of scikit-learn: real data without a download."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

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
    table = np.loadtxt(table_of_digits(), delimiter=",")  # rows of 64 pixels from 0 to 16, and the label
    order = torch.randperm(len(table), generator=torch.Generator().manual_seed(0))
    images = torch.from_numpy(np.round(table[:, :-1] * (255 / 16)).astype(np.uint8)).view(-1, 1, 8, 8)
    return images[order], torch.from_numpy(table[:, -1].astype(np.int64))[order]


def table_of_digits() -> Path:
    """Returns the file that sklearn.datasets.load_digits reads; importing sklearn takes as long as importing torch."""
    found = find_spec("sklearn")
    assert found is not None, "scikit-learn is a dependency of this package"
    return Path(str(found.origin)).parent / "datasets" / "data" / "digits.csv.gz"
