"""Measures the tables of docs/benchmarks.md.

python docs/benchmarks.py data IMAGES.zip    speed of the data path, for an archive with folders of classes
python docs/benchmarks.py growth             growth of the cost of training with the size of the problem

All files are in a temporary folder, which is removed, except outputs/.benchmarks/growth.json. Ratios are taken within
one run.
"""

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from gan_runner.benchmark import BENCHMARKS, spelled
from gan_runner.benchmarking.contest import Bare
from gan_runner.benchmarking.measuring import Plan, spread
from gan_runner.cli.compose import compose
from gan_runner.dataset.image_folder import ImageFolder
from gan_runner.device import Device
from gan_runner.records.environment import environment
from gan_runner.spec import Batch

BATCH, BATCHES = 64, 300
ROUNDS = 5
MANY = 200_000  # small images, for measuring the memory
CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tables = parser.add_subparsers(dest="table", required=True)
    data = tables.add_parser("data", help="the data path")
    data.add_argument("images", help="a zip archive of images in folders of classes")
    data.add_argument("--child", choices=("pack", "memory"), help=argparse.SUPPRESS)
    data.add_argument("--cache", help=argparse.SUPPRESS)
    data.add_argument("--cores", type=int, help=argparse.SUPPRESS)
    growing = tables.add_parser("growth", help="how the cost of a training grows")
    growing.add_argument("--quick", action="store_true", help="laps too short to mean anything, to try the script")
    options = parser.parse_args()
    if options.table == "growth":
        growth(options.quick)
    elif options.child == "pack":
        answer(pack(options.images, options.cache, options.cores))
    elif options.child == "memory":
        answer(memory(options.images, options.cache))
    else:
        with tempfile.TemporaryDirectory() as folder:
            for row in rows(os.path.abspath(options.images), Path(folder)):
                print("| " + " | ".join(row) + " |", flush=True)


# ---- growth

GROWN = ("model=dcgan", "loss=wgan_gp", "dataset=synthetic", "dataset.count=2000")
NARROW = ("model.generator.width=16", "model.discriminator.width=16")
GROWTH: dict[str, dict[str, tuple[str, ...]]] = {  # quantity -> value, from the smallest on -> overrides
    "batch": {str(n): (*NARROW, f"train.batch_size={n}") for n in (8, 16, 32, 64, 128)},
    "resolution": {
        f"{n}x{n}": (*NARROW, "train.batch_size=16", f"dataset.height={n}", f"dataset.width={n}") for n in (16, 32, 64)
    },
    "width": {
        str(n): ("train.batch_size=16", f"model.generator.width={n}", f"model.discriminator.width={n}")
        for n in (8, 16, 32, 64)
    },
    "images in the dataset": {
        f"{n:,}": (*NARROW, "train.batch_size=16", f"dataset.count={n}") for n in (1_000, 10_000, 100_000)
    },
    "n_critic": {str(n): (*NARROW, "train.batch_size=16", f"loss.n_critic={n}") for n in (1, 2, 5, 10)},
}
RANKS = (1, 2)
RANKED = (*GROWN, *NARROW, "train.batch_size=64", "train.sample_every=1000000", "train.checkpoint_every=1000000")
TIMES, RANKED_SECONDS = Plan(0.6, 5), 15.0
HASTE, HASTE_SECONDS = Plan(0.01, 2), 1.0
HEAD = (
    "quantity",
    "value",
    "images/s",
    "time per image, relative to the row above",
    "operations per image, relative to the row above",
    "share of the matrix rate",
)


def growth(quick: bool) -> None:
    """Prints the table row by row; the laps of one quantity take turns, so that a drift of the machine cancels."""
    for cells in (HEAD, ("---",) * len(HEAD)):
        print("| " + " | ".join(cells) + " |", flush=True)
    result: dict[str, list[dict[str, Any]]] = {}
    for name, sizes in GROWTH.items():
        result[name] = list(grown(sizes, HASTE if quick else TIMES))
        tell(name, result[name])
    result["ranks"] = [ranked(count, HASTE_SECONDS if quick else RANKED_SECONDS) for count in RANKS]
    tell("ranks, batch 64 in all", result["ranks"])
    BENCHMARKS.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"environment": environment(Device()), **result}, indent=2) + "\n"
    (BENCHMARKS / "growth.json").write_text(text)
    print(f"saved in {BENCHMARKS / 'growth.json'}")


