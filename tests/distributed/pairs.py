"""Two gloo ranks in separate processes, which wait for functions to execute."""

import multiprocessing
import os
import socket
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import torch

from gan_runner.assembly.build import build
from gan_runner.distributed.ranks import Ranks
from gan_runner.distributed.torchrun import Torchrun, join
from gan_runner.game.player import Player
from gan_runner.main import train
from gan_runner.records.folder import FolderOfAnother, RunFolder
from gan_runner.training.judging import evaluate
from gan_runner.training.run import Run
from tests.conftest import configure, weights

spawn = multiprocessing.get_context("forkserver")
spawn.set_forkserver_preload(["tests.distributed.pairs", "sklearn.datasets"])
Pair = Callable[..., list[Any]]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def work(rank: int, port: int, orders: Connection) -> None:
    """Executes functions from the pipe, and sends back the result or the exception."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    warnings.simplefilter("ignore")
    join()
    torch.set_num_threads(1)
    while (order := orders.recv()) is not None:
        function, arguments = order
        try:
            orders.send(function(Torchrun(), *arguments))
        except Exception as error:  # noqa: BLE001 (for the test to look at)
            orders.send((type(error).__name__, str(error), getattr(error, "exit_code", 1)))


@contextmanager
def two_ranks() -> Iterator[Pair]:
    """pair(function, *arguments) calls function(ranks, *arguments) on both; results or (type, sentence, exit code)."""
    port, pipes, processes = free_port(), [], []
    for rank in range(2):
        mine, theirs = spawn.Pipe()
        processes.append(spawn.Process(target=work, args=(rank, port, theirs), daemon=True))
        processes[-1].start()
        pipes.append(mine)

    def pair(function: Callable[..., Any], *arguments: Any) -> list[Any]:
        for pipe in pipes:
            pipe.send((function, arguments))
        answered = [pipe.poll(60) for pipe in pipes]
        assert all(answered), f"no answer from rank {answered.index(False)}"
        return [pipe.recv() for pipe in pipes]

    try:
        yield pair
    finally:
        for process in processes:
            process.kill()
            process.join()


# ---- what they do


class Seen(NamedTuple):
    gradients: list[dict[str, torch.Tensor]]  # of each update
    weights: dict[str, torch.Tensor]
    logged: dict[str, float]
    metrics: dict[str, float]


def metrics_of(run: Run) -> dict[str, float]:
    found = evaluate(run)
    return found.values if found is not None else {}


def computed(ranks: Ranks, overrides: tuple[str, ...], steps: int) -> Seen:
    run = build(configure(*overrides), ranks)
    gradients: list[dict[str, torch.Tensor]] = []

    def noted(player: Player) -> None:
        named = player.network.named_parameters()
        gradients.append({f"{player.name}.{n}": p.grad.clone() for n, p in named if p.grad is not None})
        Player.move(player)

    for player in (run.generator, run.discriminator):
        player.move = noted.__get__(player)  # type: ignore[method-assign]
    for _ in range(steps):
        run.meter.add(run.step())
    return Seen(gradients, weights(run), run.meter.read(), metrics_of(run))


def refusal(ranks: Ranks, overrides: tuple[str, ...]) -> str:
    with ranks.ending_together():
        build(configure(*overrides), ranks)
    return "built"


def trained(ranks: Ranks, path: Path, overrides: tuple[str, ...]) -> None:
    folder = (RunFolder if ranks.first else FolderOfAnother)(path)
    train(folder, configure(*overrides), "a test", ranks=ranks)


def at_step(ranks: Ranks, path: Path, overrides: tuple[str, ...], rank: int, step: int, act: Callable[[], Any]) -> None:
    """Trains; one rank acts after a step."""
    original = Run.step

    def acting(run: Run) -> Any:
        stats = original(run)
        if ranks.rank == rank and run.clock.steps == step:
            act()
        return stats

    Run.step = acting  # type: ignore[method-assign]
    try:
        trained(ranks, path, overrides)
    finally:
        Run.step = original  # type: ignore[method-assign]
