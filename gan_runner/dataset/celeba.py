"""CelebA through torchvision, downloaded only where its files are absent."""

from pathlib import Path

import numpy as np
import torch

from gan_runner.dataset.images import ImageDataset
from gan_runner.dataset.source import found_or_downloaded
from gan_runner.errors import require

FILES = "img_align_celeba (the aligned images), list_eval_partition.txt and the other lists of the set"
CROP = 178  # pixels: the width of the aligned images


class CelebA(ImageDataset):
    """202,599 faces, their middle 178x178 pixels shrunk to `size`, in the authors' three splits. No labels.

    All of it is decoded at every start, and held as bytes: 2.5 GB at 64 pixels.
    """

    def __init__(self, root: str, size: int = 64):
        """root: the folder that holds celeba."""
        from PIL import Image
        from torchvision import datasets

        require(1 <= size <= CROP, f"size={size} must be between 1 and {CROP}")
        folder = Path(root) / "celeba"
        names = ("train", "valid", "test")
        parts = found_or_downloaded(
            *("CelebA", root, folder, FILES),
            lambda: [datasets.CelebA(root, split=name, download=True).filename for name in names],
        )
        images = torch.empty(sum(map(len, parts)), 3, size, size, dtype=torch.uint8)
        for number, name in enumerate(name for part in parts for name in part):
            with Image.open(folder / "img_align_celeba" / name) as image:
                left, top = (image.width - CROP) // 2, (image.height - CROP) // 2
                face = image.convert("RGB").crop((left, top, left + CROP, top + CROP))
                face = face.resize((size, size), Image.Resampling.LANCZOS)
                images[number] = torch.from_numpy(np.array(face)).permute(2, 0, 1)
        sizes = dict(zip(("train", "validation", "test"), map(len, parts), strict=True))
        super().__init__(images, None, sizes)
