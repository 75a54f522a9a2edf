"""The door to speed: python -m gan_runner.benchmark [overrides] [--seconds 5] [--repeats 5].

It trains the composed configuration for so many seconds, so many times, in a folder that is removed afterwards, and in
turns with it a bare loop over the same step, a textbook loop of the same networks and loss, and matrix products in the
same precision. The numbers go to outputs/.benchmarks/NAME.json. Ratios are taken within one repeat, whose order is
turned round in every other one, so that a drift of the machine cancels.
"""

import argparse
import contextlib
import json
import logging
import os
import shlex
import signal
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import hydra
import torch
from omegaconf import DictConfig, OmegaConf

from gan_runner.assembly.build import build, check_structure
from gan_runner.benchmarking.textbook import Textbook, unfit
from gan_runner.device import DTYPES, Device
from gan_runner.errors import ConfigError, Stopped
from gan_runner.main import CONF, OUTPUTS, enter_alone, resolve, run_name, tell, through_hydra
from gan_runner.networks import counting
from gan_runner.records.folder import RunFolder
from gan_runner.schedule import Progress
from gan_runner.storage.files import storing, write_atomically
from gan_runner.training.run import Run
from gan_runner.training.session import Origin, Session

BENCHMARKS = OUTPUTS / ".benchmarks"
WARM = 3  # steps before the first that is timed
MATRIX = {"cpu": 2048, "cuda": 8192}  # rows and columns of the matrices that are multiplied
MATRIX_SECONDS = 1.0  # at most, in each repeat
IDLE = 0.95  # of a processor's time, which a training on an idle machine has at least
PLAIN = {"precision": "fp32", "compile": False, "channels_last": False, "deterministic": False, "graphs": False}
LIBRARY_CHOICES = ("fused", "foreach", "capturable")  # settings of an optimizer that tutorials leave alone
SECTIONS = {"log": "logging", "sample": "housekeeping", "save": "housekeeping", "evaluate": "housekeeping"}
CADENCES = {"log": "train.log_every", "sample": "train.sample_every", "save": "train.checkpoint_every"}
COLUMNS = ("run", "computed in", "images/s", "steps/s", "times its bare loop", "times the textbook", "of matrix rate")


class Asked(NamedTuple):
    seconds: float
    repeats: int


class Lap(NamedTuple):
    """One contestant's part of one repeat."""

    steps: int
    images: int
    seconds: float
    processor_seconds: float  # of all threads


def main() -> None:
    typed = sys.argv[1:]
    try:
        asked, sys.argv[1:] = parse(typed)
    except ConfigError as error:
        tell(error, traceback_wanted=False)

    @hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
    def job(cfg: DictConfig) -> None:
        with through_hydra():
            carry_out(cfg, asked, shlex.join(["python", "-m", "gan_runner.benchmark", *typed]))

    enter_alone(job)


def carry_out(cfg: DictConfig, asked: Asked, command: str) -> None:
    config = resolve(cfg)
    check_structure(config)
    name = run_name(cfg, config)
    with storing(BENCHMARKS):
        BENCHMARKS.mkdir(parents=True, exist_ok=True)
    result = {"name": name, "command": command, **benchmark(config, asked, command)}
    file = BENCHMARKS / f"{name}.json"
    with storing(BENCHMARKS):
        write_atomically(file, lambda opened: opened.write(f"{json.dumps(result, indent=2)}\n".encode()))
    print("\n".join([*report(result), "", *markdown(result), "", f"saved in {file}"]))


