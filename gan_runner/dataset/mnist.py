"""MNIST and datasets in its layout, through torchvision, downloaded only if their files are missing."""

from pathlib import Path
from typing import Any

from gan_runner.dataset.arrays import ArrayDataset, LabelledImages, found_or_downloaded
from gan_runner.errors import choose

FILES = (
    "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte (also as .gz)"
)
HELD_OUT = 10_000  # as in Goodfellow et al. 2014


class MNIST(ArrayDataset):
    """70,000 gray 28x28 digits (LeCun et al. 1998); the last 10,000 of the training file are the validation split."""

    classes: tuple[str, ...] = tuple("0123456789")

    def __init__(self, root: str, size: int | list[int] | None = None, labels_per_class: int | None = None):
        """root: the folder that holds MNIST/raw (or FashionMNIST/raw, KMNIST/raw)."""
        from torchvision import datasets

        name = type(self).__name__
        source = getattr(datasets, name)
        train, test = found_or_downloaded(
            *(name, root, Path(root) / name / "raw", FILES),
            lambda: [part_of(source(root, train=train, download=True)) for train in (True, False)],
        )
        super().__init__(train, test, HELD_OUT, self.classes, size, labels_per_class)


class FashionMNIST(MNIST):
    """70,000 gray 28x28 pictures of clothes, in the layout of MNIST (Xiao et al. 2017)."""

    classes = (
        *("T-shirt/top", "trouser", "pullover", "dress", "coat"),
        *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
    )


class KMNIST(MNIST):
    """70,000 gray 28x28 cursive Japanese characters, in the layout of MNIST (Clanuwat et al. 2018)."""

    classes = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")


class EMNIST(ArrayDataset):
    """Gray 28x28 handwritten letters and digits (Cohen et al. 2017), upright; `part` is one of the six EMNIST splits.

    The last images of the training file, as many as the test file has, are the validation split.
    """

    def __init__(
        self,
        root: str,
        part: str = "balanced",
        size: int | list[int] | None = None,
        labels_per_class: int | None = None,
    ):
        """root: the folder that holds EMNIST/raw. part: balanced, byclass, bymerge, letters, digits or mnist."""
        from torchvision import datasets

        choose("part", part, datasets.EMNIST.classes_split_dict)
        files = f"emnist-{part}-{{train,test}}-{{images-idx3,labels-idx1}}-ubyte (four files; or the archive gzip.zip)"
        sources = found_or_downloaded(
            *("EMNIST", root, Path(root) / "EMNIST" / "raw", files),
            lambda: [datasets.EMNIST(root, split=part, train=train, download=True) for train in (True, False)],
        )
        first = 1 if part == "letters" else 0  # the labels of this part begin at 1
        train, test = (
            LabelledImages(each.data.numpy()[:, None].transpose(0, 1, 3, 2), each.targets.numpy() - first)
            for each in sources
        )
        names = datasets.EMNIST.classes_split_dict[part][first:]
        super().__init__(train, test, len(test.images), names, size, labels_per_class)


def part_of(source: Any) -> LabelledImages:
    images, labels = source.data.numpy()[:, None], source.targets.numpy()
    if len(images) != len(labels):
        raise ValueError(f"{len(images)} images and {len(labels)} labels")
    return LabelledImages(images, labels)
