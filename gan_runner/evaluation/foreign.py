"""Images of whatever origin, decoded as those of a dataset."""

import io
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image

from gan_runner.dataset.picture import Form, OtherSize, Pixels, Unreadable, decoded
from gan_runner.errors import ConfigError
from gan_runner.spec import ImageSpec

UNREADABLE = (OSError, EOFError, ValueError, TypeError, IndexError, KeyError, zipfile.BadZipFile, zlib.error)
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


def read_images(path: Path, spec: ImageSpec) -> torch.Tensor:
    """(N, C, H, W) uint8, in the order of their names, decoded as those of a dataset, and of its size and channels."""
    if spec.value_range is None or spec.channels not in (1, 3):
        raise ConfigError("--images are pictures, and the dataset has none.")
    form = Form(spec.height, spec.width, spec.channels, "exact")
    read = arrays if path.suffix == ".npz" else files
    return torch.from_numpy(np.stack(list(read(path, form))))


def at_size(name: Path, form: Form, file: BinaryIO) -> Pixels:
    try:
        return decoded(file, form)[0]
    except OtherSize as error:
        raise ConfigError(
            f"--images: {name} is of {error} pixels, the dataset of {form.width}x{form.height}; resize one of them, "
            f"and say how, since it changes the score."
        ) from error
    except Unreadable as error:
        raise ConfigError(f"--images: {name} cannot be read ({error}); mend or remove it.") from error


def arrays(path: Path, form: Form) -> Iterator[Pixels]:
    """Of (N, H, W, C) uint8: the array `images`, or the only one."""
    try:
        with np.load(path, allow_pickle=False) as found:
            images = found["images" if "images" in found.files else found.files[0]]
    except UNREADABLE as error:
        raise ConfigError(f"--images={path} cannot be read; give an npz file of (N, H, W, C) uint8.") from error
    if images.dtype != np.uint8 or images.ndim != 4 or not len(images) or images.shape[3] not in (1, 3):
        raise ConfigError(f"--images={path} holds {images.dtype} {images.shape}; give (N, H, W, C) uint8.")
    for image in images:
        png = io.BytesIO()
        Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(png, "png", compress_level=0)
        yield at_size(path, form, png)


def files(path: Path, form: Form) -> Iterator[Pixels]:
    names = sorted(each for each in path.rglob("*") if each.suffix.lower() in PICTURES)
    if not path.is_dir() or not names:
        what = "holds no image" if path.is_dir() else "is no folder and no npz file"
        raise ConfigError(f"--images={path} {what}; name a folder of images ({', '.join(PICTURES)}).")
    for name in names:
        try:
            with open(name, "rb") as file:
                yield at_size(name, form, file)
        except OSError as error:
            raise ConfigError(f"--images: {name} cannot be read ({error}); mend or remove it.") from error