def parse(arguments: Sequence[str]) -> tuple[Asked, list[str]]:
    """Our own settings, which are no part of the run's, and what is left for Hydra."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--repeats", type=int, default=5)
    try:
        options, rest = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise ConfigError(f"{error.argument_name}: {error.message}; it should be a number, as --seconds 5.") from error
    if not (0 < options.seconds < float("inf") and options.repeats >= 1):
        raise ConfigError(f"--seconds {options.seconds} and --repeats {options.repeats} should be above 0.")
    return Asked(options.seconds, options.repeats), rest


# ---- what is measured


def benchmark(config: Mapping[str, Any], asked: Asked, command: str) -> dict[str, Any]:
    # no lap would begin before the end of a warm-up
    config = {**config, "train": {**config["train"], "discriminator_warmup_steps": 0}}
    with tempfile.TemporaryDirectory(dir=BENCHMARKS, prefix="run-") as scratch, silent():
        folder = RunFolder(Path(scratch) / "run")
        run = build(config)
        with folder.claim(config, fresh=False):
            contest = Contest(run, folder, config, Origin(command), asked)
            contest.train()
    return contest.result()


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """The run does not tell of its progress."""
    log = logging.getLogger("gan_runner")
    before = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(before)


class Contest(Session):
    """A session that trains in laps, in turns with its rivals, and counts the seconds that its sections take."""

    def __init__(self, run: Run, folder: RunFolder, config: Mapping[str, Any], origin: Origin, asked: Asked):
        super().__init__(run, folder, config, origin)
        self.asked = asked
        self.spent: defaultdict[str, float] = defaultdict(float)  # seconds in the laps, by section
        self.laps: dict[str, list[Lap]] = {"runner": [], "bare": [], "textbook": []}
        self.matrix: list[float] = []  # operations a second

    def loop(self) -> None:
        self.begin()
        self.prepare_rivals()
        turns = [self.run_lap, self.bare_lap, self.textbook_lap, self.matrix_lap]
        for number in range(self.asked.repeats):
            for turn in turns if number % 2 == 0 else turns[::-1]:
                turn()
                self.attend()

    def begin(self) -> None:
        """The first step as in training, then what is slower the first time. Nothing else is in memory yet."""
        self.start()
        self.advance()
        settle(self.run.device)
        self.first_step = seconds_of_the_process()
        for _ in range(WARM - 1):
            self.advance()
        for section in (self.log, self.sample, self.save):
            section()
        self.run.meter.reset()
        self.mark()
        self.spent.clear()
        self.peak_memory = self.run.device.peak_memory_mb()

    def prepare_rivals(self) -> None:
        self.bare, plain = build(self.config), build(textbook_config(self.config))
        self.operations = operations(plain)
        self.reason = unfit(plain)
        self.textbook = Textbook(plain) if self.reason is None else None
        for rival in (self.bare, self.textbook):
            if rival is not None:
                rival.device.configure()
                for _ in range(WARM):
                    rival.step()
        self.matrix_lap()
        self.matrix.clear()

    def run_lap(self) -> None:
        self.started = time.perf_counter() - self.run.seconds
        self.mark()
        self.laps["runner"].append(lap(self.run, self.advance, self.asked.seconds))
        self.mark()

    def bare_lap(self) -> None:
        self.laps["bare"].append(lap(self.bare, self.bare.step, self.asked.seconds))

    def textbook_lap(self) -> None:
        if self.textbook is not None:
            self.laps["textbook"].append(lap(self.textbook, self.textbook.step, self.asked.seconds))

    def matrix_lap(self) -> None:
        self.run.device.configure()
        self.matrix.append(matrix_rate(self.run.device, min(self.asked.seconds, MATRIX_SECONDS)))

    # ---- the sections of the runner's laps

    def log(self) -> None:
        with self.section("log"):
            super().log()

    def sample(self) -> None:
        with self.section("sample"):
            super().sample()

    def evaluate(self) -> None:
        with self.section("evaluate"):
            super().evaluate()

    def save(self) -> None:
        with self.section("save"):
            super().save()

    def mark(self) -> None:
        self.spent["data"] += self.run.waited
        super().mark()

    @contextlib.contextmanager
    def section(self, name: str) -> Iterator[None]:
        settle(self.run.device)
        began = time.perf_counter()
        yield
        settle(self.run.device)
        self.spent[name] += time.perf_counter() - began

    def stop(self, signum: int) -> None:
        raise Stopped(signum, f"stopped by {signal.Signals(signum).name}; nothing is saved.")

    # ---- what came out

    def result(self) -> dict[str, Any]:
        own, batch, n_critic = self.laps["runner"], self.settings.batch_size, self.run.objective.n_critic
        of_discriminator, of_generator = self.operations
        reached = [(of_discriminator * lap.images / batch + of_generator * lap.steps) / lap.seconds for lap in own]
        total = sum(lap.seconds for lap in own)
        shares = {"data": self.spent["data"] / total, "logging": 0.0, "housekeeping": 0.0}
        for section, kind in SECTIONS.items():
            shares[kind] += self.spent[section] / total
        return {
            "seconds": self.asked.seconds,
            "batch_size": batch,
            "environment": self.environment,
            "seconds_to_first_step": self.first_step,
            "peak_memory_mb": self.peak_memory,
            "shares_of_time": shares,
            "operations_per_image": of_discriminator / batch + of_generator / (n_critic * batch),
            "operations_per_second": spread(reached),
            "matrix_operations_per_second": spread(self.matrix),
            "share_of_matrix_rate": spread([r / m for r, m in zip(reached, self.matrix, strict=True)]),
            **{name: speed(laps) for name, laps in self.laps.items() if laps},
            **{f"beside_{name}": ratio(own, self.laps[name]) for name in ("bare", "textbook") if self.laps[name]},
            "notes": list(self.notes()),
        }

    def notes(self) -> Iterator[str]:
        if self.reason is not None:
            yield self.reason
        laps = self.laps["runner"]
        share = sum(lap.processor_seconds for lap in laps) / sum(lap.seconds for lap in laps)
        if self.run.device.torch.type == "cpu" and share < IDLE:
            yield f"other work had the processor too: this process was given {share:.0%} of one."
        steps = sum(lap.steps for lap in laps)
        for section, setting in CADENCES.items():
            if not self.spent[section]:
                yield f"{setting} was not reached within {steps} steps, so no time of it is counted."


def lap(counted: Run | Textbook, advance: Callable[[], object], seconds: float) -> Lap:
    counted.device.configure()
    steps, images = counted.steps, counted.images
    settle(counted.device)
    began, busy = time.perf_counter(), time.process_time()
    advance()  # however busy the machine is
    while time.perf_counter() - began < seconds:
        advance()
    settle(counted.device)
    taken, busy = time.perf_counter() - began, time.process_time() - busy
    return Lap(counted.steps - steps, counted.images - images, taken, busy)


def composed(overrides: Sequence[str]) -> dict[str, Any]:
    """The configuration that these overrides compose."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = OmegaConf.to_container(hydra.compose("config", list(overrides)), resolve=True)
    assert isinstance(config, dict)
    return {str(key): value for key, value in config.items()}


