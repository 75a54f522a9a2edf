"""Saving a run to checkpoints in its folder, and resuming it from them."""

import logging
from collections.abc import Mapping
from typing import Any

from gan_runner.errors import ConfigError
from gan_runner.health.finite import check_finite, weight_norms
from gan_runner.records import checkpoint
from gan_runner.records.checkpoint import Checkpoint
from gan_runner.records.folder import RunFolder
from gan_runner.records.identity import differences
from gan_runner.training.reporting import Reporter
from gan_runner.training.run import Run

log = logging.getLogger(__name__)

# entries of the environment whose change is reported at a resume
COMPARED = ("device", "precision", "threads", "ranks", "python", "torch", "gan_runner")


class Checkpoints:
    """The checkpoints of a run. Only the first rank reads and writes files; it broadcasts the loaded state."""

    def __init__(self, run: Run, folder: RunFolder, config: Mapping[str, Any], reporter: Reporter):
        self.run, self.config, self.reporter = run, config, reporter
        self.folder, self.ranks = folder.checkpoints, run.device.ranks
        self.saved: int | None = None  # the step of the checkpoint that holds the run's newest state

    # ---- reading

    def resume(self, summary: Mapping[str, Any]) -> None:
        """Resumes from the newest checkpoint, if there is one. summary: summary.json of the previous session."""
        if not self.load():
            return
        self.run.schedules.check_length(self.run.clock)
        if summary.get("status") == "running":
            log.warning(
                "the previous process ended without a message (killed?); steps after its checkpoint are repeated"
            )
        log.info("going on from step %d", self.run.clock.steps)
        self.reporter.go_on_from(summary)
        before = {key: summary.get("environment", {}).get(key) for key in COMPARED}
        now = self.reporter.environment
        changed = [f"{key} {was} -> {now[key]}" for key, was in before.items() if was != now[key]]
        if changed and self.ranks.first:
            log.warning("resumed under another environment, so not bit for bit: %s", "; ".join(changed))

    def load(self) -> bool:
        """Loads the newest checkpoint. Returns False if there is none."""
        self.wait()
        with self.ranks.ending_together():
            loaded = self.ranks.first and checkpoint.load_latest(self.folder, self.restore)
            if loaded:
                checkpoint.set_aside_after(self.folder, self.run.clock.steps)
                self.match_best()
        self.broadcast()
        (on_any,) = self.ranks.highest(loaded)
        self.saved = self.run.clock.steps if on_any else None
        return bool(on_any)

    def load_best(self) -> None:
        self.wait()
        with self.ranks.ending_together():
            if self.ranks.first:
                self.run.load_state(checkpoint.load(self.folder / checkpoint.BEST).state)
        self.broadcast()

    def broadcast(self) -> None:
        """Sends the first rank's state to the other ranks."""
        with self.ranks.ending_together():
            self.ranks.broadcast(self.run.state, self.run.load_state)

    def restore(self, found: Checkpoint) -> None:
        changed = differences(found.config, self.config)
        if changed:
            raise ConfigError(
                f"{found.path} was made by another configuration: {'; '.join(changed)}. Give this run a name of its "
                f"own with name=..., or start it over with train.fresh=true."
            )
        self.run.load_state(found.state)

    def match_best(self) -> None:
        """Makes best.pt agree with the loaded selection: a process may have ended between the writes of the two."""
        best, step = self.run.selection.step, self.run.clock.steps
        if best == step:
            checkpoint.keep_as_best(self.folder, step)
        elif best is not None and checkpoint.best_step(self.folder) != best:
            path = self.folder / checkpoint.BEST
            log.warning("%s is not that of step %d; the best is chosen anew", path, best)
            self.run.selection.reset()

    # ---- writing

    def save(self) -> None:
        """Begins to save a checkpoint, which is written while the training goes on.

        The logs are flushed to the disk first, so that a resume from it misses no log entry.
        """
        step = self.run.clock.steps
        if self.saved == step:
            return
        self.check_health()
        with self.reporter.writing() as background:
            if self.ranks.first:
                content = checkpoint.packed(self.config, self.run.state())
                summary = self.reporter.summary("running")
                background.begin(lambda: self.store(step, content, summary))
        self.saved = step

    def store(self, step: int, content: memoryview, summary: Mapping[str, Any]) -> None:
        self.reporter.logger.sync()
        checkpoint.save(self.folder, step, content, self.run.settings.keep_checkpoints)
        self.reporter.folder.write_summary(summary)

    def wait(self) -> None:
        """Waits until the checkpoint is on the disk."""
        with self.reporter.writing() as background:
            background.wait()

    def outdate(self) -> None:
        """Marks the newest checkpoint as older than the state of the run."""
        self.saved = None

    def keep_as_best(self) -> None:
        self.wait()
        with self.reporter.writing():
            if self.ranks.first:
                checkpoint.keep_as_best(self.folder, self.run.clock.steps)

    # ---- checks before a checkpoint or a picture

    def check_health(self) -> None:
        """Raises Diverged unless the mean statistics and all weights are finite."""
        self.check_finite(self.run.meter.read())
        for name, norm in weight_norms((self.run.generator, self.run.discriminator)).items():
            self.check_finite({name: norm})

    def check_finite(self, values: Mapping[str, float]) -> None:
        check_finite(values, self.run.clock.steps, self.saved, self.run.generator.scaler.is_enabled())
