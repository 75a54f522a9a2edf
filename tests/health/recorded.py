"""Recorded log lines of the runs in test_health.py; `python -m tests.health.recorded` records them again.

A file holds for each case the facts, the names of the values, and a row of them for each line.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import torch

from gan_runner.health.facts import Facts
from gan_runner.health.rules import READ
from gan_runner.training.run import Run

LINES = Path(__file__).parent / "lines"
DIGITS = 5  # significant ones


class Recorded(NamedTuple):
    facts: Facts
    lines: list[tuple[int, dict[str, float]]]  # step, values


def lines_of(run: Run, total: int, every: int = 50) -> Iterator[tuple[int, dict[str, float]]]:
    """Trains as a session does, and gives what it would log."""
    while run.clock.steps < total:
        run.meter.add(run.step())
        if run.clock.steps % every == 0:
            values = run.meter.read()
            yield run.clock.steps, values | run.measure(values) | run.observe()
            run.meter.reset()


def recorded(file: str) -> dict[str, Recorded]:
    cases = json.loads((LINES / f"{file}.json").read_text())
    return {
        name: Recorded(
            Facts(**case["facts"]),
            [
                (step, {tag: value for tag, value in zip(case["tags"], row, strict=True) if value is not None})
                for step, *row in case["rows"]
            ],
        )
        for name, case in cases.items()
    }


def record(file: str, runs: Mapping[str, Run], total: int) -> None:
    cases = []
    for name, run in runs.items():
        lines = list(lines_of(run, total))
        tags = sorted({tag for _, values in lines for tag in values if tag.startswith(READ)})
        rows = [[step, *(shortened(values.get(tag)) for tag in tags)] for step, values in lines]
        facts = json.dumps(asdict(run.health.facts))
        written = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
        cases.append(f'{json.dumps(name)}: {{"facts": {facts},\n"tags": {json.dumps(tags)},\n"rows": [\n{written}\n]}}')
    LINES.mkdir(exist_ok=True)
    (LINES / f"{file}.json").write_text("{" + ",\n".join(cases) + "}\n")


def shortened(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{DIGITS}g}")


if __name__ == "__main__":
    from tests.conftest import make_run
    from tests.health.test_health import FAILING, HEALTHY, SLOWER, failing

    torch.set_num_threads(1)
    torch.manual_seed(0)
    record("failing", {case: make_run(*failing(case)) for case in FAILING}, 1050)
    record("healthy", {case: make_run(*overrides) for case, overrides in (HEALTHY | SLOWER).items()}, 1500)