class Bare:
    """The bare loop of a configuration and matrix products, without rivals; nothing is written."""

    def __init__(self, config: Mapping[str, Any]):
        self.run, began = build(config), time.perf_counter()
        for _ in range(WARM):
            self.run.step()
        settle(self.run.device)
        self.first_steps = time.perf_counter() - began
        self.peak_memory = self.run.device.peak_memory_mb()
        self.of_discriminator, self.of_generator = operations(build(textbook_config(config)))
        self.laps: list[Lap] = []
        self.matrix: list[float] = []
        self.run.device.configure()
        matrix_rate(self.run.device, MATRIX_SECONDS / 10)

    def take_turn(self, seconds: float) -> None:
        self.laps.append(lap(self.run, self.run.step, seconds))
        self.matrix.append(matrix_rate(self.run.device, min(seconds, MATRIX_SECONDS)))

    def result(self) -> dict[str, Any]:
        batch, laps = self.run.settings.batch_size, self.laps
        forms = [self.of_discriminator * lap.images / batch + self.of_generator * lap.steps for lap in laps]
        reached = [operations / lap.seconds for operations, lap in zip(forms, laps, strict=True)]
        return {
            **speed(laps),
            "operations_per_image": sum(forms) / sum(lap.images for lap in laps),
            "operations_per_second": spread(reached),
            "matrix_operations_per_second": spread(self.matrix),
            "share_of_matrix_rate": spread([r / m for r, m in zip(reached, self.matrix, strict=True)]),
            "peak_memory_mb": self.peak_memory,
            "seconds_of_the_first_steps": self.first_steps,
            "graphs": len(self.run.graphs.updates),
        }


def settle(device: Device) -> None:
    """Waits for what the GPU still computes."""
    if device.torch.type == "cuda":
        torch.cuda.synchronize(device.torch)


def seconds_of_the_process() -> float | None:
    """Since the command was given; None where the system does not tell."""
    try:
        fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")


def matrix_rate(device: Device, seconds: float) -> float:
    """Operations a second of square matrix products in the precision of the run."""
    size, dtype = MATRIX[device.torch.type], DTYPES[device.precision] or torch.float32
    one, other = (torch.randn(size, size, device=device.torch).to(dtype) for _ in range(2))
    result = torch.mm(one, other)
    products = 0
    settle(device)
    began = time.perf_counter()
    while products == 0 or time.perf_counter() - began < seconds:
        torch.mm(one, other, out=result)
        settle(device)
        products += 1
    return products * 2 * size**3 / (time.perf_counter() - began)


