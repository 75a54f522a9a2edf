"""The reports of a run: log lines, pictures, health verdicts, and a summary with the final status."""

import contextlib
import copy
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
from gan_runner.records.averages import named
from gan_runner.records.console import GAP, Progress, duration
from gan_runner.records.environment import environment
from gan_runner.records.folder import RunFolder
from gan_runner.records.grid import image_grid
from gan_runner.records.identity import config_hash
from gan_runner.records.logger import Logger, Silence, verbatim
from gan_runner.records.scores import Scores, finite
from gan_runner.storage.background import Background
from gan_runner.storage.files import storing
from gan_runner.training.run import Run
from gan_runner.training.showcase import fixed_samples, scene
from gan_runner.training.stopwatch import Pace

log = logging.getLogger(__name__)

SUCCESS = {"completed": True, "diverged": False, "failed": False}  # not `interrupted`: such a run can continue
SHOWN = {  # tag -> its name in the progress line
    "loss/discriminator": "D",
    "loss/generator": "G",
    "wasserstein/estimate": "Wasserstein",
    "divergence/js_estimate": "JS",
    "divergence/tv_estimate": "TV",
}


@dataclass(frozen=True)
class Origin:
    """The data that the command passes to a run beside its configuration."""

    command: str
    advice: tuple[str, ...] = ()
    hparams: Mapping[str, float | str | bool] = field(default_factory=dict)


class Reporter:
    """Writes the reports, on the first rank only; every rank makes the same calls with the same values."""

    logger: Logger

    def __init__(self, run: Run, folder: RunFolder, config: Mapping[str, Any], origin: Origin):
        self.run, self.folder, self.config, self.origin = run, folder, config, origin
        self.ranks = run.device.ranks
        self.environment, self.config_hash = environment(run.device), config_hash(config)
        self.last: dict[str, float] = {}
        self.scores = Scores()
        self.pace = Pace()
        self.background = Background()

    @contextlib.contextmanager
    def writing(self) -> Iterator[Background]:
        """Ends all ranks with a one-sentence error if the operating system refuses a write to the first rank.

        That includes a write in the background which has failed since the last call.
        """
        with self.ranks.ending_together(), storing(self.folder.path):
            self.background.check()
            yield self.background

    def go_on_from(self, summary: Mapping[str, Any]) -> None:
        """Takes over the values and scores of the previous sessions."""
        self.last, self.scores = summary.get("last", {}), Scores(summary.get("metrics"))
        self.scores.choose(self.run.selection.best)

    def open(self, purge_from: int) -> None:
        """Opens the logs; entries of earlier sessions at or after step `purge_from` become invalid."""
        with self.writing():
            self.folder.write_config(self.config)
            self.folder.write_summary(self.summary("running"))
            self.logger = Logger(self.folder.path, purge_from) if self.ranks.first else Silence()

    def supersede(self, step: int) -> None:
        """Makes entries at or after this step invalid."""
        with self.writing():
            self.logger.supersede(step)

    def log_start(self) -> None:
        """Logs the configuration, the command, advice and real samples for TensorBoard at the start of a run."""
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
        """Prints one progress line, the most important values first: a narrow terminal shows only the beginning."""
        clock, done = self.run.clock, min(1.0, self.run.clock.progress())
        left = self.pace.left(clock.seconds, done)
        fields = [f"step {clock.steps}", f"{100 * done:.0f} %"]
        fields += [f"{duration(left)} left"] if left is not None else []
        fields += [f"{values['speed/images_per_second']:.0f} images/s"]
        fields += [f"{name} {values[tag]:.4g}" for tag, name in SHOWN.items() if tag in values]
        log.info(GAP.join(fields), extra={"progress": Progress(done, fields)})

    def judge_health(self, values: Mapping[str, float]) -> None:
        """Prints and logs the verdicts that change.

        Ignores the last line of a run if its step is not a multiple of log_every: a longer run has no such line.
        """
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
        """Logs the values of metrics, with the protocol of each."""
        with self.writing():
            self.logger.scalars(self.run.clock.steps, values, protocol=protocols)
        self.last |= values

    # ---- pictures

    def sample(self) -> None:
        self.draw_scene()
        for average in self.run.settings.half_lives:
            images, labels = fixed_samples(self.run, average)
            name = f"average-{average}-" if average else "step-"
            self.picture(named("samples/fixed", average), f"{name}{self.run.clock.steps:08d}", images, labels)

    def picture(self, tag: str, name: str, images: torch.Tensor, labels: torch.Tensor | None = None) -> None:
        """Logs a grid of images, if the data are gray or colour images."""
        spec = self.run.real.spec
        if spec.drawable:
            grid = image_grid(images, spec, labels)
            with self.writing():
                self.logger.image(tag, name, self.run.clock.steps, grid)

    def draw_scene(self) -> None:
        """Logs a picture of the points and of the discriminator, if the data have one or two coordinates."""
        if points.can_show(self.run.real.spec):
            step = self.run.clock.steps
            with self.writing():
                if self.ranks.first:
                    self.logger.image("toy/density", f"step-{step:08d}", step, points.picture(scene(self.run)))

    # ---- the end

    def conclude(self, status: str) -> None:
        """Writes the final status. If this fails after an error that ended the run, that error is raised instead."""
        try:
            with storing(self.folder.path):
                try:
                    self.background.close()
                finally:
                    self.logger.close()
                    self.folder.write_summary(self.summary(status))
                    if status in SUCCESS:
                        self.logger.conclude(SUCCESS[status])
        except NotWritten:
            if status == "completed":
                raise

    def summary(self, status: str) -> dict[str, Any]:
        """Returns the content of summary.json, which later steps do not change."""
        run, clock = self.run, self.run.clock
        return {
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
            "metrics": copy.deepcopy(self.scores.content),
            "evaluations_without_gain": run.selection.without_gain,
            "verdicts": [verdict.summary() for verdict in run.health.verdicts()],
            "environment": self.environment,
        }
