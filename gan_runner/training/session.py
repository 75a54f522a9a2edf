"""One process's share of a run: resume, loop, log, sample, checkpoint, and a summary that says how it ended."""

import contextlib
import logging
import math
import os
import signal
import socket
import textwrap
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml

from gan_runner.errors import ConfigError, Diverged, NotWritten, Stopped
from gan_runner.evaluation.evaluator import OF_ONE_SPLIT, REPORT, SELECTION, Evaluation, Selection, finite
from gan_runner.records import checkpoint
from gan_runner.records import points as plot
from gan_runner.records.checkpoint import Checkpoint
from gan_runner.records.console import duration
from gan_runner.records.environment import environment
from gan_runner.records.folder import RunFolder, config_hash, differences
from gan_runner.records.logger import Logger, Silence, image_grid, tiled
from gan_runner.storage.files import storing
from gan_runner.training.interrupt import Interrupt
from gan_runner.training.run import Run

log = logging.getLogger(__name__)

MOST_ROLLBACKS = 3
WIDTH = 118  # characters of a line that lists metrics
SUCCESS = {"completed": True, "diverged": False, "failed": False}  # an interrupted run goes on
COMPARED = ("device", "precision", "threads", "ranks", "python", "torch", "gan_runner")
SHOWN = {  # tag -> its name in the line of progress
    "loss/discriminator": "D",
    "loss/generator": "G",
    "wasserstein/estimate": "Wasserstein",
    "divergence/js_estimate": "JS",
    "divergence/tv_estimate": "TV",
}


@dataclass(frozen=True)
class Origin:
    """What the door knows of a run beside its configuration."""

    command: str
    advice: tuple[str, ...] = ()
    hparams: Mapping[str, float | str | bool] = field(default_factory=dict)


