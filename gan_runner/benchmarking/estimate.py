"""Estimate of the time of a run on this machine, from a few measured steps and calls of each section."""

import math
import signal
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gan_runner.assembly.build import build
from gan_runner.assembly.rehearsal import rehearse
from gan_runner.benchmarking.contest import WARM, silent
from gan_runner.benchmarking.measuring import Lap, lap, seconds_of_the_process, settle
from gan_runner.errors import Stopped
from gan_runner.records.folder import RunFolder
from gan_runner.training.reporting import Origin
from gan_runner.training.run import Run
from gan_runner.training.session import Session

SECTIONS = ("log", "sample", "save")
CALLS = 2  # of each section, of which the fastest counts: the first one is slower


@dataclass(frozen=True)
class Estimate:
    """What was measured, and what follows for the whole run. Times are seconds."""

    first_step: float  # from the start of the process to the end of the first step
    update: float  # of a discriminator update with its share of the generator's
    sections: Mapping[str, float]  # of one call
    measured: Lap
    peak_memory_mb: float
    memory_mb: float  # of the device
    steps: int | None  # of the whole run; None: only its time is set
    to_first_picture: float  # from the start of the command
    picture_step: int
    to_end: float  # from the start of the command, without evaluations
    evaluations: int


def estimate(config: Mapping[str, Any], seconds: float, place: Path) -> Estimate:
    """Trains for `seconds` in a temporary folder in `place`, and returns the times of the whole run."""
    shortened = {**config, "train": {**config["train"], "discriminator_warmup_steps": 0}}
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=place, prefix="run-") as scratch, silent():
        run = build(shortened)
        run.device.choose_threads(rehearse(run))
        folder = RunFolder(Path(scratch) / "run")
        with folder.claim(shortened, fresh=False):
            session = Session(run, folder, shortened, Origin("an estimate"))
            try:
                with session.opened():
                    session.advance()
                    settle(run.device)
                    first = seconds_of_the_process() or time.perf_counter() - began
                    for _ in range(WARM - 1):
                        session.advance()
                    measured = lap(run.device, run.clock, run.step, seconds)
                    sections = {name: seconds_of(session, name) for name in SECTIONS}
                    session.share_signals()
            except Stopped as error:
                number = error.exit_code - 128
                raise Stopped(number, f"stopped by {signal.Signals(number).name}; nothing is saved.") from error
    return concluded(run, config["train"]["discriminator_warmup_steps"], first, measured, sections)


def seconds_of(session: Session, section: str) -> float:
    """Returns the seconds of one call of a section after a step."""
    spent = []
    for _ in range(CALLS):
        session.run.meter.add(session.run.step())
        settle(session.run.device)
        began = time.perf_counter()
        getattr(session, section)()
        settle(session.run.device)
        spent.append(time.perf_counter() - began)
    return min(spent)


def concluded(run: Run, warm_up: int, first: float, measured: Lap, sections: Mapping[str, float]) -> Estimate:
    """Extrapolates to the whole run. warm_up: discriminator updates before its first step."""
    settings, updates = run.settings, run.objective.discriminator_updates
    update = measured.seconds / (measured.images / settings.batch_size)
    steps = run.clock.steps_until(settings.end)
    picture = min(first_sample(run), steps or math.inf)

    def spent(until: int) -> float:
        """Seconds from the end of the first step to that of step `until`."""
        calls = count_calls(run, until, until == steps)
        done = warm_up + updates(until) - updates(1)
        return done * update + sum(sections[name] * calls[name] for name in SECTIONS)

    limit = settings.total_seconds if settings.total_seconds is not None else math.inf
    whole = spent(steps) if steps is not None else math.inf
    return Estimate(
        first_step=first,
        update=update,
        sections=sections,
        measured=measured,
        peak_memory_mb=run.device.peak_memory_mb(),
        memory_mb=run.device.total_memory() / 2**20,
        steps=steps,
        to_first_picture=first + min(spent(int(picture)), limit),
        picture_step=int(picture),
        to_end=first + min(whole, limit),
        evaluations=count_evaluations(run, steps),
    )


def first_sample(run: Run) -> int:
    """Returns the first step with a sample grid, if the run is long enough."""
    every, images = run.settings.sample_every, run.settings.sample_every_images
    if images is None:
        return every
    step = run.objective.discriminator_updates
    return next(n for n in range(1, images + 1) if step(n) * run.settings.batch_size >= images)


def count_calls(run: Run, steps: int, at_the_end: bool) -> dict[str, int]:
    """Returns the calls of each section in the first `steps` steps; the end of a run has one of each."""
    settings = run.settings
    due = {
        "log": steps / settings.log_every,
        "sample": intervals(run, steps, settings.sample_every, settings.sample_every_images),
        "save": steps / settings.checkpoint_every,
    }
    return {name: math.ceil(calls) if at_the_end else math.floor(calls) for name, calls in due.items()}


def intervals(run: Run, steps: int, every: int, every_images: int | None) -> float:
    """Returns how often an interval passes in the first `steps` steps."""
    if every_images is None:
        return steps / every if every else 0.0
    return run.objective.discriminator_updates(steps) * run.settings.batch_size / every_images


def count_evaluations(run: Run, steps: int | None) -> int:
    """Returns the evaluations of the whole run, those at its end included; 0 if it has no metric."""
    if run.evaluator is None:
        return 0
    every, images = run.settings.evaluate_every, run.settings.evaluate_every_images
    return 2 + math.floor(intervals(run, steps or 0, every, images))  # at the end one on each split
