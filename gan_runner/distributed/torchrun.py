"""Ranks over torch.distributed: gloo between hosts and CPUs, NCCL between GPUs."""

import contextlib
import io
import os
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from gan_runner.distributed.ranks import Ranks
from gan_runner.errors import ConfigError, EndedElsewhere, RankLost

T = TypeVar("T")
PATIENCE = timedelta(hours=2)  # timeout for a rank that is alive: the first rank of a machine may be packing images
EXIT_TIMEOUT = 10.0  # seconds, at most, that ranks wait for one another at the end


def has_joined() -> bool:
    return dist.is_initialized()


def join() -> None:
    """Joins the process group that torchrun's environment describes, and uses a share of the machine's cores."""
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
    try:
        place, rank, count = next(rendezvous("env://"))
        # torchrun may keep the store, with the addresses of ended ranks, when it restarts the ranks
        place = PrefixStore(f"start {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", place)
        dist.init_process_group(backend, store=place, rank=rank, world_size=count, timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        reason = str(error).split("\n")[0].rstrip(".")
        raise ConfigError(f"the ranks do not find one another ({reason}); start them with torchrun.") from error
    torch.set_num_threads(threads())


def part() -> None:
    """Waits for the other ranks, up to EXIT_TIMEOUT: torchrun kills ranks that still write when one has left."""
    with contextlib.suppress(RuntimeError):  # if the store is gone, there is no rank to wait for
        place, deadline = store(), time.monotonic() + EXIT_TIMEOUT
        place.add("left", 1)
        while place.add("left", 0) < dist.get_world_size() and time.monotonic() < deadline:
            time.sleep(0.01)
        dist.destroy_process_group()


def store() -> Any:
    """Returns the key-value store that all ranks share."""
    return dist.distributed_c10d._get_default_store()


def threads() -> int:
    """Returns OMP_NUM_THREADS if the user set it (torchrun itself sets it to 1), else the rank's share of the cores."""
    number = os.environ.get("OMP_NUM_THREADS", "")
    if number.isdigit() and (number != "1" or "OMP_NUM_THREADS" in environment_of(os.getppid())):
        return int(number)
    from joblib import cpu_count  # respects CPU affinity and the quotas of cgroups

    return max(1, int(cpu_count()) // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))


def environment_of(process: int) -> set[str]:
    """Returns the names of a process's environment variables; an empty set if the system does not show them."""
    with contextlib.suppress(OSError):
        content = Path(f"/proc/{process}/environ").read_bytes().decode(errors="replace")
        return {line.split("=", 1)[0] for line in content.split("\0")}
    return set()


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Converts the failure of a collective call into RankLost: another rank is gone."""
    try:
        yield
    except RuntimeError as error:
        raise RankLost from error


def summed(x: Tensor) -> Tensor:
    """Returns the sum of x over the ranks, in new memory."""
    total = x.clone(memory_format=torch.contiguous_format)
    with together():
        dist.all_reduce(total)
    return total


class PendingMaximum:
    """An asynchronous maximum of each number over all ranks, between the hosts."""

    def __init__(self, numbers: Sequence[float]):
        self.numbers = torch.tensor(numbers, dtype=torch.float64)
        with together():
            self.work = dist.all_reduce(self.numbers, dist.ReduceOp.MAX, async_op=True)

    def result(self) -> tuple[float, ...]:
        with together():
            self.work.wait()
        return tuple(self.numbers.tolist())


def alike(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    """Groups tensors by dtype and device, in their order."""
    groups: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    return list(groups.values())


class Torchrun(Ranks):
    """The ranks that this process has joined. All must make the same calls in the same order, with equal sizes."""

    def __init__(self) -> None:
        self.rank, self.count = dist.get_rank(), dist.get_world_size()
        self.local = int(os.environ.get("LOCAL_RANK", 0))
        self.buffers: dict[tuple[int, torch.dtype, torch.device], Tensor] = {}
        self.pending: PendingMaximum | None = None

    def combine(self, gradients: Sequence[Tensor], stats: dict[str, Tensor]) -> dict[str, Tensor]:
        values = [torch.stack([value.float() for value in stats.values()]) / self.count] if stats else []
        for tensors in alike([*gradients, *values]):
            self.add_up(tensors)
        return dict(zip(stats, values[0].unbind(), strict=True)) if stats else {}

    @torch.no_grad()
    def add_up(self, tensors: list[Tensor]) -> None:
        """Replaces tensors of one dtype and device by their sums over the ranks, with one buffer and one all-reduce."""
        sizes = [tensor.numel() for tensor in tensors]
        flat = self.buffer(sum(sizes), tensors[0])
        torch.cat([tensor.reshape(-1) for tensor in tensors], out=flat)
        with together():
            dist.all_reduce(flat)
        torch._foreach_copy_(tensors, [part.view(t.shape) for part, t in zip(flat.split(sizes), tensors, strict=True)])

    def buffer(self, size: int, like: Tensor) -> Tensor:
        """Returns a buffer that is kept between updates, since allocating it takes as long as filling it."""
        key = (size, like.dtype, like.device)
        if key not in self.buffers:
            self.buffers[key] = like.new_empty(size)
        return self.buffers[key]

    def highest(self, *numbers: float) -> tuple[float, ...]:
        return PendingMaximum(numbers).result()

    def highest_delayed(self, *numbers: float) -> tuple[float, ...]:
        before, self.pending = self.pending, PendingMaximum(numbers)
        return (before or self.pending).result()

    def broadcast(self, give: Callable[[], T], take: Callable[[T], object]) -> None:
        if self.first:
            content = io.BytesIO()
            torch.save(give(), content)
            self.send(torch.frombuffer(content.getbuffer(), dtype=torch.uint8))
        else:
            content = io.BytesIO(self.send(None).numpy().tobytes())
            take(torch.load(content, map_location="cpu", weights_only=True))

    def send(self, content: Tensor | None) -> Tensor:
        """Sends (bytes,) uint8 from the first rank to all; returns it."""
        (size,) = self.highest(0 if content is None else len(content))
        content = torch.empty(int(size), dtype=torch.uint8) if content is None else content
        with together():
            dist.broadcast(content, 0)
        return content

    @contextlib.contextmanager
    def ending_together(self) -> Iterator[None]:
        failed: Exception | None = None
        try:
            yield
        except RankLost:
            raise
        except Exception as error:  # noqa: BLE001 (raised again below)
            failed = error
        (code,) = self.highest(getattr(failed, "exit_code", 1) if failed else 0)
        if failed is not None:
            raise failed
        if code:
            raise EndedElsewhere(int(code))

    def in_turn(self, act: Callable[[], T]) -> T:
        done: list[T] = []
        for turn in (True, False):
            with self.ending_together():
                if (self.local == 0) is turn:
                    done.append(act())
        return done[0]

    def is_first_to_report(self, sentence: str) -> bool:
        with contextlib.suppress(RuntimeError):
            return bool(store().add(f"reported {sentence}", 1) == 1)
        return True
