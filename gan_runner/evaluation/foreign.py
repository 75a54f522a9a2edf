"""Images from outside a run (a folder, a zip archive or an npz file), decoded in the same way as a dataset."""

import io
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image

from gan_runner.dataset.image_files import files_at
from gan_runner.dataset.picture import SUFFIXES, Form, OtherSize, Pixels, Unreadable, decoded
from gan_runner.errors import ConfigError
from gan_runner.spec import ImageSpec

UNREADABLE = (OSError, EOFError, ValueError, TypeError, IndexError, KeyError, zipfile.BadZipFile, zlib.error)


def read_images(path: Path, spec: ImageSpec) -> torch.Tensor:
    """Returns images (N, C, H, W) uint8 in the order of their names, decoded in the same way as a dataset.

    They have the size and the channels of the dataset. path: a folder, a zip archive, or an npz file.
    """
    if not spec.drawable:
        raise ConfigError("--images are pictures, and the dataset has none.")
    form = Form(spec.height, spec.width, spec.channels, "exact")
    read = arrays if path.suffix == ".npz" else files
    return torch.from_numpy(np.stack(list(read(path, form))))


def at_size(name: str, form: Form, file: BinaryIO) -> Pixels:
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
    """Yields the images of an npz file with an array (N, H, W, C) uint8: `images`, or else the first array."""
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
        yield at_size(str(path), form, png)


def files(path: Path, form: Form) -> Iterator[Pixels]:
    """Yields the images of a folder or a zip archive: the same files that training would read."""
    try:
        source = files_at(str(path))
        found = source.listing().images
    except ConfigError as error:
        raise ConfigError(str(error).replace("dataset.path", "--images")) from error
    if not found:
        raise ConfigError(f"--images={path} holds no image; name a folder of images ({', '.join(SUFFIXES)}).")
    for each in found:
        try:
            with source.open(each) as file:
                yield at_size(each.name, form, file)
        except Unreadable as error:
            raise ConfigError(f"--images: {each.name} cannot be read ({error}); mend or remove it.") from error
