"""CelebA through torchvision, downloaded only if its files are missing."""

import os
from pathlib import Path

from gan_runner.dataset.arrays import found_or_downloaded
from gan_runner.dataset.image_files import Folder, Found
from gan_runner.dataset.packed import PackedDataset
from gan_runner.dataset.picture import Form, sides

FILES = "img_align_celeba (the aligned images), list_eval_partition.txt and the other lists of the set"
SPLITS = {"train": "0", "validation": "1", "test": "2"}  # the codes in list_eval_partition.txt


class CelebA(PackedDataset):
    """202,599 faces (Liu et al. 2015), cropped to the middle and resized to `size`, in the authors' splits. No labels.

    The images are decoded once, into a file of the cache.
    """

    def __init__(
        self,
        root: str,
        size: int | list[int] = 64,
        flip: bool = False,
        max_broken: float = 0.0,
        cache_dir: str = "~/.cache/gan_runner",
    ):
        """root: the folder that holds celeba. size: side in pixels, or [height, width]; the files are 218x178."""
        form = Form(*sides(size), 3, "crop")
        folder = Path(root) / "celeba"
        parts = found_or_downloaded("CelebA", root, folder, FILES, lambda: partition(root, folder))
        images = Folder(str((folder / "img_align_celeba").resolve()))
        with os.scandir(images.root) as there:
            stamps = {entry.name: f"{entry.stat().st_size}:{entry.stat().st_mtime_ns}" for entry in there}
        found = {split: [Found(name, stamps.get(name, "absent")) for name in names] for split, names in parts.items()}
        super().__init__(images, found, None, form, cache_dir, "celeba", max_broken=max_broken, flip=flip)


def partition(root: str, folder: Path) -> dict[str, list[str]]:
    """Returns the file names of each split."""
    from torchvision import datasets

    lists = folder / "list_eval_partition.txt"
    if not lists.exists() or not (folder / "img_align_celeba").is_dir():
        datasets.CelebA(root, download=True)
    lines = [line.split() for line in lists.read_text(encoding="utf-8").splitlines() if line.strip()]
    return {split: [name for name, number in lines if number == code] for split, code in SPLITS.items()}
