"""Measures speed by number of threads, for docs/benchmarks.md: python docs/threads.py ["MLP on digits" ...].

Trains MLPs and DCGANs with the default number of threads, with one and with two, five times each in turns, on an idle
machine and beside a process that keeps one core busy. Arguments limit the measurement to the networks of these names.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

NETWORKS = {
    "MLP on digits": (),
    "MLP on 28x28 images": ("dataset=synthetic", "dataset.channels=1", "dataset.height=28", "dataset.width=28"),
    "DCGAN on 8x8 images": ("model=dcgan",),
    "DCGAN on 32x32 images": ("model=dcgan", "dataset=synthetic"),
}
THREADS = {"default": None, "one": "1", "two": "2"}
ROUNDS, SECONDS = 5, 10
QUIET = ("device=cpu", f"train.total_seconds={SECONDS}", "train.sample_every=100000", "train.checkpoint_every=100000")


@contextlib.contextmanager
def beside(busy: bool) -> Iterator[None]:
    """Runs its block beside a process that keeps one core busy, if `busy`."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
    try:
        yield
    finally:
        if process is not None:
            process.kill()


def speed(overrides: tuple[str, ...], threads: str | None) -> float:
    """Trains once; returns images per second."""
    env = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    env |= {"OMP_NUM_THREADS": threads} if threads is not None else {}
    with tempfile.TemporaryDirectory() as folder:
        typed = [sys.executable, "-m", "gan_runner", *overrides, *QUIET, "name=threads"]
        subprocess.run(typed, cwd=folder, env=env, check=True, stdout=subprocess.DEVNULL)
        summary = json.loads((Path(folder) / "outputs" / "threads" / "summary.json").read_text())
    return float(summary["images"] / summary["seconds"])


def main() -> None:
    out = sys.stdout
    out.write("| network | beside | default | one thread | two threads | default / best |\n|---|---|---|---|---|---|\n")
    for name in sys.argv[1:] or NETWORKS:
        for busy in (False, True):
            found: dict[str, list[float]] = {key: [] for key in THREADS}
            with beside(busy):
                for number in range(ROUNDS):
                    for key in list(THREADS)[:: 1 if number % 2 else -1]:
                        found[key].append(speed(NETWORKS[name], THREADS[key]))
            median = {key: statistics.median(values) for key, values in found.items()}
            shares = [median[key] for key in THREADS]
            row = " | ".join(f"{value:,.0f}" for value in shares)
            work = "a busy process" if busy else "nothing"
            out.write(f"| {name} | {work} | {row} | {median['default'] / max(shares):.2f} |\n")
            out.flush()


if __name__ == "__main__":
    main()
