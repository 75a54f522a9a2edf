"""Decoding of an image file to pixels: the first frame, upright, 8 bits a channel, gray or RGB, in one size.

Imports no torch, so that the decoding processes start fast.
"""

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from gan_runner.errors import choose, require

Pixels = np.ndarray[Any, np.dtype[np.uint8]]

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff")
FITS = {"crop": None, "pad": None, "stretch": None}
LARGEST = 8192  # the largest side of `size`, in pixels
MAX_PIXELS = 2**27  # pixels, at most, of one image file: 0.4 GB of RGB
LANCZOS = Image.Resampling.LANCZOS  # Pillow's filter antialiases when it shrinks an image
SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
GRAY = ("1", "L", "LA", "La", *SIXTEEN_BITS)
ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
WHITE = 255
ORIENTATION, SIDEWAYS = 0x0112, (5, 6, 7, 8)  # EXIF tag of the orientation, and its values for a quarter turn


class Unreadable(Exception):
    """The file is no usable image; the message gives the reason."""


class OtherSize(Exception):
    """The image is intact, but its size differs from that of the others."""


@dataclass(frozen=True)
class Form:
    """The form of every decoded image.

    fit: crop: the largest middle part of this shape, resized; pad: the whole image, with black bars; stretch: the whole
    image, distorted; exact: OtherSize unless the image has this size.
    """

    height: int
    width: int
    channels: int
    fit: str


def sides(size: int | Sequence[int]) -> tuple[int, int]:
    """Returns height and width from 64 or [64, 96]. ValueError if `size` is no valid size."""
    pair = [size, size] if isinstance(size, int) else list(size)
    whole = len(pair) == 2 and all(1 <= side <= LARGEST for side in pair)
    require(whole, f"size={size} must be a number of pixels or [height, width], each between 1 and {LARGEST}")
    return pair[0], pair[1]


def check_form(fit: str, channels: int | None) -> None:
    choose("fit", fit, FITS)
    require(channels in (None, 1, 3), f"channels={channels} must be 1 (gray), 3 (RGB) or null (as the images are)")


def decoded(file: BinaryIO, form: Form) -> tuple[Pixels, bool]:
    """Decodes to (C, H, W), and returns whether the file was gray. Raises Unreadable or OtherSize."""
    image, gray = upright(file)
    mode = "L" if form.channels == 1 else "RGB"
    pixels = np.asarray(fitted(image if image.mode == mode else image.convert(mode), form))
    return pixels.reshape(form.height, form.width, form.channels).transpose(2, 0, 1), gray


def measured(file: BinaryIO) -> tuple[int, int]:
    """Returns height and width of the upright image, from the file's header alone."""
    with reading(), Image.open(file, formats=FORMATS) as image:
        check_pixels(image)
        turned = image.getexif().get(ORIENTATION, 1) in SIDEWAYS
        return (image.width, image.height) if turned else (image.height, image.width)


def upright(file: BinaryIO) -> tuple[Image.Image, bool]:
    """Returns the first frame as a viewer shows it, in mode L or RGB, and whether the file was gray.

    The EXIF orientation is applied, 16 bits are rounded to 8, the background of transparent parts is white, and colour
    profiles are ignored.
    """
    with reading(), Image.open(file, formats=FORMATS) as image:
        check_pixels(image)
        gray = image.mode in GRAY
        ImageOps.exif_transpose(image, in_place=True)
        image.load()
        return eight_bits(image), gray


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Converts any error of a decoder into Unreadable."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of large images (which check_pixels limits) and damaged metadata
        try:
            yield
        except Unreadable:
            raise
        except Exception as error:
            raise Unreadable(reason(error)) from error


def check_pixels(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise Unreadable(f"{image.width}x{image.height} pixels are more than the {MAX_PIXELS} that an image may have")


def reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "no image of a known format"
    return str(error).split("\n")[0] or type(error).__name__


def eight_bits(image: Image.Image) -> Image.Image:
    if image.mode in SIXTEEN_BITS or (image.mode == "I" and image.format == "PNG"):
        return Image.fromarray(np.round(np.asarray(image).astype(np.float32) / 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise Unreadable(f"numbers of 32 bits (mode {image.mode}) have no known range; save it with 8 or 16 bits")
    if image.mode in ALPHA or "transparency" in image.info:
        gray = image.mode in GRAY
        image = image.convert("RGBA")
        flat = Image.alpha_composite(Image.new("RGBA", image.size, (WHITE,) * 4), image)
        return flat.convert("L" if gray else "RGB")
    return image if image.mode in ("L", "RGB") else image.convert("L" if image.mode in GRAY else "RGB")


def fitted(image: Image.Image, form: Form) -> Image.Image:
    size = (form.width, form.height)
    if form.fit == "exact" and image.size != size:
        raise OtherSize(f"{image.width}x{image.height}")
    if form.fit == "pad":
        return ImageOps.pad(image, size, LANCZOS, color=0)
    return (middle(image, form) if form.fit == "crop" else image).resize(size, LANCZOS)


def middle(image: Image.Image, form: Form) -> Image.Image:
    """Crops the largest middle part of the form's shape, before resizing, so that no pixel outside it has influence."""
    width = min(image.width, max(1, round(image.height * form.width / form.height)))
    height = min(image.height, max(1, round(image.width * form.height / form.width)))
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))
