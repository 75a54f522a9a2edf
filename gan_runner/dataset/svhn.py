"""Street View House Numbers through torchvision, downloaded only if its files are missing."""

from pathlib import Path

import numpy as np

from gan_runner.dataset.arrays import ArrayDataset, LabelledImages, found_or_downloaded

FILES = "train_32x32.mat and test_32x32.mat (with dataset.extra=true also extra_32x32.mat)"
HELD_OUT = 7_257


class SVHN(ArrayDataset):
    """99,289 colour 32x32 digits of house numbers (Netzer et al. 2011).

    The last 7,257 of the training file are the validation split.
    """

    def __init__(
        self,
        root: str,
        extra: bool = False,
        size: int | list[int] | None = None,
        labels_per_class: int | None = None,
    ):
        """root: the folder that holds svhn. extra: True adds 531,131 easier images to the 66,000 training images."""
        from torchvision import datasets

        names = ("extra",) * extra + ("train", "test")
        sources = found_or_downloaded(
            *("SVHN", root, Path(root) / "svhn", FILES),
            lambda: [datasets.SVHN(str(Path(root) / "svhn"), split=name, download=True) for name in names],
        )
        *training, test = (LabelledImages(each.data, each.labels) for each in sources)
        train = LabelledImages(*(np.concatenate(arrays) for arrays in zip(*training, strict=True)))
        super().__init__(train, test, HELD_OUT, tuple("0123456789"), size, labels_per_class)
