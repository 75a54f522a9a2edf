"""Benchmark of a run, in turns with its rivals: a bare loop, a textbook loop and matrix products."""

import contextlib
import logging
import signal
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gan_runner.assembly.build import build
from gan_runner.benchmarking.measuring import (
    MATRIX_SECONDS,
    Lap,
    Plan,
    lap,
    matrix_rate,
    operations,
    ratio,
    seconds_of_the_process,
    settle,
    speed,
    spread,
    textbook_config,
)
from gan_runner.benchmarking.textbook import Textbook, unfit
from gan_runner.errors import Stopped
from gan_runner.records.folder import RunFolder
from gan_runner.training.reporting import Origin
from gan_runner.training.run import Run
from gan_runner.training.session import Session

WARM = 3  # steps before the first timed step
IDLE = 0.95  # the share of a processor's time that a training gets, at least, on an idle machine
SECTIONS = {"log": "logging", "sample": "housekeeping", "save": "housekeeping", "evaluate": "housekeeping"}
CADENCES = {"log": "train.log_every", "sample": "train.sample_every", "save": "train.checkpoint_every"}


def benchmark(config: Mapping[str, Any], plan: Plan, command: str, place: Path) -> dict[str, Any]:
    """Returns the results of a benchmark. place: the folder for the temporary run folder."""
    # without the discriminator's warm-up, which would all run before the first lap
    config = {**config, "train": {**config["train"], "discriminator_warmup_steps": 0}}
    with tempfile.TemporaryDirectory(dir=place, prefix="run-") as scratch, silent():
        folder = RunFolder(Path(scratch) / "run")
        run = build(config)
        with folder.claim(config, fresh=False):
            contest = Contest(run, folder, config, Origin(command), plan)
            contest.hold()
    return contest.result()


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Suppresses the log messages of the run's progress."""
    log = logging.getLogger("gan_runner")
    before = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(before)


class Contest:
    """A session that trains in laps, in turns with its rivals, and measures the seconds of its sections."""

    def __init__(self, run: Run, folder: RunFolder, config: Mapping[str, Any], origin: Origin, plan: Plan):
        self.run, self.config, self.plan = run, config, plan
        self.session = Session(run, folder, config, origin, timed=self.section)
        self.spent: defaultdict[str, float] = defaultdict(float)  # section -> seconds in the laps
        self.laps: dict[str, list[Lap]] = {"runner": [], "bare": [], "textbook": []}
        self.matrix: list[float] = []  # operations a second

    def hold(self) -> None:
        try:
            with self.session.opened():
                self.begin()
                self.build_rivals()
                turns = [self.run_lap, self.bare_lap, self.textbook_lap, self.matrix_lap]
                for number in range(self.plan.repeats):
                    for turn in turns if number % 2 == 0 else turns[::-1]:
                        turn()
                        self.session.share_signals()
        except Stopped as error:
            name = signal.Signals(error.exit_code - 128).name
            raise Stopped(error.exit_code - 128, f"stopped by {name}; nothing is saved.") from error

    def begin(self) -> None:
        """Takes the first step as training does, then each section once, since a first call is slower.

        The rivals are built later, so that the peak memory is that of the run alone.
        """
        session = self.session
        session.advance()
        settle(self.run.device)
        self.first_step = seconds_of_the_process()
        for _ in range(WARM - 1):
            session.advance()
        for section in (session.log, session.sample, session.save):
            section()
        self.run.meter.reset()
        session.stopwatch.mark()
        self.spent.clear()
        self.peak_memory = self.run.device.peak_memory_mb()

    def build_rivals(self) -> None:
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
        self.session.stopwatch.start()
        waited = self.run.batches.waited
        self.laps["runner"].append(lap(self.run.device, self.run.clock, self.session.advance, self.plan.seconds))
        self.spent["data"] += self.run.batches.waited - waited

    def bare_lap(self) -> None:
        self.laps["bare"].append(lap(self.bare.device, self.bare.clock, self.bare.step, self.plan.seconds))

    def textbook_lap(self) -> None:
        if self.textbook is not None:
            own = self.textbook
            self.laps["textbook"].append(lap(own.device, own, own.step, self.plan.seconds))

    def matrix_lap(self) -> None:
        self.run.device.configure()
        self.matrix.append(matrix_rate(self.run.device, min(self.plan.seconds, MATRIX_SECONDS)))

    @contextlib.contextmanager
    def section(self, name: str) -> Iterator[None]:
        settle(self.run.device)
        began = time.perf_counter()
        yield
        settle(self.run.device)
        self.spent[name] += time.perf_counter() - began

    # ---- results

    def result(self) -> dict[str, Any]:
        own, batch, n_critic = self.laps["runner"], self.run.settings.batch_size, self.run.objective.n_critic
        of_discriminator, of_generator = self.operations
        reached = [(of_discriminator * lap.images / batch + of_generator * lap.steps) / lap.seconds for lap in own]
        total = sum(lap.seconds for lap in own)
        shares = {"data": self.spent["data"] / total, "logging": 0.0, "housekeeping": 0.0}
        for section, kind in SECTIONS.items():
            shares[kind] += self.spent[section] / total
        return {
            "seconds": self.plan.seconds,
            "batch_size": batch,
            "environment": self.session.reporter.environment,
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


class Bare:
    """The bare loop of a configuration and matrix products, without other rivals; writes nothing."""

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
        self.laps.append(lap(self.run.device, self.run.clock, self.run.step, seconds))
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
