"""STL-10 through torchvision, downloaded only if its files are missing."""

from pathlib import Path

from gan_runner.dataset.arrays import ArrayDataset, LabelledImages, found_or_downloaded

FILES = "train_X.bin, train_y.bin, test_X.bin, test_y.bin, unlabeled_X.bin and class_names.txt"


class STL10(ArrayDataset):
    """Colour 96x96 photographs of ten classes (Coates et al. 2011), 5,000 for training and 8,000 for testing.

    The validation split is the last tenth of the training images; with labels=False the last 5,000.
    labels: False uses also the 100,000 unlabelled images, 2.9 GB in memory at their own size, and no classes.
    """

    def __init__(
        self,
        root: str,
        labels: bool = True,
        size: int | list[int] | None = None,
        labels_per_class: int | None = None,
        flip: bool = False,
    ):
        """root: the folder that holds stl10_binary."""
        from torchvision import datasets

        names = ("train" if labels else "train+unlabeled", "test")
        sources = found_or_downloaded(
            *("STL-10", root, Path(root) / "stl10_binary", FILES),
            lambda: [datasets.STL10(root, split=name, download=True) for name in names],
        )
        train, test = (LabelledImages(each.data, each.labels if labels else None) for each in sources)
        held_out = len(train.images) // 10 if labels else len(train.images) // 21
        super().__init__(train, test, held_out, sources[0].classes if labels else (), size, labels_per_class, flip)
