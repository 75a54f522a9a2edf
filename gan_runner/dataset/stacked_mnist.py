"""Stacked MNIST: three digits in one image give 1000 modes that can be counted (Metz et al. 2017, PacGAN)."""

import torch

from gan_runner.dataset.images import ImageDataset
from gan_runner.dataset.mnist import MNIST
from gan_runner.errors import require

JUDGED = 26_000  # samples that the published tables evaluate; the validation and the test split have the same size


class StackedMNIST(ImageDataset):
    """`count` training images, 28x28, with an MNIST digit in each channel; class 407 is red 4, green 0, blue 7.

    A split has digits of the same split of MNIST, drawn with replacement by a fixed seed.
    """

    def __init__(self, root: str, count: int = 128_000, size: int | list[int] | None = None):
        """root: the folder that holds MNIST/raw. count: training images. size: side in pixels; R3GAN uses 32."""
        require(count >= 1, f"count={count} must be at least 1")
        self.digits = digits = MNIST(root, size)
        assert digits.labels is not None
        splits = {"train": count, "validation": JUDGED, "test": JUDGED}
        generator = torch.Generator().manual_seed(0)
        chosen = torch.cat(
            [
                digits.rows(name).start + torch.randint(digits.splits[name], (size, 3), generator=generator)
                for name, size in splits.items()
            ]
        )
        labels = (digits.labels[chosen] * torch.tensor([100, 10, 1])).sum(dim=1)
        super().__init__(digits.images[:, 0][chosen], labels, splits, tuple(f"{n:03d}" for n in range(1000)))
