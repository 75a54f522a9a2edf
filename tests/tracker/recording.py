"""A tracker that writes what it is sent to a file, and a training that is killed and rolls back."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from gan_runner.main import main
from gan_runner.protocols import Tracked
from gan_runner.training.run import Run
from tests.conftest import SMALL

HERE = "tests.tracker.recording"
SHORT = (*SMALL, "train.total_steps=20", "train.log_every=2", "train.checkpoint_every=6", "train.grid=4", "name=run")


class Recorder:
    """Appends each call to a file, and fails where requested."""

    kind = "recorder"

    def __init__(self, file: str = "sent.jsonl", fails_at: int | None = None):
        self.file, self.fails_at, self.failed = Path(file), fails_at, False

    def record(self, **content: Any) -> None:
        with self.file.open("a") as file:
            file.write(json.dumps(content) + "\n")

    def open(self, id: str, about: Tracked) -> None:
        self.record(opened=id, name=about.name, study=about.study)

    def holds(self, step: int, tag: str) -> bool:
        return any(line.get("step") == step for line in recorded(self.file))

    def send(self, step: int, values: dict[str, float]) -> None:
        if self.fails_at is not None and step >= self.fails_at and not self.failed:
            self.failed = True
            raise ConnectionError("the server is away")
        self.record(step=step, values=values)

    def close(self, status: str) -> None:
        self.record(closed=status)


def recorded(file: Path = Path("sent.jsonl")) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def logged(folder: Path) -> dict[int, dict[str, float]]:
    """Step -> the finite numbers of all lines of metrics.jsonl."""
    found: dict[int, dict[str, float]] = {}
    for line in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines()):
        values = {tag: value for tag, value in line.items() if isinstance(value, int | float) and tag != "step"}
        found[line["step"]] = found.get(line["step"], {}) | values
    return found


def during(event: Callable[[Run], None]) -> Callable[[Run], Any]:
    """Returns a step that calls `event` before itself."""
    step = Run.step

    def changed(self: Run) -> Any:
        event(self)
        return step(self)

    return changed


def killed_at(step: int) -> Callable[[Run], None]:
    def event(run: Run) -> None:
        if run.clock.steps == step:
            time.sleep(2)  # wandb writes once a second
            os.kill(os.getpid(), signal.SIGKILL)

    return event


def diverging_at(step: int) -> Callable[[Run], None]:
    """Breaks a weight once, as a step that diverges does."""
    broken: list[int] = []

    def event(run: Run) -> None:
        if run.clock.steps == step and not broken:
            broken.append(step)
            with torch.no_grad():
                next(run.discriminator.network.parameters()).fill_(torch.nan)

    return event


if __name__ == "__main__":  # python -m tests.tracker.recording EVENT STEP [overrides]
    event, at, *sys.argv[1:] = sys.argv[1:]
    Run.step = during({"kill": killed_at, "diverge": diverging_at}[event](int(at)))  # type: ignore[method-assign]
    main()
