"""CIFAR-10 and CIFAR-100 through torchvision, downloaded only if their files are missing."""

from pathlib import Path

import numpy as np

from gan_runner.dataset.arrays import ArrayDataset, LabelledImages, found_or_downloaded

HELD_OUT = 5_000


class CIFAR10(ArrayDataset):
    """60,000 colour 32x32 photographs of ten classes; the last 5,000 of the training files are the validation split."""

    folder = "cifar-10-batches-py"
    files = "data_batch_1 to data_batch_5, test_batch and batches.meta"

    def __init__(
        self,
        root: str,
        size: int | list[int] | None = None,
        labels_per_class: int | None = None,
        flip: bool = False,
    ):
        """root: the folder that holds cifar-10-batches-py (or cifar-100-python)."""
        from torchvision import datasets

        name = type(self).__name__
        sources = found_or_downloaded(
            *(name, root, Path(root) / self.folder, self.files),
            lambda: [getattr(datasets, name)(root, train=train, download=True) for train in (True, False)],
        )
        train, test = (LabelledImages(each.data.transpose(0, 3, 1, 2), np.array(each.targets)) for each in sources)
        super().__init__(train, test, HELD_OUT, sources[0].classes, size, labels_per_class, flip)


class CIFAR100(CIFAR10):
    """60,000 colour 32x32 photographs of the hundred fine classes (Krizhevsky 2009), split as CIFAR10."""

    folder = "cifar-100-python"
    files = "train, test and meta"
