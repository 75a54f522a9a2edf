"""One session of a run in one process: resume, training loop, logs, samples, checkpoints, evaluations, end."""

import contextlib
import logging
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

from gan_runner.errors import Diverged, Stopped
from gan_runner.protocols import Tracked, Tracker
from gan_runner.records.folder import RunFolder
from gan_runner.records.identity import identity
from gan_runner.tracker.relay import Relay
from gan_runner.training.interrupt import Interrupt
from gan_runner.training.judging import Evaluations
from gan_runner.training.reporting import Origin, Reporter
from gan_runner.training.resuming import Checkpoints
from gan_runner.training.run import Run
from gan_runner.training.stopwatch import Stopwatch

log = logging.getLogger(__name__)

MAX_ROLLBACKS = 3
Timed = Callable[[str], AbstractContextManager[None]]


def untimed(section: str) -> AbstractContextManager[None]:
    return contextlib.nullcontext()


def tracked(folder: RunFolder, config: Mapping[str, Any], origin: Origin) -> Tracked:
    return Tracked(folder.path.name, config.get("study"), folder.path, {**origin.hparams, **identity(config)})


class Session:
    """Trains a run in a folder that this process, or the first rank for all ranks, has locked."""

    interrupt: Interrupt

    def __init__(
        self,
        run: Run,
        folder: RunFolder,
        config: Mapping[str, Any],
        origin: Origin,
        timed: Timed = untimed,
        tracker: Tracker | None = None,  # on the first rank alone
    ):
        """timed: returns a context for a section beside the training (log, sample, save, evaluate), by its name."""
        self.run, self.folder, self.settings, self.timed = run, folder, run.settings, timed
        self.clock, self.ranks, self.origin = run.clock, run.device.ranks, origin
        self.stopwatch = Stopwatch(run.clock, run.batches)
        self.reporter = Reporter(run, folder, config, origin)
        self.checkpoints = Checkpoints(run, folder, config, self.reporter)
        self.relay = Relay(tracker, tracked(folder, config, origin))

    def train(self) -> dict[str, Any]:
        """Trains to the end of the run, from the newest checkpoint of the folder if any. Returns the summary."""
        with self.opened():
            self.loop()
        return self.folder.read_summary()

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """A context for the training: resumes the state before, writes the final status to the summary afterwards."""
        self.checkpoints.resume(self.folder.read_summary())
        self.evaluations = Evaluations(self.run, self.reporter, self.checkpoints)
        step = self.clock.steps
        # if the step is no multiple of log_every, only the end of an earlier session logged it: purge that line too
        purge_from = step + 1 if step and step % self.settings.log_every == 0 else step
        self.reporter.open(purge_from)
        status = "failed"
        with Interrupt() as self.interrupt:
            try:
                self.start(purge_from)
                yield
                status = "completed"
            except Diverged:
                status = "diverged"
                raise
            except (Stopped, KeyboardInterrupt):
                status = "interrupted"
                raise
            finally:
                self.reporter.conclude(status)
                self.relay.close(status)
                self.interrupt.follow()

    def start(self, purge_from: int) -> None:
        step = self.clock.steps
        self.relay.open(step)
        self.stopwatch.start()
        for sentence in self.origin.advice:
            log.warning("advice: %s", sentence)
        if step == purge_from > 0 and self.clock.sample_is_due:
            self.sample()  # the purge also invalidates the logged picture of this step
        with self.stopwatch.paused():
            self.evaluations.make_up()
        if step == 0:
            self.reporter.log_start()
        if self.checkpoints.saved is None and (self.settings.on_divergence == "rollback" or self.settings.from_weights):
            self.save()  # a rollback needs a checkpoint, and the source of the weights may be gone later

    # ---- the loop

    def loop(self) -> None:
        while True:
            try:
                while self.clock.warming_up and self.clock.progress() < 1:
                    self.warm_up()
                while not self.finished():
                    self.advance()
                self.finish()
                return
            except Diverged as error:
                self.roll_back(error)

    def finished(self) -> bool:
        return self.clock.is_over() or self.out_of_patience()

    def out_of_patience(self) -> bool:
        return self.settings.end.out_of_patience(self.run.selection.without_gain)

    def advance(self) -> None:
        """Does one step, then the logs, samples, checkpoints and evaluations that are due."""
        self.run.meter.add(self.run.step())
        self.stopwatch.follow()
        step = self.clock.steps
        if step % self.settings.log_every == 0:
            self.log()
            self.run.meter.reset()
        if self.clock.sample_is_due:
            self.sample()
        if step % self.settings.checkpoint_every == 0:
            self.save()  # before the evaluation, which takes long and may fail
        if self.clock.evaluation_is_due:
            self.evaluate()
        if step == self.clock.length and not self.finished():
            self.run.schedules.announce_end(step)
        self.share_signals()

    def warm_up(self) -> None:
        """Does one warm-up update of the discriminator; an earlier checkpoint is then older than the run's state."""
        self.run.algorithm.warm_up()
        self.stopwatch.follow()
        self.checkpoints.outdate()
        if self.clock.warmed % self.settings.log_every == 0:
            self.checkpoints.check_health()
            log.info("warm-up: %d discriminator updates", self.clock.warmed)
        self.share_signals()

    def share_signals(self) -> None:
        """Shares the first rank's time and any rank's signals with all ranks, so that all stop at the same step."""
        signum: float = self.interrupt.signum or 0
        save: float = self.interrupt.take_save()
        if self.ranks.count > 1:
            seconds = self.clock.seconds if self.ranks.first else 0.0
            seconds, signum, save = self.ranks.highest_delayed(seconds, signum, save)
            self.clock.spend(seconds)
        if signum:
            self.stop(int(signum))
        if save:
            self.save()

    def finish(self) -> None:
        """Logs, samples, saves and evaluates at the end of the run, where not done at this step already.

        The meter is not reset, so that a longer run, resumed from here, logs the same means as without the end here.
        """
        step = self.clock.steps
        if step % self.settings.log_every:
            self.log()
        if not self.clock.sample_is_due:
            self.sample()
        self.save()
        if not self.clock.evaluation_is_due:
            self.evaluate()
        if self.out_of_patience():
            log.info("stopped early: no better %s in %d evaluations", self.settings.select_by, self.settings.patience)
        self.evaluations.report()
        self.evaluations.log_best()
        self.run.health.conclude(step, self.reporter.last)
        self.checkpoints.wait()
        self.relay.send(step, again=True)

    def stop(self, signum: int) -> None:
        self.save()
        self.checkpoints.wait()
        self.relay.send(self.clock.steps, again=True)
        name = signal.Signals(signum).name
        raise Stopped(signum, f"stopped by {name} at step {self.clock.steps}; the same command goes on from there.")

    def roll_back(self, error: Diverged) -> None:
        """Returns to the last good checkpoint, with other noise from there on. A resume repeats the same rollbacks."""
        number = self.clock.rollbacks + 1
        if self.settings.on_divergence == "stop" or number > MAX_ROLLBACKS:
            raise error
        self.checkpoints.load()
        self.clock.roll_back(number)
        log.warning(
            "%s Rolled back to step %d, with other noise from there on (%d of %d).",
            *(error, self.clock.steps, number, MAX_ROLLBACKS),
        )
        self.reporter.supersede(self.clock.steps + 1)
        self.relay.rewind()
        self.stopwatch.mark()

    # ---- logs, samples, checkpoints, evaluations

    def log(self) -> None:
        with self.timed("log"):
            run = self.run
            values = run.meter.read()
            values |= run.measure(values)
            self.checkpoints.check_finite(values)
            values |= run.observe() | self.stopwatch.lap() | {"memory/peak_mb": run.device.peak_memory_mb()}
            self.reporter.log(values)

    def sample(self) -> None:
        with self.timed("sample"):
            self.checkpoints.check_health()
            self.reporter.sample()

    def save(self) -> None:
        with self.timed("save"):
            self.checkpoints.save()
        if self.relay.tracker is not None and self.reporter.background.succeeds():
            with self.stopwatch.paused():
                self.relay.send(self.clock.steps - 1)  # of this step an evaluation may follow

    def evaluate(self) -> None:
        """Evaluates the networks; this does not count as training time."""
        with self.timed("evaluate"), self.stopwatch.paused():
            self.evaluations.evaluate()
