"""The user's own arrays: a file of NumPy, .npy or .npz."""

import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gan_runner.dataset.arrays import UNREADABLE, resized
from gan_runner.dataset.own import Array, OwnImages, as_labels, as_tensor, check_held_out, held_out_order
from gan_runner.errors import ConfigError, nearest, require

SPLITS = {  # split -> names of its images and of its labels in an .npz; the second pair is that of Keras' files
    "train": (("images", "labels"), ("x_train", "y_train")),
    "validation": (("validation_images", "validation_labels"), ("x_val", "y_val")),
    "test": (("test_images", "test_labels"), ("x_test", "y_test")),
}
KNOWN = [name for pairs in SPLITS.values() for pair in pairs for name in pair]


class ArrayFile(OwnImages):
    """Images of an .npz or .npy file, read into memory: uint8, or floats from 0 to 1 or -1 to 1; (N, D) are points.

    An .npz has `images` and, if there are classes, `labels`; `validation_images`, `test_images` and their labels are
    the other splits. The names x_train, y_train, x_test, y_test are known too. Pickled objects are never read.
    """

    def __init__(
        self,
        path: str | None,
        size: int | list[int] | None = None,
        flip: bool = False,
        held_out: float = 0.05,
        labels_per_class: int | None = None,
    ):
        """path: the file. size: side in pixels, or [height, width], to which images are cropped and resized."""
        require(bool(path), "path=null names no file; give an .npz or .npy file")
        check_held_out(held_out)
        arrays = read(str(path))
        images = {split: as_tensor(arrays[names[0]], names[0]) for split, names in named(arrays).items()}
        if size is not None:
            require(images["train"].dtype == torch.uint8, f"size={size} is for images, and these are points; use null")
            images = {split: torch.from_numpy(resized(part.numpy(), size)) for split, part in images.items()}
        check_alike(images)
        labels, names = labels_of(arrays, {split: len(part) for split, part in images.items()})
        absent = [split for split in SPLITS if split not in images]
        order, sizes = held_out_order(len(images["train"]), held_out, absent)
        given = {split: len(part) for split, part in images.items() if split != "train"}
        images["train"] = images["train"][order]
        if labels is not None:
            labels["train"] = labels["train"][order]
        super().__init__(
            torch.cat(list(images.values())),
            torch.cat(list(labels.values())) if labels is not None else None,
            {**sizes, **given},
            names,
            labels_per_class,
            flip,
        )


def read(path: str) -> dict[str, Array]:
    """Returns the arrays of a file by name; that of an .npy file, and the only one of an .npz, is `images`."""
    place = Path(path).expanduser()
    require(place.exists(), f"path={path} does not exist; name an .npz or .npy file")
    try:
        found = np.load(place, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return {"images": found}
        with found:
            arrays = {name: found[name] for name in found.files}
    except (*UNREADABLE, zipfile.BadZipFile) as error:
        pickled = "pickle" in str(error)
        why = "holds pickled objects, which are never read" if pickled else "is no .npz or .npy file that can be read"
        raise ConfigError(f"dataset.path={path} {why}; save plain numbers with numpy.savez.") from error
    return {"images": next(iter(arrays.values()))} if len(arrays) == 1 else arrays


def named(arrays: dict[str, Array]) -> dict[str, tuple[str, str]]:
    """Returns the names of the images and of the labels of each split that the file has."""
    unknown = [name for name in arrays if name not in KNOWN]
    there = ", ".join(arrays) or "none"
    if unknown:
        guess = nearest(unknown[0], KNOWN)
        raise ValueError(f"path: the array {unknown[0]!r} is none of {', '.join(KNOWN)}{guess}; rename or remove it")
    pairs = {s: next((pair for pair in pairs if pair[0] in arrays), None) for s, pairs in SPLITS.items()}
    found = {split: pair for split, pair in pairs.items() if pair is not None}
    require("train" in found, f"path: the file has no array named images; it has {there}")
    return found


def check_alike(images: dict[str, Tensor]) -> None:
    shapes = {split: tuple(part.shape[1:]) for split, part in images.items()}
    listed = ", ".join(f"{split} {shape}" for split, shape in shapes.items())
    require(len(set(shapes.values())) == 1, f"path: images of all splits should have one shape, and have {listed}")


def labels_of(arrays: dict[str, Array], counts: dict[str, int]) -> tuple[dict[str, Tensor] | None, tuple[str, ...]]:
    """Returns the labels of each split and the names of the classes; None if no split has labels."""
    pairs = named(arrays)
    lacking = [labels for _, labels in pairs.values() if labels not in arrays]
    if len(lacking) == len(pairs):
        return None, ()
    require(not lacking, f"path: {', '.join(lacking)} is missing, and other splits have labels; give it, or none")
    for split, (_, name) in pairs.items():
        as_labels(arrays[name], counts[split], name)  # names the array of a mistake
    joined = np.concatenate([arrays[name].reshape(counts[split]) for split, (_, name) in pairs.items()])
    labels, names = as_labels(joined, len(joined))
    return dict(zip(pairs, labels.split([counts[split] for split in pairs]), strict=True)), names