def textbook_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """fp32, nothing compiled, and of the optimizers no implementation chosen."""
    device = {key: PLAIN.get(key, value) for key, value in config["device"].items()}
    optimizer = {key: without_choices(value) for key, value in config["optimizer"].items()}
    return {**config, "device": device, "optimizer": optimizer}


def without_choices(node: Any) -> Any:
    if not isinstance(node, Mapping):
        return node
    return {key: value for key, value in node.items() if key not in LIBRARY_CHOICES}


def operations(run: Run) -> tuple[float, float]:
    """Of one discriminator update and one generator update, as torch executes them. No weight moves."""
    penalties, progress = run.objective.penalties, Progress(run.steps, run.length)

    def update(names: Sequence[str]) -> float:
        run.objective.penalties = {name: penalties[name] for name in names}
        with counting() as counter:
            run.prepare_discriminator(0, progress)  # every penalty is due in update 0
        return float(counter.get_total_flops())

    without = update([])
    added = sum((update([name]) - without) / term.every for name, term in penalties.items())
    run.objective.penalties = penalties
    with counting() as counter:
        run.prepare_generator(progress)
    for player in (run.discriminator, run.generator):
        player.optimizer.zero_grad()
    return without + added, float(counter.get_total_flops())


# ---- how it is told


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
    """How many times as fast, in images a second."""
    pairs = zip(own, others, strict=True)
    return spread([a.images / a.seconds / (b.images / b.seconds) for a, b in pairs])


def report(result: Mapping[str, Any]) -> Iterator[str]:
    """For people: medians, and in brackets the least and the most."""
    yield f"{result['name']}: {result['environment']['device']}, {arithmetic(result)}"
    for name, words in (("runner", "this runner"), ("bare", "its bare loop"), ("textbook", "textbook loop, fp32")):
        if name in result:
            images, steps = result[name]["images_per_second"], result[name]["steps_per_second"]
            yield f"{words:<22}{told(images, ',.0f')} images/s, {told(steps, ',.2f')} steps/s"
    for name, words in (("bare", "beside the bare loop"), ("textbook", "beside the textbook")):
        if f"beside_{name}" in result:
            yield f"{words:<22}{told(result[f'beside_{name}'], '.3f')} times as fast"
    shares = ", ".join(f"{name} {share:.2%}" for name, share in result["shares_of_time"].items())
    yield f"{'share of time':<22}{shares}"
    yield f"{'operations an image':<22}{result['operations_per_image']:,.0f}"
    for name, words in (("operations_per_second", "operations reached"), ("matrix_operations_per_second", "matrices")):
        giga = {key: value / 1e9 for key, value in result[name].items() if key != "repeats"}
        yield f"{words:<22}{told(giga, ',.1f')} billion a second"
    yield f"{'share of that rate':<22}{told(result['share_of_matrix_rate'], '.1%')}"
    first = result["seconds_to_first_step"]
    yield f"{'first step after':<22}{'unknown here' if first is None else f'{first:.1f} s'}"
    yield f"{'peak memory':<22}{result['peak_memory_mb']:,.0f} MB"
    yield from result["notes"]


def arithmetic(result: Mapping[str, Any]) -> str:
    precision, threads = (result["environment"][key] for key in ("precision", "threads"))
    return f"{precision}, {threads} thread{'s' * (threads > 1)}"


def told(values: Mapping[str, Any], form: str) -> str:
    return f"{values['median']:{form}} ({values['least']:{form}} to {values['most']:{form}})"


def markdown(result: Mapping[str, Any]) -> Iterator[str]:
    """The row of a table, below its head."""
    own = result["runner"]
    row = (
        f"`{result['name']}`",
        arithmetic(result),
        told(own["images_per_second"], ",.0f"),
        told(own["steps_per_second"], ".2f"),
        told(result["beside_bare"], ".3f"),
        told(result["beside_textbook"], ".2f") if "beside_textbook" in result else "-",
        told(result["share_of_matrix_rate"], ".0%"),
    )
    for cells in (COLUMNS, ("---",) * len(COLUMNS), row):
        yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
