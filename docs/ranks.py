"""Compares two gloo ranks of one thread each with one process of two threads, at the same global batch.

python docs/ranks.py [--steps 20] [--repeats 7]. Both train in turns, so that a drift of the machine cancels.
"""

import argparse
import multiprocessing
import os
import socket
import statistics
import time
from multiprocessing.connection import Connection
from typing import NamedTuple

import torch

from gan_runner.assembly.build import build
from gan_runner.cli.compose import compose
from gan_runner.distributed.ranks import ALONE, Ranks
from gan_runner.distributed.torchrun import Torchrun, join
from gan_runner.training.run import Run

COMMON = ("dataset=synthetic", "loss=wgan_gp", "device=cpu", "train.batch_size=64")
WORK = {
    "MLP of the tutorials, 28x28": ("model=mlp_keras", "dataset.height=28", "dataset.width=28", "dataset.channels=1"),
    "DCGAN of width 64, 32x32": ("model=dcgan",),
}


class Lap(NamedTuple):
    """Seconds for some steps, and the part of them that was spent in collective calls."""

    seconds: float
    waiting: float


class Timed(Torchrun):
    """Ranks that measure the time of exchanging gradients, including the wait for the slower rank."""

    waiting = 0.0

    def add_up(self, tensors: list[torch.Tensor]) -> None:
        started = time.perf_counter()
        super().add_up(tensors)
        self.waiting += time.perf_counter() - started


def made(overrides: tuple[str, ...], ranks: Ranks) -> Run:
    return build(compose([*COMMON, *overrides]), ranks)


def work(rank: int, count: int, port: int, orders: Connection) -> None:
    """The main function of a process: builds the sent configurations and takes steps, with its share of threads."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    if count > 1:
        join()
    torch.set_num_threads(2 // count)
    ranks = Timed() if count > 1 else ALONE
    while (order := orders.recv()) is not None:
        if isinstance(order, tuple):
            run = made(order, ranks)
            orders.send(None)
            continue
        before, started = getattr(ranks, "waiting", 0.0), time.perf_counter()
        for _ in range(order):
            run.meter.add(run.step())
            ranks.highest_delayed(0.0, 0, 0)
        orders.send(Lap(time.perf_counter() - started, getattr(ranks, "waiting", 0.0) - before))


def start(count: int) -> list[Connection]:
    """Starts `count` ranks; returns the pipes to them."""
    spawn = multiprocessing.get_context("spawn")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    pipes = [spawn.Pipe() for _ in range(count)]
    for rank, (_, theirs) in enumerate(pipes):
        spawn.Process(target=work, args=(rank, count, port, theirs), daemon=True).start()
    return [mine for mine, _ in pipes]


def ask(pipes: list[Connection], order: tuple[str, ...] | int) -> list[Lap]:
    for pipe in pipes:
        pipe.send(order)
    return [pipe.recv() for pipe in pipes]


def compare(one: list[Connection], two: list[Connection], steps: int, repeats: int) -> str:
    """Returns a row: milliseconds for a step of both, their ratio, and the milliseconds of exchanging gradients."""
    for pipes in (one, two):
        ask(pipes, 3)  # warm-up
    laps = []
    for repeat in range(repeats):
        turns = (one, two) if repeat % 2 else (two, one)
        taken = {id(pipes): ask(pipes, steps) for pipes in turns}
        laps.append((taken[id(one)][0], taken[id(two)][0]))
    ratios = sorted(b.seconds / a.seconds for a, b in laps)
    alone, ranks, waiting = (
        1000 / steps * statistics.median(values)
        for values in ([a.seconds for a, _ in laps], [b.seconds for _, b in laps], [b.waiting for _, b in laps])
    )
    return (
        f"{alone:.1f} ms | {ranks:.1f} ms | {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) | "
        f"{waiting:.1f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20, help="generator updates in a lap (default 20)")
    parser.add_argument("--repeats", type=int, default=7, help="laps of each (default 7)")
    asked = parser.parse_args()
    one, two = start(1), start(2)
    print("| work | one process, two threads | two ranks, one thread each | ratio | of which exchange and waiting |")
    print("|---|---|---|---|---|")
    for name, overrides in WORK.items():
        for pipes in (one, two):
            ask(pipes, overrides)
        print(f"| {name} | {compare(one, two, asked.steps, asked.repeats)} |", flush=True)
    for pipe in (*one, *two):
        pipe.send(None)


if __name__ == "__main__":
    main()
