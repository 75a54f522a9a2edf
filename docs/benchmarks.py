"""The measured table of docs/benchmarks.md: python docs/benchmarks.py IMAGES.zip, an archive with folders of classes.

Everything is written into a temporary folder, which is removed. Ratios are taken within one run.
"""

import argparse
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from gan_runner.dataset.image_folder import ImageFolder
from gan_runner.spec import Batch

BATCH, BATCHES = 64, 300
ROUNDS = 5
MANY = 200_000  # small images, for the memory
CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", help="a zip archive of images in folders of classes")
    parser.add_argument("--child", choices=("pack", "memory"), help=argparse.SUPPRESS)
    parser.add_argument("--cache", help=argparse.SUPPRESS)
    parser.add_argument("--cores", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child == "pack":
        answer(pack(options.images, options.cache, options.cores))
    elif options.child == "memory":
        answer(memory(options.images, options.cache))
    else:
        with tempfile.TemporaryDirectory() as folder:
            for row in rows(os.path.abspath(options.images), Path(folder)):
                print("| " + " | ".join(row) + " |", flush=True)


def rows(images: str, folder: Path) -> Iterator[tuple[str, str]]:
    """What was measured, and the result."""
    cores = len(os.sched_getaffinity(0))
    starts: dict[int, list[float]] = {1: [], cores: []}
    later = []
    for number in range(ROUNDS):
        for count, taken in starts.items():
            cache = str(folder / f"cache-{number}-{count}")
            found = child("pack", images, cache, "--cores", str(count))
            taken.append(found["seconds"])
        later.append(child("pack", images, cache, "--cores", str(cores))["seconds"])
    total, again = found["images"], statistics.median(later)
    one, several = (statistics.median(taken) for taken in starts.values())
    for name, listing in (("first start: listing and packing", 0.0), ("packing alone", again)):
        own, other = total / (one - listing), total / (several - listing)
        ratio = f"{other / own:.2f} times as fast"
        yield f"{name}, {total:,} images, median of {ROUNDS}, 1 core", f"{own:,.0f} images/s"
        yield f"the same, {cores} cores", f"{other:,.0f} images/s, {ratio}"
    yield f"a later start, median of {ROUNDS}", f"{again:.2f} s"
    yield from batch_rows(images, folder, cores)
    small = child("memory", str(small_images(folder / "small.zip")), str(folder / "small"))
    yield f"peak memory of a process that reads {MANY:,} images through the map, less the map", f"{small['mb']:.0f} MB"


def batch_rows(images: str, folder: Path, cores: int) -> Iterator[tuple[str, str]]:
    """Batches of floats in [-1, 1], from the map and from single files."""
    data = ImageFolder(images, cache_dir=str(folder / f"cache-0-{cores}")).split("train")
    with zipfile.ZipFile(images) as archive:
        archive.extractall(folder / "files")
    root = folder / "files" / "train"
    ours, theirs = [], []
    for number in range(ROUNDS):
        ours.append(rate(data.batches(BATCH, CPU, 0, number)))
        theirs.append(rate(loader(root if root.is_dir() else folder / "files")))
    own, other = statistics.median(ours), statistics.median(theirs)
    yield f"batches of {BATCH} from the map, median of {ROUNDS}", f"{own * BATCH:,.0f} images/s"
    yield "torchvision's ImageFolder and a DataLoader with 2 workers", f"{other * BATCH:,.0f} images/s"
    yield "the map beside them", f"{own / other:.0f} times"


def pack(images: str, cache: str, cores: int) -> dict[str, float]:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    began = time.perf_counter()
    count = len(ImageFolder(images, cache_dir=cache))
    return {"seconds": time.perf_counter() - began, "images": count}


def memory(images: str, cache: str) -> dict[str, float]:
    """Packs, then reads two epochs."""
    data = ImageFolder(images, cache_dir=cache, held_out=0.0).split("train")
    for _ in islice(data.batches(BATCH, CPU, 0, 0, "prefetched"), 2 * len(data) // BATCH):
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"mb": (peak - data.images.numel()) / 1e6}


def rate(batches: Iterator[Any]) -> float:
    """Batches a second, without the start."""
    list(islice(batches, 20))
    began = time.perf_counter()
    seen = len(list(islice(forget(batches), BATCHES)))
    return seen / (time.perf_counter() - began)


def forget(batches: Iterator[Any]) -> Iterator[None]:
    for batch in batches:
        assert isinstance(batch, Batch) or batch[0].dtype == torch.float32
        yield None


def loader(root: Path) -> Iterator[Any]:
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms

    scaled = transforms.Compose([transforms.ToTensor(), transforms.Normalize(0.5, 0.5)])
    images = datasets.ImageFolder(str(root), scaled)
    return iter(DataLoader(images, BATCH, shuffle=True, num_workers=2, drop_last=True))


def small_images(path: Path) -> Path:
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(MANY):
            file = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(file, "BMP")
            archive.writestr(f"{number}.bmp", file.getvalue())
    return path


def child(task: str, images: str, cache: str, *more: str) -> dict[str, float]:
    """In a process of its own, whose start is not counted."""
    command = [sys.executable, __file__, images, "--child", task, "--cache", cache, *more]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(found.stdout.splitlines()[-1])
    return result


def answer(result: dict[str, float]) -> None:
    print(json.dumps(result))


if __name__ == "__main__":
    main()
