"""Files of films: MP4 as a stream through ffmpeg, GIF and WebP through Pillow. The same frames give the same bytes."""

import contextlib
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gan_runner.errors import ConfigError
from gan_runner.storage.packages import require_packages

MOST_KEPT = 1000  # frames of a GIF or WebP file, all of which Pillow keeps in memory
ENCODER = (  # one thread, and no date in the file: the same bytes from the same ffmpeg
    *("-an", "-c:v", "libx264", "-preset", "medium", "-crf", "16", "-pix_fmt", "yuv420p", "-threads", "1"),
    *("-fflags", "+bitexact", "-flags:v", "+bitexact", "-map_metadata", "-1", "-movflags", "+faststart", "-f", "mp4"),
)

Writer = Callable[[Path, Iterator[np.ndarray], float], None]


def write_mp4(path: Path, frames: Iterator[np.ndarray], fps: float) -> None:
    """Writes frames (H, W, C) uint8 of one size; holds one frame at a time. Odd sizes get a black row or column."""
    first = next(frames)
    height, width, channels = even(first).shape
    form = ("-f", "rawvideo", "-pix_fmt", "rgb24" if channels == 3 else "gray", "-s", f"{width}x{height}")
    command = (ffmpeg(), "-y", "-loglevel", "error", *form, "-r", str(fps), "-i", "-", *ENCODER, str(path))
    with tempfile.TemporaryFile() as messages:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=messages)
        assert process.stdin is not None
        try:
            for frame in chain([first], frames):
                process.stdin.write(even(frame).tobytes())
        except BrokenPipeError:
            pass  # ffmpeg has ended, and its message says why
        except BaseException:  # Ctrl-C too: ffmpeg would wait for more frames, or finish a cut film
            process.kill()
            raise
        finally:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            failed = process.wait() != 0
        messages.seek(0)
        if failed:
            raise OSError(f"ffmpeg: {messages.read().decode(errors='replace').strip().splitlines()[-1:]}")


def ffmpeg() -> str:
    """Returns the path of the program ffmpeg that the package imageio-ffmpeg contains."""
    import imageio_ffmpeg

    return str(imageio_ffmpeg.get_ffmpeg_exe())


def even(frame: np.ndarray) -> np.ndarray:
    """Pads to even sides, which yuv420p requires."""
    return np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)))


def write_gif(path: Path, frames: Iterator[np.ndarray], fps: float) -> None:
    """Writes an endless GIF: a palette of 256 colours for each frame, and times in hundredths of a second."""
    pictures = (picture if picture.mode == "L" else picture.quantize(256) for picture in map(as_image, frames))
    save(path, pictures, fps, format="GIF")


def write_webp(path: Path, frames: Iterator[np.ndarray], fps: float) -> None:
    """Writes an endless WebP film without loss."""
    save(path, map(as_image, frames), fps, format="WEBP", lossless=True, method=2)


def save(path: Path, pictures: Iterator[Image.Image], fps: float, **form: Any) -> None:
    next(pictures).save(path, save_all=True, append_images=pictures, duration=round(1000 / fps), loop=0, **form)


def as_image(picture: np.ndarray) -> Image.Image:
    return Image.fromarray(picture.squeeze(2) if picture.shape[2] == 1 else picture)


WRITERS: dict[str, Writer] = {".mp4": write_mp4, ".gif": write_gif, ".webp": write_webp}
SUFFIXES = (*WRITERS, ".png")


def check_format(out: Path, count: int) -> None:
    """ConfigError unless a film of `count` frames can be written to `out`."""
    if out.suffix not in SUFFIXES:
        raise ConfigError(f"--out={out} should end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}.")
    if out.suffix == ".mp4":
        require_packages(f"--out={out}", "imageio_ffmpeg")
    if out.suffix in (".gif", ".webp") and count > MOST_KEPT:
        raise ConfigError(
            f"--out={out} has {count} frames, and a {out.suffix} film is kept in memory, so that {MOST_KEPT} are the "
            f"most; use .mp4, which is written as a stream."
        )