def grown(sizes: Mapping[str, tuple[str, ...]], asked: Plan) -> Iterator[dict[str, Any]]:
    bare = {size: Bare(compose((*GROWN, *overrides))) for size, overrides in sizes.items()}
    for number in range(asked.repeats):
        for one in list(bare.values())[:: 1 if number % 2 == 0 else -1]:
            one.take_turn(asked.seconds)
    for size, one in bare.items():
        yield {"to": size, "overrides": list(sizes[size]), **one.result()}


def ranked(count: int, seconds: float) -> dict[str, Any]:
    """Returns the speed from the summary of a run with `count` ranks on this machine, without its start."""
    with tempfile.TemporaryDirectory() as folder:
        limits = (f"train.total_seconds={seconds}", "name=ranks")
        launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count))
        command = [sys.executable, *launcher, "-m", "gan_runner", *RANKED, *limits]
        threads = str(max(1, len(os.sched_getaffinity(0)) // count))
        around = {**os.environ, "OMP_NUM_THREADS": threads, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
        done = subprocess.run(command, cwd=folder, env=around, capture_output=True, text=True, check=False)
        summary = Path(folder) / "outputs" / "ranks" / "summary.json"
        row = {"to": str(count), "overrides": list(RANKED)}
        if done.returncode != 0 or not summary.exists():
            return row | {"error": f"failed with exit code {done.returncode}"}
        content = json.loads(summary.read_text())
    images, memory = content["images_per_second"], content["peak_memory_mb"]
    return row | {"images_per_second": spread([images]), "peak_memory_mb": memory}


def tell(name: str, found: Sequence[Mapping[str, Any]]) -> None:
    before: Mapping[str, Any] = {}
    for row in found:
        if "error" in row:
            cells = (row["error"], "-", "-", "-")
        else:
            share = spelled(row["share_of_matrix_rate"], ".0%") if "share_of_matrix_rate" in row else "-"
            time_beside = ratio(before.get("images_per_second", {}).get("median"), row["images_per_second"]["median"])
            work_beside = ratio(row.get("operations_per_image"), before.get("operations_per_image"))
            cells = (spelled(row["images_per_second"], ",.0f"), time_beside, work_beside, share)
            before = row
        print(f"| {name} | {row['to']} | {' | '.join(cells)} |", flush=True)


def ratio(one: float | None, other: float | None) -> str:
    return "-" if one is None or other is None else f"{one / other:.2f}"


# ---- the data path


def rows(images: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Yields the name of each measurement and its result."""
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
    """Measures batches of floats in [-1, 1], from the mapped file and from single files."""
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
    """Packs the images and reads two epochs; returns the peak memory in MB, without the mapped file."""
    data = ImageFolder(images, cache_dir=cache, held_out=0.0).split("train")
    for _ in islice(data.batches(BATCH, CPU, 0, 0, "prefetched"), 2 * len(data) // BATCH):
        pass
    status = Path("/proc/self/status").read_text(encoding="utf-8")  # getrusage would include the parent's memory
    peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
    return {"mb": (peak - data.images.numel()) / 1e6}


def rate(batches: Iterator[Any]) -> float:
    """Returns batches per second, without the first 20 batches."""
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
    """Runs a task in its own process; the task measures its own time, so the start of the process is not included."""
    command = [sys.executable, __file__, "data", images, "--child", task, "--cache", cache, *more]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(found.stdout.splitlines()[-1])
    return result


def answer(result: dict[str, float]) -> None:
    print(json.dumps(result))


if __name__ == "__main__":
    main()
