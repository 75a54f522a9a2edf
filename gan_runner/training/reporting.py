"""What a run leaves for people: log lines, pictures, verdicts, and a summary that says how it ended."""

import contextlib
import logging
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import yaml

from gan_runner.errors import NotWritten
from gan_runner.records import points
from gan_runner.records.console import GAP, Progress, duration
from gan_runner.records.environment import environment
from gan_runner.records.folder import RunFolder
from gan_runner.records.grid import image_grid
from gan_runner.records.identity import config_hash
from gan_runner.records.logger import Logger, Silence, verbatim
from gan_runner.records.scores import Scores, finite
from gan_runner.storage.files import storing
from gan_runner.training.run import Run
from gan_runner.training.showcase import fixed_samples, scene
from gan_runner.training.stopwatch import Pace

log = logging.getLogger(__name__)

SUCCESS = {"completed": True, "diverged": False, "failed": False}  # an interrupted run goes on
SHOWN = {  # tag -> its name in the line of progress
    "loss/discriminator": "D",
    "loss/generator": "G",
    "wasserstein/estimate": "Wasserstein",
    "divergence/js_estimate": "JS",
    "divergence/tv_estimate": "TV",
}


@dataclass(frozen=True)
class Origin:
    """What the command knows of a run beside its configuration."""

    command: str
    advice: tuple[str, ...] = ()
    hparams: Mapping[str, float | str | bool] = field(default_factory=dict)


class Reporter:
    """Writes on the first rank alone; every rank comes to the same places with the same numbers."""

    logger: Logger

    def __init__(self, run: Run, folder: RunFolder, config: Mapping[str, Any], origin: Origin):
        self.run, self.folder, self.config, self.origin = run, folder, config, origin
        self.ranks = run.device.ranks
        self.environment, self.config_hash = environment(run.device), config_hash(config)
        self.last: dict[str, float] = {}
        self.scores = Scores()
        self.pace = Pace()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """What the system refuses to the rank that writes ends all ranks, in one sentence."""
        with self.ranks.ending_together(), storing(self.folder.path):
            yield

    def go_on_from(self, summary: Mapping[str, Any]) -> None:
        """With the values and scores of the sessions before."""
        self.last, self.scores = summary.get("last", {}), Scores(summary.get("metrics"))
        self.scores.choose(self.run.selection.best)

    def open(self, purge_from: int) -> None:
        """purge_from: what was logged at or after this step is superseded."""
        with self.writing():
            self.folder.write_config(self.config)
            self.summarize("running")
            self.logger = Logger(self.folder.path, purge_from) if self.ranks.first else Silence()

    def introduce(self) -> None:
        """What TensorBoard shows of a run from its first moment on."""
        evaluator, real = self.run.evaluator, self.run.real
        with self.writing():
            self.text("config", verbatim(yaml.safe_dump(dict(self.config), sort_keys=False)))
            self.text("command", verbatim(self.origin.command))
            if self.origin.advice:
                self.text("advice", "\n\n".join(self.origin.advice))
            self.logger.describe(self.origin.hparams, list(evaluator.better) if evaluator is not None else [])
        self.picture("samples/real", "real", real.decode(real.images[: self.run.settings.grid]))
        self.draw_scene()

    def text(self, tag: str, content: str) -> None:
        self.logger.text(tag, content, self.run.clock.steps)

    # ---- log lines

    def log(self, values: Mapping[str, float]) -> None:
        with self.writing():
            self.logger.scalars(self.run.clock.steps, values)
        self.last |= values
        self.show_progress(values)
        self.judge_health(values)

    def show_progress(self, values: Mapping[str, float]) -> None:
        """One line, the most important first, since a narrow terminal shows only the beginning."""
        clock, done = self.run.clock, min(1.0, self.run.clock.progress())
        left = self.pace.left(clock.seconds, done)
        fields = [f"step {clock.steps}", f"{100 * done:.0f} %"]
        fields += [f"{duration(left)} left"] if left is not None else []
        fields += [f"{values['speed/images_per_second']:.0f} images/s"]
        fields += [f"{name} {values[tag]:.4g}" for tag, name in SHOWN.items() if tag in values]
        log.info(GAP.join(fields), extra={"progress": Progress(done, fields), "run": self.folder.path.name})

    def judge_health(self, values: Mapping[str, float]) -> None:
        """Verdicts that change. A line at an end off the cadence counts for none: a longer run has no such line."""
        step = self.run.clock.steps
        if step % self.run.settings.log_every:
            return
        progress = self.run.clock.progress()
        length = [step / progress] if progress > 0 else []
        for verdict in self.run.health.judge(step, values, *length):
            level = logging.WARNING if verdict.alarm and not verdict.over else logging.INFO
            log.log(level, "step %d  %s", step, verdict)
            with self.writing():
                self.text("verdict", str(verdict))

    def score(self, values: Mapping[str, float], protocols: Mapping[str, Any]) -> None:
        """Values of metrics, with the protocol of each."""
        with self.writing():
            self.logger.scalars(self.run.clock.steps, values, protocol=protocols)
        self.last |= values

    # ---- pictures

    def sample(self) -> None:
        self.draw_scene()
        images, labels = fixed_samples(self.run)
        self.picture("samples/fixed", f"step-{self.run.clock.steps:08d}", images, labels)

    def picture(self, tag: str, name: str, images: torch.Tensor, labels: torch.Tensor | None = None) -> None:
        """A grid, where the data are pictures at all."""
        spec = self.run.real.spec
        if spec.value_range is not None and spec.channels in (1, 3):
            grid = image_grid(images, spec, labels)
            with self.writing():
                self.logger.image(tag, name, self.run.clock.steps, grid)

    def draw_scene(self) -> None:
        """Of points on the line or in the plane: where they are, and the discriminator beside them."""
        if points.can_show(self.run.real.spec):
            step = self.run.clock.steps
            with self.writing():
                if self.ranks.first:
                    self.logger.image("toy/density", f"step-{step:08d}", step, points.picture(scene(self.run)))

    # ---- the end

    def conclude(self, status: str) -> None:
        """How it ended. Where even that cannot be written, the error that ended the run is raised instead."""
        try:
            with storing(self.folder.path):
                self.logger.close()
                self.summarize(status)
                if status in SUCCESS:
                    self.logger.conclude(SUCCESS[status])
        except NotWritten:
            if status == "completed":
                raise

    def summarize(self, status: str) -> None:
        run, clock = self.run, self.run.clock
        self.folder.write_summary(
            {
                "status": status,
                "process": f"{os.getpid()} on {socket.gethostname()}",
                "steps": clock.steps,
                "rollbacks": clock.rollbacks,
                "images": clock.images,
                "seconds": round(clock.seconds, 3),
                "images_per_second": round(clock.images / clock.seconds, 1) if clock.seconds else None,
                "peak_memory_mb": round(run.device.peak_memory_mb(), 1),
                "seed": run.seed,
                "config_hash": self.config_hash,
                "command": self.origin.command,
                "last": finite(self.last),
                "metrics": self.scores.content,
                "evaluations_without_gain": run.selection.without_gain,
                "verdicts": [verdict.summary() for verdict in run.health.verdicts()],
                "environment": self.environment,
            }
        )
