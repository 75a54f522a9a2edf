"""Records of trainings for the documentation, to which several processes may add, and trainings in a process."""

import contextlib
import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
IMAGES = Path(__file__).parent / "images"


class Records:
    """The file docs/results/NAME.json: `runs`, and for studies with equal time the `steps` of each budget."""

    def __init__(self, name: str):
        self.path, self.lock = RESULTS / f"{name}.json", RESULTS / f".{name}.lock"

    def read(self) -> dict[str, Any]:
        return json.loads(self.path.read_text()) if self.path.exists() else {"steps": {}, "runs": {}}

    @contextlib.contextmanager
    def changed(self) -> Iterator[dict[str, Any]]:
        """Yields the content under a lock, and writes it afterwards."""
        RESULTS.mkdir(exist_ok=True)
        with open(self.lock, "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            content = self.read()
            yield content
            self.path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")


def trained(command: Sequence[str], quiet: bool = False) -> int:
    """Runs `python -m gan_runner ...` with one thread; returns its exit code."""
    output = subprocess.DEVNULL if quiet else None
    return subprocess.run(
        [sys.executable, *command[1:]], env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=output
    ).returncode


def two_digits(number: float) -> int:
    return int(float(f"{number:.2g}"))
