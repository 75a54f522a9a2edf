"""MNIST and Fashion-MNIST through torchvision, downloaded only where their files are absent."""

import contextlib
from pathlib import Path

import torch

from gan_runner.dataset.images import ImageDataset
from gan_runner.errors import ConfigError

FILES = "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte"
SPLITS = {"train": 50_000, "validation": 10_000, "test": 10_000}  # as in Goodfellow et al. 2014


class MNIST(ImageDataset):
    """70,000 gray 28x28 digits; the last 10,000 of the training file are the validation split."""

    classes: tuple[str, ...] = tuple("0123456789")

    def __init__(self, root: str, labels_per_class: int | None = None):
        """root: the folder that holds MNIST/raw (or FashionMNIST/raw)."""
        from torchvision import datasets

        name = type(self).__name__
        raw = Path(root) / name / "raw"
        absent = [folder for folder in (raw, *raw.parents) if not folder.exists()]
        try:
            parts = [getattr(datasets, name)(root, train=train, download=True) for train in (True, False)]
        except (OSError, RuntimeError, ValueError) as error:  # URLError is an OSError; ValueError: a file cut short
            remove_empty(absent)
            reason = str(error).split("\n")[0] or type(error).__name__
            raise ConfigError(
                f"dataset.root={root}: {name} is not whole in {raw} and was not downloaded ({reason}); put {FILES} "
                f"(also as .gz) there, or name the folder that has them with dataset.root= or GAN_RUNNER_DATA."
            ) from error
        images = torch.cat([part.data for part in parts]).unsqueeze(1)
        labels = torch.cat([part.targets for part in parts]).to(torch.int64)
        super().__init__(images, labels, SPLITS, self.classes, labels_per_class)


def remove_empty(folders: list[Path]) -> None:
    """What the attempt to download made."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


class FashionMNIST(MNIST):
    """70,000 gray 28x28 pictures of clothes, in the layout of MNIST (Xiao et al. 2017)."""

    classes = (
        *("T-shirt/top", "trouser", "pullover", "dress", "coat"),
        *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
    )
