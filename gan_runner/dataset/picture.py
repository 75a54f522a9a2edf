"""The bytes of an image file -> pixels: the first frame, upright, 8 bits a channel, gray or RGB, in one size.

Imports no torch, so that the processes which decode begin at once.
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
LARGEST = 8192  # pixels a side that images may be asked in
MOST_PIXELS = 2**27  # in one image: 0.4 GB of RGB
LANCZOS = Image.Resampling.LANCZOS  # of Pillow: antialiased when it shrinks
SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
GRAY = ("1", "L", "LA", "La", *SIXTEEN_BITS)
ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
WHITE = 255
ORIENTATION, SIDEWAYS = 0x0112, (5, 6, 7, 8)  # of EXIF


class Unreadable(Exception):
    """The file is no image that can be used; the message says why."""


class OtherSize(Exception):
    """The image is whole and not of the size of the others."""


@dataclass(frozen=True)
class Form:
    """What every image becomes.

    fit: crop: the middle, as much as fits the shape; pad: all of it, between black bars; stretch: without regard to
    its shape; exact: OtherSize unless it has the size already.
    """

    height: int
    width: int
    channels: int
    fit: str


def sides(size: int | Sequence[int]) -> tuple[int, int]:
    """Height and width, of 64 or [64, 96]; ValueError where it is no size."""
    pair = [size, size] if isinstance(size, int) else list(size)
    whole = len(pair) == 2 and all(1 <= side <= LARGEST for side in pair)
    require(whole, f"size={size} must be a number of pixels or [height, width], each between 1 and {LARGEST}")
    return pair[0], pair[1]


def check_form(fit: str, channels: int | None) -> None:
    choose("fit", fit, FITS)
    require(channels in (None, 1, 3), f"channels={channels} must be 1 (gray), 3 (RGB) or null (as the images are)")


def decoded(file: BinaryIO, form: Form) -> tuple[Pixels, bool]:
    """(C, H, W), and whether the file was gray. Unreadable or OtherSize where it cannot be."""
    image, gray = upright(file)
    mode = "L" if form.channels == 1 else "RGB"
    pixels = np.asarray(fitted(image if image.mode == mode else image.convert(mode), form))
    return pixels.reshape(form.height, form.width, form.channels).transpose(2, 0, 1), gray


def measured(file: BinaryIO) -> tuple[int, int]:
    """Height and width of the image, upright, from its head alone."""
    with reading(), Image.open(file, formats=FORMATS) as image:
        check_pixels(image)
        turned = image.getexif().get(ORIENTATION, 1) in SIDEWAYS
        return (image.width, image.height) if turned else (image.height, image.width)


def upright(file: BinaryIO) -> tuple[Image.Image, bool]:
    """The first frame as a viewer shows it, in mode L or RGB, and whether the file was gray.

    Turned as its EXIF says; 16 bits are rounded to 8; transparent parts lie on white; colour profiles are ignored.
    """
    with reading(), Image.open(file, formats=FORMATS) as image:
        check_pixels(image)
        gray = image.mode in GRAY
        ImageOps.exif_transpose(image, in_place=True)
        image.load()
        return eight_bits(image), gray


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Whatever a decoder raises on damaged data is Unreadable."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's on large images (there is a limit here) and on damaged metadata
        try:
            yield
        except Unreadable:
            raise
        except Exception as error:
            raise Unreadable(reason(error)) from error


def check_pixels(image: Image.Image) -> None:
    if image.width * image.height > MOST_PIXELS:
        raise Unreadable(f"{image.width}x{image.height} pixels are more than the {MOST_PIXELS} that an image may have")


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
    """As much of it as has the shape. Cropped before it is resized, so that nothing from beyond the edge gets in."""
    width = min(image.width, max(1, round(image.height * form.width / form.height)))
    height = min(image.height, max(1, round(image.width * form.height / form.width)))
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))
