"""Files of images, each written a chunk at a time: a folder of png, an npz, a folder of npz, a zip archive."""

import io
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copyfileobj

import numpy as np
import torch
from PIL import Image

from gan_runner.metric.pools import CHUNK
from gan_runner.records.grid import image_grid
from gan_runner.sampling.resuming import About, begin_folder, partial, replaced
from gan_runner.sampling.source import Source
from gan_runner.spec import ImageSpec
from gan_runner.storage import archive

Report = Callable[[int], None]  # takes the number of images that are done
LABELS = "dataset.json"  # of a zip, as StyleGAN's tools read it


def ignore(done: int) -> None:
    """Reports nothing."""


def write_grid(out: Path, source: Source, about: About, report: Report = ignore) -> None:
    images = torch.cat(list(source.pieces()))
    save_png(replaced(out), image_grid(images, source.spec, source.labels(0, source.count)))


def write_pngs(out: Path, source: Source, about: About, report: Report = ignore) -> None:
    """Writes a folder of 000000.png and so on. A file is complete or not there; those that are there stay."""
    begin_folder(out, about, ".png")
    for start in range(0, source.count, CHUNK):
        stop = min(start + CHUNK, source.count)
        paths = [out / f"{number:06d}.png" for number in range(start, stop)]
        if not all(path.is_file() and not path.is_symlink() for path in paths):
            (pictures,) = source.arrays(start, stop)
            for path, picture in zip(paths, pictures, strict=True):
                save_png(path, picture)
        report(stop)


def write_npz(out: Path, source: Source, about: About, report: Report = ignore) -> None:
    """Writes `images` (N, H, W, C) uint8, or (N, 1, 1, C) float32 for points, and `labels` (N,) if conditional.

    The bytes are those of numpy.savez, which would hold all images in memory.
    """
    replaced(out)
    with partial(out, about) as folder:
        made = folder / "images"
        size = image_bytes(source.spec)
        with open(made, "ab") as file:
            file.truncate(os.path.getsize(made) // (CHUNK * size) * CHUNK * size)
            report(done := file.seek(0, 2) // size)
            for pixels in source.arrays(done):
                file.write(np.ascontiguousarray(pixels).data)
                report(done := done + len(pixels))
        labels = source.labels(0, source.count)
        with open(made, "rb") as raw, zipfile.ZipFile(folder / "npz", "w") as packed:
            with packed.open("images.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array_header_1_0(file, header(source))
                copyfileobj(raw, file, 2**20)
            if labels is not None:
                with packed.open("labels.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, labels.numpy(), allow_pickle=False)
        os.replace(folder / "npz", out)


def header(source: Source) -> dict[str, object]:
    spec = source.spec
    shape = (source.count, spec.height, spec.width, spec.channels)
    return {"descr": "<f4" if spec.value_range is None else "|u1", "fortran_order": False, "shape": shape}


def image_bytes(spec: ImageSpec) -> int:
    return spec.size * (4 if spec.value_range is None else 1)


def shards(size: int) -> Callable[[Path, Source, About, Report], None]:
    """Returns a writer of a folder of npz files with `size` images each; those that are there stay."""

    def write(out: Path, source: Source, about: About, report: Report = ignore) -> None:
        begin_folder(out, about, ".npz")
        for start in range(0, source.count, size):
            stop = min(start + size, source.count)
            path = out / f"images-{start:08d}.npz"
            if not path.is_file() or path.is_symlink():
                labels = source.labels(start, stop)
                arrays = {"images": np.concatenate(list(source.arrays(start, stop)))}
                arrays |= {} if labels is None else {"labels": labels.numpy()}
                temporary = replaced(out / ".shard.npz")
                np.savez(temporary, allow_pickle=False, **arrays)
                os.replace(temporary, path)
            report(stop)

    return write


def write_zip(out: Path, source: Source, about: About, report: Report = ignore) -> None:
    """Writes an archive of png files, with the labels in dataset.json, in the layout of StyleGAN's dataset tool."""
    replaced(out)
    with partial(out, about) as folder:
        made = folder / "zip"
        made.touch()
        with open(made, "r+b") as file, open(made, "rb") as reading:
            done, end = 0, 0
            for done, entry in enumerate(archive.entries(reading), 1):
                if done > source.count:  # the labels, which are written anew
                    break
                end = entry.end
            file.truncate(end)
            file.seek(end)
            report(done := min(done, source.count))
            for pictures in source.arrays(done):
                for number, picture in enumerate(pictures, done):
                    archive.append_bytes(file, name_in_zip(number), png(picture))
                report(done := done + len(pictures))
            size = crc = 0
            for part in labels_in_zip(source):
                size, crc = size + len(part), zlib.crc32(part, crc)
            archive.append(file, LABELS, labels_in_zip(source), size, crc)
            archive.finish(file, reading)
        os.replace(made, out)


def name_in_zip(number: int) -> str:
    return f"{number // 1000:05d}/img{number:08d}.png"


def labels_in_zip(source: Source) -> Iterator[bytes]:
    """Yields the JSON text {"labels": [[name, label], ...]}, or {"labels": null} if there are none."""
    if source.labels(0, 1) is None:
        yield b'{"labels": null}'
        return
    yield b'{"labels": ['
    for start in range(0, source.count, CHUNK):
        labels = source.labels(start, min(start + CHUNK, source.count))
        assert labels is not None  # checked above
        pairs = [[name_in_zip(number), label] for number, label in enumerate(labels.tolist(), start)]
        yield (", " * (start > 0) + json.dumps(pairs)[1:-1]).encode()
    yield b"]}"


def png(picture: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(picture.squeeze(2) if picture.shape[2] == 1 else picture).save(content, "png")
    return content.getvalue()


def save_png(out: Path, picture: np.ndarray) -> None:
    """Writes a file that is complete or not there."""
    temporary = replaced(out.with_name(f".{out.name}.tmp"))
    temporary.write_bytes(png(picture))
    os.replace(temporary, out)


Writer = Callable[[Path, Source, About, Report], None]
WRITERS: dict[str, Writer] = {"grid": write_grid, "png": write_pngs, "npz": write_npz, "zip": write_zip}
SUFFIXES = {"grid": ".png", "png": "", "npz": ".npz", "zip": ".zip"}
