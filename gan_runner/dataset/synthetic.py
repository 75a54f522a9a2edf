"""Random images of any shape, for trying a network or measuring its speed without data."""

import torch

from gan_runner.dataset.images import ImageDataset
from gan_runner.errors import require

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


class Synthetic(ImageDataset):
    """Images of independent uniform pixels, with random labels.

    channels, height, width: shape of the images.
    num_classes: number of classes; 0: no labels.
    count: images, of which a tenth each is for validation and test.
    """

    def __init__(
        self,
        channels: int = 3,
        height: int = 32,
        width: int = 32,
        num_classes: int = 10,
        count: int = 10_000,
        labels_per_class: int | None = None,
    ):
        for name, value in (("channels", channels), ("height", height), ("width", width), ("count", count)):
            require(value >= 1, f"{name}={value} must be at least 1")
        require(num_classes >= 0, f"num_classes={num_classes} must be 0 (no labels) or more")
        generator = torch.Generator().manual_seed(0)
        shape = (count, channels, height, width)
        images = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
        labels = torch.randint(num_classes, (count,), generator=generator) if num_classes else None
        rest = {name: int(share * count) for name, share in SHARES.items() if name != "train"}
        splits = {"train": count - sum(rest.values()), **rest}
        super().__init__(images, labels, splits, tuple(map(str, range(num_classes))), labels_per_class)
