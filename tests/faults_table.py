"""Deliberate faults, each with the tests that should catch it: wrong signs, axes, splits, keys and arguments.

They are in tests/fault_tables/*.yaml, by file; a fault is one that a person could make, and leaves the module
importable. `tests/faults.py` makes them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

TABLES = Path(__file__).parent / "fault_tables"


class Fault(NamedTuple):
    file: str  # below gan_runner/, or conf/...
    words: str
    before: str  # text that is in the file exactly once
    after: str
    tests: str  # arguments of pytest, separated by spaces


def read(table: Path) -> Iterator[Fault]:
    """A fault may have tests of its own in the place of those of its file."""
    for of_file in yaml.safe_load(table.read_text(encoding="utf-8")):
        for row in of_file["faults"]:
            yield Fault(**{"file": of_file["file"], "tests": of_file.get("tests", ""), **row})


FAULTS = [fault for table in sorted(TABLES.glob("*.yaml")) for fault in read(table)]
