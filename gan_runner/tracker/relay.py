"""Relay of a run's log lines to a tracker, such that nothing that was sent is ever superseded.

A resume or a rollback removes the log lines after a checkpoint and logs those steps anew. Trackers cannot take a value
back, so a line is sent once a checkpoint at or after its step is on disk.
"""

import json
import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gan_runner.errors import ConfigError
from gan_runner.protocols import Tracked, Tracker
from gan_runner.storage.files import storing, write_atomically

log = logging.getLogger(__name__)

STATE = "tracker.json"  # in the run folder: kind of tracker -> id of the run, and the step sent so far
NOTHING = -1  # the step sent so far, before any
LONGEST_PAUSE = 64  # checkpoints, at most, that pass without an attempt after failures


@dataclass
class State:
    """What the run folder keeps of one kind of tracker."""

    id: str
    sent: int = NOTHING  # all lines up to this step have been sent
    sending: int = NOTHING  # a step above `sent` that was being sent when the state was written

    def begin(self, step: int) -> None:
        self.sending = step

    def arrive(self, step: int) -> None:
        self.sent = step

    def settle(self) -> bool:
        """Forgets the step that was being sent, if it has arrived; returns whether it has."""
        arrived = NOTHING < self.sending <= self.sent
        self.sending = NOTHING if arrived else self.sending
        return arrived


class Relay:
    """Sends log lines to a tracker, each step once and in rising order. Without a tracker it does nothing.

    An error of the tracker is one warning; what was not sent is sent later, by this session or the next one.
    """

    def __init__(self, tracker: Tracker | None, about: Tracked):
        self.tracker, self.folder, self.about = tracker, about.folder, about
        self.kind = getattr(tracker, "kind", type(tracker).__name__)
        self.opened = self.warned = False
        self.offset = 0  # bytes of metrics.jsonl whose lines have been sent
        self.failures = self.pause = 0

    def open(self, step: int) -> None:
        """Opens the run of the tracker, a new one if the folder has none. step: the step that training goes on from."""
        if self.tracker is None:
            return
        self.state = self.read()
        if self.state.sent > step:
            log.warning("steps %d to %d are trained again, and %s keeps the first", step, self.state.sent, self.kind)
        self.attempt(NOTHING)

    def send(self, through: int, again: bool = False) -> None:
        """Sends the lines up to a step that is complete and below a checkpoint. again: even during a pause."""
        if self.tracker is None:
            return
        if self.pause and not again:
            self.pause -= 1
            return
        self.attempt(through)

    def rewind(self) -> None:
        """Called when lines of metrics.jsonl were removed."""
        self.offset = 0

    def close(self, status: str) -> None:
        """Ends the tracker's run. status: that of summary.json."""
        if self.tracker is None or not self.opened:
            return
        try:
            self.tracker.close(status)
        except Exception as error:  # noqa: BLE001 (a client raises anything, and must not end a training)
            self.fail(error)

    # ---- sending

    def attempt(self, through: int) -> None:
        try:
            self.deliver(through)
        except Exception as error:  # noqa: BLE001 (a client raises anything, and must not stop a training)
            self.fail(error)
        else:
            self.failures = 0

    def deliver(self, through: int) -> None:
        assert self.tracker is not None
        if not self.opened:
            self.tracker.open(self.state.id, self.about)
            self.opened = True
        pending, end = self.pending(through)
        for step, values in pending.items():
            if step == self.state.sending and self.tracker.holds(step, next(iter(values))):
                self.state.arrive(step)  # a process ended between sending the step and writing so
                continue
            self.state.begin(step)
            self.write()
            self.tracker.send(step, values)
            self.state.arrive(step)
        self.offset = end
        if self.state.settle():
            self.write()

    def fail(self, error: Exception) -> None:
        self.failures += 1
        self.pause = min(2**self.failures - 1, LONGEST_PAUSE)
        if not self.warned:
            reason = str(error).strip().split("\n")[0] or type(error).__name__
            log.warning("tracker=%s: %s; training goes on, and what is missing is sent later", self.kind, reason)
        self.warned = True

    def pending(self, through: int) -> tuple[dict[int, dict[str, float]], int]:
        """Returns step -> values of each step above the one sent so far, up to `through`, and the bytes up to there."""
        merged: dict[int, dict[str, float]] = {}
        end = self.offset
        with open(self.folder / "metrics.jsonl", "rb") as file:
            file.seek(end)
            for text in file:
                line = parsed(text)
                step = line.get("step")
                if not isinstance(step, int):
                    break  # the last line is incomplete
                if step > through:
                    break
                end += len(text)
                if step > self.state.sent and (values := numbers(line)):
                    merged[step] = merged.get(step, {}) | values
        return dict(sorted(merged.items())), end

    # ---- the state in the run folder

    def read(self) -> State:
        """Returns the stored state; a new id, which is stored at once, if there is none."""
        known = self.stored().get(self.kind)
        if known is not None:
            return State(**known)
        self.state = State(uuid.uuid4().hex[:16])
        with storing(self.folder):
            self.write()
        return self.state

    def write(self) -> None:
        content = {**self.stored(), self.kind: vars(self.state)}
        write_atomically(self.folder / STATE, lambda file: file.write(json.dumps(content, indent=2).encode() + b"\n"))

    def stored(self) -> dict[str, Any]:
        path = self.folder / STATE
        try:
            return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{path} is damaged; remove it, and {self.kind} begins a new run.") from error


def parsed(text: bytes) -> dict[str, Any]:
    try:
        line = json.loads(text)
    except ValueError:
        return {}
    return line if isinstance(line, dict) else {}


def numbers(line: Mapping[str, Any]) -> dict[str, float]:
    """Returns the values of a line: its numbers, without the step."""
    return {tag: float(value) for tag, value in line.items() if tag != "step" and type(value) in (int, float)}