class Session:
    """Trains a run in a folder that this process holds, or that the first rank holds for all.

    Every rank comes to the same places with the same numbers; what it hands to its folder and its logger is written by
    the first rank alone.
    """

    def __init__(self, run: Run, folder: RunFolder, config: Mapping[str, Any], origin: Origin):
        self.run, self.folder, self.settings, self.ranks = run, folder, run.settings, run.device.ranks
        self.config, self.origin = config, origin
        self.environment = environment(run.device)
        self.last: dict[str, float] = {}
        self.judged: dict[str, Any] = {}  # what metrics say of the last and the best networks, and their protocol
        self.saved: int | None = None  # the step of the newest checkpoint

    def train(self) -> dict[str, Any]:
        """To the end of the run, from the newest checkpoint of the folder if it has one. Returns the summary."""
        self.resume()
        step = self.run.steps
        # a step off the cadence was logged only because an earlier session ended there: it is superseded too
        self.purge_from = step + 1 if step and step % self.settings.log_every == 0 else step
        with self.writing():
            self.folder.write_config(self.config)
            self.summarize("running")
            self.logger = Logger(self.folder.path, self.purge_from) if self.ranks.first else Silence()
        status = "failed"
        with Interrupt() as self.interrupt:
            try:
                self.loop()
                status = "completed"
            except Diverged:
                status = "diverged"
                raise
            except (Stopped, KeyboardInterrupt):
                status = "interrupted"
                raise
            finally:
                self.conclude(status)
                self.interrupt.follow()
        return self.folder.read_summary()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """What the system refuses to the rank that writes ends all ranks, in one sentence."""
        with self.ranks.united(), storing(self.folder.path):
            yield

    # ---- before

    def resume(self) -> None:
        summary = self.folder.read_summary()
        if not self.load():
            return
        self.run.check_length()
        if summary.get("status") == "running":
            log.warning("the process before ended without a word (killed?); what it did after its checkpoint is redone")
        log.info("going on from step %d", self.run.steps)
        self.last, self.judged = summary.get("last", {}), summary.get("metrics", {})
        self.tell_best()
        before = {key: summary.get("environment", {}).get(key) for key in COMPARED}
        changed = [
            f"{key} {was} -> {self.environment[key]}" for key, was in before.items() if was != self.environment[key]
        ]
        if changed and self.ranks.first:
            log.warning("resumed under another environment, so not bit for bit: %s", "; ".join(changed))

    def load(self) -> bool:
        """The newest checkpoint, which the first rank reads for all. False where there is none to go on from."""
        with self.ranks.united():
            found = self.ranks.first and checkpoint.load_latest(self.folder.checkpoints, self.restore)
            if found:
                checkpoint.set_aside_after(self.folder.checkpoints, self.run.steps)
                self.match_best()
        self.hand_on()
        (any_found,) = self.ranks.highest(found)
        self.saved = self.run.steps if any_found else None
        return bool(any_found)

    def match_best(self) -> None:
        """best.pt is what this state knows as the best: a process may have ended between the two."""
        selection, folder = self.run.selection, self.folder.checkpoints
        if selection.step == self.run.steps:
            checkpoint.keep_as_best(folder, self.run.steps)
        elif selection.step is not None and checkpoint.best_step(folder) != selection.step:
            log.warning("%s is not that of step %d; the best is chosen anew", folder / checkpoint.BEST, selection.step)
            self.run.selection = Selection()

    def take(self, path: Path) -> None:
        """The state of one checkpoint."""
        with self.ranks.united():
            if self.ranks.first:
                self.run.load_state(checkpoint.load(path).state)
        self.hand_on()

    def hand_on(self) -> None:
        """The first rank's state to the others."""
        with self.ranks.united():
            self.ranks.hand_on(self.run.state, self.run.load_state)

    def restore(self, found: Checkpoint) -> None:
        changed = differences(found.config, self.config)
        if changed:
            raise ConfigError(
                f"{found.path} was made by another configuration: {'; '.join(changed)}. Give this run a name of its "
                f"own with name=..., or start it over with train.fresh=true."
            )
        self.run.load_state(found.state)

    def start(self) -> None:
        self.started = time.perf_counter() - self.run.seconds
        self.mark()
        for sentence in self.origin.advice:
            log.warning("advice: %s", sentence)
        if self.run.steps == self.purge_from > 0 and self.run.steps % self.settings.sample_every == 0:
            self.sample()  # its picture was superseded together with the numbers
        if self.unjudged():
            self.evaluate()
        if self.run.steps == 0:
            self.introduce()
        if self.settings.on_divergence == "rollback" and self.saved is None:
            self.save()  # there is always a place to go back to

    def unjudged(self) -> bool:
        """Was the evaluation of this step superseded, or cut short after its checkpoint?"""
        step = self.run.steps
        due = step > 0 and self.settings.evaluates(step) and self.run.evaluator is not None
        (absent,) = self.ranks.highest(due and self.ranks.first and not self.logger.holds(step, "protocol"))
        return bool(absent)

    def mark(self) -> None:
        """From here on images per second are counted."""
        self.marks = (time.perf_counter(), self.run.images)
        self.run.waited = 0.0

    def introduce(self) -> None:
        """What TensorBoard shows of a run from its first moment on."""
        with self.writing():
            self.write_texts()
        self.real_grid()
        self.draw_game()

    def write_texts(self) -> None:
        texts = {"config": yaml.safe_dump(dict(self.config), sort_keys=False), "command": self.origin.command}
        for tag, text in texts.items():
            self.logger.text(tag, quoted(text), 0)
        if self.origin.advice:
            self.logger.text("advice", "\n\n".join(self.origin.advice), 0)
        evaluator = self.run.evaluator
        self.logger.describe(self.origin.hparams, list(evaluator.better) if evaluator is not None else [])

    # ---- the loop

    def loop(self) -> None:
        self.start()
        while True:
            try:
                while self.run.warming_up and not self.run.finished():
                    self.warm_up()
                while not self.run.finished():
                    self.advance()
                self.finish()
                return
            except Diverged as error:
                self.roll_back(error)

    def advance(self) -> None:
        """One step, and what is due after it."""
        self.run.meter.add(self.run.step())
        self.run.seconds = time.perf_counter() - self.started
        self.housekeep()

    def housekeep(self) -> None:
        step = self.run.steps
        if step % self.settings.log_every == 0:
            self.log()
            self.run.meter.reset()
        if step % self.settings.sample_every == 0:
            self.sample()
        if step % self.settings.checkpoint_every == 0:
            self.save()  # before the evaluation, which takes long and may fail
        if self.settings.evaluates(step):
            self.evaluate()
        self.attend()

    def warm_up(self) -> None:
        """One update of the discriminator alone; what was saved before it is no longer where the run is."""
        self.run.warm_up()
        self.run.seconds, self.saved = time.perf_counter() - self.started, None
        if self.run.warmed % self.settings.log_every == 0:
            self.check_health()
            log.info("warm-up: %d discriminator updates", self.run.warmed)
        self.attend()

    def attend(self) -> None:
        """To the first rank's clock and to signals of any, so that all ranks stop at one step."""
        asked, self.interrupt.save = self.interrupt.save, False
        seconds = self.run.seconds if self.ranks.first else 0.0
        self.run.seconds, signum, save = self.ranks.lately(seconds, self.interrupt.signum or 0, asked)
        if signum:
            self.stop(int(signum))
        if save:
            self.save()

    def finish(self) -> None:
        """The end, on or off the cadences. The meter keeps its sums, so that a longer run logs as if uncut."""
        step = self.run.steps
        if step % self.settings.log_every:
            self.log()
        if step % self.settings.sample_every:
            self.sample()
        self.save()
        if not self.settings.evaluates(step):
            self.evaluate()
        if self.run.out_of_patience:
            name, patience = self.settings.select_by, self.settings.patience
            log.info("stopped early: no better %s in %d evaluations", name, patience)
        self.judge_apart()
        self.log_best()

    def stop(self, signum: int) -> None:
        self.save()
        name = signal.Signals(signum).name
        raise Stopped(signum, f"stopped by {name} at step {self.run.steps}; the same command goes on from there.")

    def roll_back(self, error: Diverged) -> None:
        """To the last good checkpoint, with other noise from there on. A resume takes the same way again."""
        number = self.run.rollbacks + 1
        if self.settings.on_divergence == "stop" or number > MOST_ROLLBACKS:
            raise error
        self.load()
        self.run.rollbacks = number
        log.warning(
            "%s Rolled back to step %d, with other noise from there on (%d of %d).",
            *(error, self.run.steps, number, MOST_ROLLBACKS),
        )
        with self.writing():
            self.logger.supersede(self.run.steps + 1)
        self.mark()

    def conclude(self, status: str) -> None:
        """The last word on how it went. Where even that cannot be written, the error that ended the run is told."""
        try:
            with storing(self.folder.path):
                self.logger.close()
                self.summarize(status)
                if status in SUCCESS:
                    self.logger.conclude(SUCCESS[status])
        except NotWritten:
            if status == "completed":
                raise

    # ---- housekeeping

    def log(self) -> None:
        values = self.run.meter.read()
        values |= self.run.measure(values)
        self.check_finite(values)
        elapsed = time.perf_counter() - self.marks[0]
        values |= self.run.observe()
        values["speed/seconds"] = self.run.seconds
        values["speed/images_per_second"] = (self.run.images - self.marks[1]) / elapsed
        values["speed/data_wait_share"] = self.run.waited / elapsed
        values["memory/peak_mb"] = self.run.device.peak_memory_mb()
        self.mark()
        with self.writing():
            self.logger.scalars(self.run.steps, values)
        self.last |= values
        self.report(values)
        self.judge(values)

    def judge(self, values: Mapping[str, float]) -> None:
        """Verdicts that change. A line at an end off the cadence counts for none: a longer run has no such line."""
        step = self.run.steps
        if step % self.settings.log_every:
            return
        for verdict in self.run.health.judge(step, values):
            log.log(
                logging.WARNING if verdict.alarm and not verdict.over else logging.INFO, "step %d  %s", step, verdict
            )
            with self.writing():
                self.logger.text("verdict", str(verdict), step)

    def report(self, values: Mapping[str, float]) -> None:
        """One line of progress, the most wanted first, since a narrow terminal shows only the beginning."""
        done = self.run.progress()
        fields = [f"step {self.run.steps}", f"{100 * done:.0f} %"]
        fields += [f"{duration(self.run.seconds * (1 / done - 1))} left"] if 0 < done < 1 else []
        fields += [f"{values['speed/images_per_second']:.0f} images/s"]
        fields += [f"{name} {values[tag]:.4g}" for tag, name in SHOWN.items() if tag in values]
        log.info("  ".join(fields), extra={"fields": fields, "run": self.folder.path.name})

    def check_finite(self, values: Mapping[str, float]) -> None:
        """A gradient that overflows under fp16 is the scaler's business, not a divergence."""
        scaled = self.run.generator.scaler.is_enabled()
        for tag, value in values.items():
            if not math.isfinite(value) and not (scaled and tag.startswith("grad_norm/")):
                kept = "no checkpoint was written yet" if self.saved is None else f"checkpoint {self.saved} is kept"
                raise Diverged(
                    f"training diverged: {tag} is {value} at step {self.run.steps}; {kept}. "
                    f"Try a lower optimizer.lr, or a loss with a penalty."
                )

    def evaluate(self) -> None:
        """Metrics on the split for selection, and the best checkpoint so far. Not counted as time of training."""
        if self.run.evaluator is None:
            return
        began = time.perf_counter()
        self.check_health()
        found = self.measure()
        if found is not None:
            self.record(found, "last")
            self.select(found)
        spent = time.perf_counter() - began
        self.started += spent
        self.marks = (self.marks[0] + spent, self.marks[1])

    def measure(self, split: str | None = None) -> Evaluation | None:
        """All ranks measure alike; the first one's numbers are taken."""
        with self.ranks.united():
            found = self.run.evaluate(split)
        if found is not None:
            self.ranks.hand_on(lambda: found.values, found.values.update)
        return found

    def record(self, found: Evaluation, which: str) -> None:
        """which: last, or best for what is no longer the state of the run."""
        assert self.run.evaluator is not None  # it has found them
        step, values = self.run.steps, found.tags()
        told = self.judged.setdefault(which, {})
        if told.get("step") != step:
            told.clear()
        told |= {"step": step, found.split: finite(found.values)}
        self.judged["better"] = self.run.evaluator.better
        said = "  ".join(f"{tag} {value:.4g}" for tag, value in values.items())
        log.info(textwrap.fill(f"step {step}  {said}", WIDTH, subsequent_indent="  "))
        if which == "last":
            if found.split == REPORT != self.run.evaluator.selection:  # what is of one split was logged with the other
                values = {tag: value for tag, value in values.items() if tag not in OF_ONE_SPLIT}
            with self.writing():
                self.logger.scalars(step, values, protocol=found.protocols)
                self.show(found)
            self.last |= values

    def show(self, found: Evaluation) -> None:
        protocols = self.judged.setdefault("protocol", {})
        known = protocols.get(found.split, {})
        protocols[found.split] = {**known, **found.protocols}
        if protocols[found.split] != known:
            self.logger.text("protocol", protocol_text(protocols), self.run.steps)
        for name, (images, columns) in found.pictures.items():
            grid = tiled(self.run.real.decode(images), self.run.real.spec, columns)
            self.logger.image(f"samples/{name}", f"{name}-{self.run.steps:08d}", self.run.steps, grid)

    def select(self, found: Evaluation) -> None:
        by, step = self.settings.select_by, self.run.steps
        if by is None or self.run.evaluator is None:
            return
        if by not in found.values:
            raise ConfigError(f"train.select_by={by} was not among the values found: {', '.join(found.values)}.")
        way, counts = self.run.evaluator.better[by], self.settings.evaluates(step)
        improved = self.run.selection.improves(step, found, by, way, counts)
        self.tell_best()
        if improved or self.saved == step:
            self.saved = None  # what is saved of this step does not know of its evaluation
            self.save()
        if improved:
            with self.writing():
                if self.ranks.first:
                    checkpoint.keep_as_best(self.folder.checkpoints, step)

    def tell_best(self) -> None:
        """In the summary as well, unless it is there."""
        best = self.run.selection.best
        if best is None:
            self.judged.pop("best", None)
        elif self.judged.get("best", {}).get("step") != best["step"]:
            self.judged["best"] = dict(best)

    def judge_apart(self) -> None:
        """What the last and the best networks are worth on the split that chose nothing."""
        evaluator, best = self.run.evaluator, self.run.selection.step
        if evaluator is None or evaluator.selection == REPORT or not self.run.dataset.splits.get(REPORT):
            return
        found = self.measure(REPORT)
        assert found is not None  # there is an evaluator
        self.record(found, "last")
        if best == self.run.steps:
            self.judged["best"][REPORT] = finite(found.values)
        elif best is not None:
            self.take(self.folder.checkpoints / checkpoint.BEST)
            try:
                found = self.measure(REPORT)
                assert found is not None
                self.record(found, "best")
            finally:
                self.load()

    def log_best(self) -> None:
        """The value that chose the best networks, on both splits: TensorBoard's HParams show what was logged last."""
        best = self.judged.get("best")
        if best is not None:
            by = best["select_by"]
            found = {f"best/{by}": best.get(SELECTION, {}).get(by), f"best/{REPORT}/{by}": best.get(REPORT, {}).get(by)}
            with self.writing():
                self.logger.scalars(self.run.steps, {tag: value for tag, value in found.items() if value is not None})

    def real_grid(self) -> None:
        images = self.run.real.images[: self.settings.grid]
        self.picture("samples/real", "real", self.run.real.decode(images))

    def sample(self) -> None:
        self.check_health()
        self.draw_game()
        images, labels = self.run.fixed_samples()
        self.picture("samples/fixed", f"step-{self.run.steps:08d}", images, labels)

    def picture(self, tag: str, name: str, images: torch.Tensor, labels: torch.Tensor | None = None) -> None:
        """A grid, where the data are pictures at all."""
        spec = self.run.real.spec
        if spec.value_range is not None and spec.channels in (1, 3):
            grid = image_grid(images, spec, labels)
            with self.writing():
                self.logger.image(tag, name, self.run.steps, grid)

    def draw_game(self) -> None:
        """Of points on the line or in the plane: where they are, and the discriminator beside them."""
        if plot.can_show(self.run.real.spec):
            step = self.run.steps
            with self.writing():
                if self.ranks.first:
                    self.logger.image("toy/density", f"step-{step:08d}", step, plot.picture(self.run.game()))

    def save(self) -> None:
        """What is logged up to here reaches the disk first, so that a resume from here misses nothing."""
        if self.saved == self.run.steps:
            return
        self.check_health()
        with self.writing():
            self.logger.sync()
            if self.ranks.first:
                state, keep = self.run.state(), self.settings.keep_checkpoints
                checkpoint.save(self.folder.checkpoints, self.run.steps, self.config, state, keep)
        self.saved = self.run.steps
        with self.writing():
            self.summarize("running")

    def check_health(self) -> None:
        self.check_finite(self.run.meter.read())
        for player in (self.run.generator, self.run.discriminator):
            norm = torch.nn.utils.get_total_norm(list(player.network.parameters()))
            self.check_finite({f"the norm of the {player.name}'s weights": float(norm)})

    def summarize(self, status: str) -> None:
        run = self.run
        self.folder.write_summary(
            {
                "status": status,
                "process": f"{os.getpid()} on {socket.gethostname()}",
                "steps": run.steps,
                "rollbacks": run.rollbacks,
                "images": run.images,
                "seconds": round(run.seconds, 3),
                "images_per_second": round(run.images / run.seconds, 1) if run.seconds else None,
                "peak_memory_mb": round(run.device.peak_memory_mb(), 1),
                "seed": run.seed,
                "config_hash": config_hash(self.config),
                "command": self.origin.command,
                "last": finite(self.last),
                "metrics": self.judged,
                "evaluations_without_gain": run.selection.without_gain,
                "verdicts": [verdict.summary() for verdict in run.health.verdicts()],
                "environment": self.environment,
            }
        )


def quoted(content: str) -> str:
    """For TensorBoard's Markdown: as it is, line by line."""
    return "".join(f"    {line}\n" for line in content.splitlines())


def protocol_text(protocols: Mapping[str, Any]) -> str:
    """Of each split, under the names of the values that share it."""
    told: dict[str, Any] = {}
    for split, stamps in protocols.items():
        names: dict[str, list[str]] = {}
        for name, stamp in stamps.items():
            names.setdefault(yaml.safe_dump(stamp, sort_keys=False), []).append(name)
        told[split] = {", ".join(sharing): yaml.safe_load(stamp) for stamp, sharing in names.items()}
    return quoted(yaml.safe_dump(told, sort_keys=False, width=1000))
