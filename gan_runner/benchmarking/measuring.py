"""Measurements: laps of a training loop, the rate of matrix products, and the operations of a step."""

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch

from gan_runner.device import DTYPES, Device
from gan_runner.nn.operations import counting
from gan_runner.training.run import Run

MATRIX = {"cpu": 2048, "cuda": 8192}  # rows and columns of the matrices that are multiplied
MATRIX_SECONDS = 1.0  # seconds of matrix products, at most, in each repeat
PLAIN = {"precision": "fp32", "compile": False, "channels_last": False, "deterministic": False, "graphs": False}
LIBRARY_CHOICES = ("fused", "foreach", "capturable")  # settings of an optimizer that tutorials do not set


class Plan(NamedTuple):
    seconds: float  # length of one lap
    repeats: int
    estimate: bool = False  # only the time of the whole run


class Lap(NamedTuple):
    """The measurements of one loop in one repeat."""

    steps: int
    images: int
    seconds: float
    processor_seconds: float  # processor time of all threads


class Counted(Protocol):
    """An object that counts the steps of a loop and the real images that it used."""

    @property
    def steps(self) -> int: ...

    @property
    def images(self) -> int: ...


def lap(device: Device, counted: Counted, advance: Callable[[], object], seconds: float) -> Lap:
    device.configure()
    steps, images = counted.steps, counted.images
    settle(device)
    began, busy = time.perf_counter(), time.process_time()
    advance()  # at least one step, even on a busy machine
    while time.perf_counter() - began < seconds:
        advance()
    settle(device)
    taken, busy = time.perf_counter() - began, time.process_time() - busy
    return Lap(counted.steps - steps, counted.images - images, taken, busy)


def settle(device: Device) -> None:
    """Waits until the GPU has finished all its work."""
    if device.torch.type == "cuda":
        torch.cuda.synchronize(device.torch)


def seconds_of_the_process() -> float | None:
    """Returns the seconds since the process started; None if the system has no /proc."""
    try:
        fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")


def matrix_rate(device: Device, seconds: float) -> float:
    """Returns operations per second of square matrix products in the precision of the run.

    The matrices are smaller if one product would take longer than `seconds`: a processor without bf16 arithmetic
    computes bf16 forty times slower than fp32.
    """
    size = MATRIX[device.torch.type]
    smallest = size // 8
    rate = products_a_second(device, smallest, 0.0) * smallest**3
    while size > smallest and size**3 / rate > seconds:
        size //= 2
    return products_a_second(device, size, seconds) * 2 * size**3


def products_a_second(device: Device, size: int, seconds: float) -> float:
    """Returns matrix products per second, measured over `seconds` and at least one product."""
    dtype = DTYPES[device.precision] or torch.float32
    one, other = (torch.randn(size, size, device=device.torch).to(dtype) for _ in range(2))
    result = torch.mm(one, other)
    products = 0
    settle(device)
    began = time.perf_counter()
    while products == 0 or time.perf_counter() - began < seconds:
        torch.mm(one, other, out=result)
        settle(device)
        products += 1
    return products / (time.perf_counter() - began)


def textbook_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the configuration with fp32, without compilation, and with torch's default optimizer implementations."""
    device = {key: PLAIN.get(key, value) for key, value in config["device"].items()}
    optimizer = {key: without_choices(value) for key, value in config["optimizer"].items()}
    return {**config, "device": device, "optimizer": optimizer}


def without_choices(node: Any) -> Any:
    if not isinstance(node, Mapping):
        return node
    return {key: value for key, value in node.items() if key not in LIBRARY_CHOICES}


def operations(run: Run) -> tuple[float, float]:
    """Returns the operations of one discriminator and one generator update, as torch executes them; updates no weight.

    The operations of a penalty are divided by its `every`.
    """
    penalties, algorithm = run.objective.penalties, run.algorithm
    all_of_them, now = dict(penalties), run.clock.moment(range(1))._replace(warm_up=True)

    def update(names: Sequence[str]) -> float:
        penalties.clear()
        penalties.update({name: all_of_them[name] for name in names})
        with counting() as counter:
            algorithm.discriminator.gradient(0, now)  # every penalty is due in update 0
        return float(counter.get_total_flops())

    without = update([])
    added = sum((update([name]) - without) / term.every for name, term in all_of_them.items())
    penalties.update(all_of_them)
    with counting() as counter:
        algorithm.generator.gradient(run.clock.steps, now)
    for player in (run.discriminator, run.generator):
        player.optimizer.zero_grad()
    return without + added, float(counter.get_total_flops())


def spread(values: Sequence[float]) -> dict[str, Any]:
    return {
        "median": statistics.median(values),
        "least": min(values),
        "most": max(values),
        "repeats": list(values),
    }


def speed(laps: Sequence[Lap]) -> dict[str, Any]:
    return {
        "images_per_second": spread([lap.images / lap.seconds for lap in laps]),
        "steps_per_second": spread([lap.steps / lap.seconds for lap in laps]),
        "laps": [lap._asdict() for lap in laps],
    }


def ratio(own: Sequence[Lap], others: Sequence[Lap]) -> dict[str, Any]:
    """Returns the ratios of images per second, own over others."""
    pairs = zip(own, others, strict=True)
    return spread([a.images / a.seconds / (b.images / b.seconds) for a, b in pairs])
