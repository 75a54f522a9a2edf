"""Evaluations of a run at their intervals, and the selection of the best networks."""

import logging
import textwrap

from gan_runner.errors import ConfigError
from gan_runner.evaluation.evaluator import Evaluator
from gan_runner.evaluation.opponent import Opponent
from gan_runner.evaluation.sampler import samples_of
from gan_runner.evaluation.selection import Evaluation, is_of_one_split
from gan_runner.records.averages import MAIN, half_lives, named
from gan_runner.records.grid import tiled
from gan_runner.records.logger import protocol_text
from gan_runner.records.scores import REPORT
from gan_runner.training.reporting import Reporter
from gan_runner.training.resuming import Checkpoints
from gan_runner.training.run import Run
from gan_runner.training.showcase import sampler_of

log = logging.getLogger(__name__)

WIDTH = 118  # characters of a line that lists metrics


def evaluate(run: Run, split: str | None = None) -> Evaluation | None:
    """Returns the metrics of the present networks, of all averages, or None if no metric is configured.

    split: by default the split on which checkpoints are selected.
    """
    if run.evaluator is None:
        return None
    main, *others = run.settings.half_lives
    found = of_average(run, run.evaluator, main, split)
    for name in others:
        found = found.joined(name, of_average(run, run.evaluator, name, split))
    return found._replace(half_lives=half_lives(run.settings.ema_half_life_images) if others else ())


def of_average(run: Run, evaluator: Evaluator, name: str, split: str | None) -> Evaluation:
    """Returns the metrics of one average; those of the live networks only with the main one."""
    live, ema = sampler_of(run, run.generator.network), run.averages[named("ema", name)]
    averaged = sampler_of(run, ema.carry_buffers())
    classifier = run.averages.get(named("classifier", name))
    players = Opponent(
        live,
        run.discriminator.network,
        classifier.carry_buffers() if classifier is not None else None,
        *(run.dataset, run.seed, run.settings.batch_size),
    )
    samples, weights = samples_of(averaged, evaluator.seed), "ema" if ema.averages else "live"
    return evaluator(samples, players, split or evaluator.selection, weights, with_live=name == MAIN)


class Evaluations:
    """Computes, logs and stores metrics, and keeps the checkpoint of the best networks."""

    def __init__(self, run: Run, reporter: Reporter, checkpoints: Checkpoints):
        self.run, self.reporter, self.checkpoints = run, reporter, checkpoints
        self.ranks, self.scores = run.device.ranks, reporter.scores

    def make_up(self) -> None:
        """Evaluates at a resume if the evaluation of this step is due and was superseded, interrupted or not saved."""
        step, by = self.run.clock.steps, self.run.settings.select_by
        due = step > 0 and self.run.clock.evaluation_is_due and self.run.evaluator is not None
        absent = due and self.ranks.first and not self.reporter.logger.holds(step, "protocol")
        unsaved = self.scores.step("last") != step or (by is not None and self.run.selection.evaluated != step)
        missing, lost = self.ranks.highest(absent, due and self.ranks.first and unsaved)
        if missing or lost:
            self.evaluate(logged=not missing)

    def evaluate(self, logged: bool = False) -> None:
        """Computes metrics on the split for selection, and updates the best checkpoint. logged: the log has them."""
        if self.run.evaluator is None:
            return
        self.checkpoints.check_health()
        evaluation = self.take()
        self.record(evaluation, "last", logged)
        self.select(evaluation)

    def take(self, split: str | None = None) -> Evaluation:
        """Computes the metrics on all ranks; every rank then uses the values of the first one."""
        with self.ranks.ending_together():
            evaluation = evaluate(self.run, split)
        assert evaluation is not None  # callers check that there is an evaluator
        self.ranks.broadcast(lambda: evaluation.values, evaluation.values.update)
        return evaluation

    def record(self, evaluation: Evaluation, which: str, logged: bool = False) -> None:
        """Stores the values; also logs them if `which` is last. which: last, or best (networks loaded from best.pt)."""
        evaluator, step, tags = self.run.evaluator, self.run.clock.steps, evaluation.tags()
        assert evaluator is not None
        self.scores.record(which, step, evaluation.split, evaluation.values)
        self.scores.declare(evaluator.better)
        listed = "  ".join(f"{tag} {value:.4g}" for tag, value in tags.items())
        log.info(textwrap.fill(f"step {step}  {listed}", WIDTH, subsequent_indent="  "))
        if which != "last":
            return
        new = self.scores.stamp(evaluation.split, evaluation.protocols)
        if logged:
            return
        if evaluation.split == REPORT != evaluator.selection:  # already logged with the selection split
            tags = {tag: value for tag, value in tags.items() if not is_of_one_split(tag.removeprefix("metric/"))}
        self.reporter.score(tags, evaluation.protocols)
        with self.reporter.writing():
            if new:
                self.reporter.text("protocol", protocol_text(self.scores.protocols()))
            self.draw(evaluation)

    def draw(self, evaluation: Evaluation) -> None:
        step, real = self.run.clock.steps, self.run.real
        for name, (images, columns) in evaluation.pictures.items():
            grid = tiled(real.decode(images), real.spec, columns)
            self.reporter.logger.image(f"samples/{name}", f"{name}-{step:08d}", step, grid)

    def select(self, evaluation: Evaluation) -> None:
        by, step = self.run.settings.select_by, self.run.clock.steps
        if by is None or self.run.evaluator is None:
            return
        if by not in evaluation.values:
            raise ConfigError(f"train.select_by={by} was not among the values found: {', '.join(evaluation.values)}.")
        better, counts = self.run.evaluator.better[by], self.run.clock.evaluation_is_due
        improved = self.run.selection.improves(step, evaluation, by, better, counts)
        self.scores.choose(self.run.selection.best)
        if improved or self.checkpoints.saved == step:
            self.checkpoints.outdate()  # the checkpoint of this step was written before its evaluation
            self.checkpoints.save()
        if improved:
            self.checkpoints.keep_as_best()

    def report(self) -> None:
        """Computes metrics of the last and the best networks on the test split, which is not used for selection."""
        evaluator, best = self.run.evaluator, self.run.selection.step
        if evaluator is None or evaluator.selection == REPORT or not self.run.dataset.splits.get(REPORT):
            return
        evaluation = self.take(REPORT)
        self.record(evaluation, "last")
        if best == self.run.clock.steps:
            self.scores.record("best", best, REPORT, evaluation.values)
        elif best is not None:
            self.checkpoints.load_best()
            try:
                self.record(self.take(REPORT), "best")
            finally:
                self.checkpoints.load()

    def log_best(self) -> None:
        """Logs the selection metric of the best networks on both splits; TensorBoard's HParams show the last value."""
        values = {
            f"best/{'' if split != REPORT else f'{REPORT}/'}{name}": value
            for name, split, value in self.scores.selected()
        }
        if values:
            with self.reporter.writing():
                self.reporter.logger.scalars(self.run.clock.steps, values)
