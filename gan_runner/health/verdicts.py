"""What the log lines of a run say of its health, in words: alarms with what to try, and notes that explain.

A verdict begins when its rule has held in every line of PERSISTENCE steps or more, and is over when it has held in none
of as many, so that a young run and a single noisy line say nothing.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from gan_runner.health.facts import Facts
from gan_runner.health.rules import PEAKS, PERSISTENCE, READ, RULES, Rule, Seen, are_copies, has_differed

LEAST_LINES = 3  # in them: one or two may be chance, unless a line stands for as many steps
USUAL_LENGTH = 5000  # steps of a run for which PERSISTENCE was chosen
LATE = 0.5  # of a run: a generator that has not begun to answer every z in its own way will not, or needs longer
SPACING = 50  # steps that a line stands for at least; shorter ones are joined, since single steps are noise
FIRST_LINES = 3  # from which a run's own beginning is known


class Line(NamedTuple):
    """Means over the steps after `start` up to `step`."""

    start: int
    step: int
    values: dict[str, float]


@dataclass(frozen=True)
class Verdict:
    """One that begins, or that is over."""

    name: str
    alarm: bool
    since: int  # the step after which its rule began to hold
    sentence: str
    over: bool = False

    def __str__(self) -> str:
        if self.over:
            return f"over: this was so since step {self.since}: {self.sentence}"
        return f"{'alarm' if self.alarm else 'note'}: {self.sentence}"

    def summary(self) -> dict[str, str | int]:
        kind = "alarm" if self.alarm else "note"
        return {"name": self.name, "kind": kind, "since": self.since, "sentence": self.sentence}


class Streak(NamedTuple):
    """Lines in which a rule says other than its verdict."""

    start: int
    lines: int


class Health:
    """Takes every log line and returns the verdicts that change. Keeps the lines of PERSISTENCE steps."""

    def __init__(self, facts: Facts):
        self.facts = facts
        self.pending: list[Line] = []  # too short to stand alone
        self.lines: list[Line] = []
        self.first: list[Line] = []
        self.streaks: dict[str, Streak] = {}
        self.standing: dict[str, Verdict] = {}
        self.peaks: dict[str, float] = {}

    def judge(self, step: int, values: Mapping[str, float], length: float = USUAL_LENGTH) -> list[Verdict]:
        """The verdicts that begin or end with the log line of this step. length: steps of the run, as far as known."""
        start = (self.pending or self.lines or [Line(0, 0, {})])[-1].step
        known = {tag: value for tag, value in values.items() if tag.startswith(READ) and math.isfinite(value)}
        self.pending.append(Line(start, step, known))
        line = joined(self.pending)
        if line.step - line.start < SPACING:
            return []
        self.pending = []
        self.first += [line] if len(self.first) < FIRST_LINES else []
        self.peaks |= {tag: max(self.peaks.get(tag, 0.0), line.values[tag]) for tag in PEAKS if tag in line.values}
        changed = [self.decide(name, line, length) for name in RULES]
        self.lines = [kept for kept in [*self.lines, line] if kept.step > step - PERSISTENCE - SPACING]
        return [verdict for verdict in changed if verdict is not None]

    def conclude(self, step: int, values: Mapping[str, float]) -> None:
        """At the end of a run: samples that are alike now count, however short the run and seldom the lines."""
        line = Line(step, step, {tag: value for tag, value in values.items() if math.isfinite(value)})
        sentence = RULES["collapse"].check(self.seen(line, 0))
        if sentence is not None and "collapse" not in self.standing:
            self.standing["collapse"] = Verdict("collapse", True, step, sentence)

    def decide(self, name: str, line: Line, length: float) -> Verdict | None:
        """A rule of one line: does it end a streak that is long enough?"""
        streak = self.streaks.get(name, Streak(line.start, 0))
        seen = self.seen(line, line.step - streak.start)
        sentence, standing = RULES[name].check(seen), self.standing.get(name)
        if (sentence is None) == (standing is None):
            self.streaks.pop(name, None)
            return None
        self.streaks[name] = Streak(streak.start, streak.lines + 1)
        needed = steps_needed(RULES[name], seen, length, recovers=sentence is None)
        lines = LEAST_LINES - 1 if line.step - line.start >= needed else LEAST_LINES
        if seen.steps < needed or streak.lines + 1 < lines:
            return None
        del self.streaks[name]
        if sentence is not None:
            self.standing[name] = Verdict(name, RULES[name].alarm, streak.start, sentence)
            return self.standing[name]
        assert standing is not None  # or nothing would have changed
        del self.standing[name]
        return Verdict(name, standing.alarm, standing.since, standing.sentence, over=True)

    def seen(self, line: Line, steps: int) -> Seen:
        old = [kept for kept in self.lines if kept.step <= line.step - PERSISTENCE]
        known = self.first if len(self.first) == FIRST_LINES else []
        beginning = {tag: max(first.values.get(tag, 0.0) for first in known) for tag in line.values if known}
        return Seen(line.values, old[-1].values if old else None, beginning, steps, self.facts, self.peaks)

    def verdicts(self) -> list[Verdict]:
        """Those that stand."""
        return [self.standing[name] for name in RULES if name in self.standing]

    def state_dict(self) -> dict[str, Any]:
        return {
            "pending": [list(line) for line in self.pending],
            "lines": [list(line) for line in self.lines],
            "first": [list(line) for line in self.first],
            "streaks": {name: list(streak) for name, streak in self.streaks.items()},
            "peaks": dict(self.peaks),
            "standing": {f"{name}|{verdict.sentence}": verdict.since for name, verdict in self.standing.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if parts := state.keys() ^ self.state_dict().keys():
            raise KeyError(f"the parts of health differ: {sorted(parts)}")
        if names := {*state["streaks"], *(key.split("|")[0] for key in state["standing"])} - RULES.keys():
            raise KeyError(f"health knows no {sorted(names)}")
        self.pending, self.lines, self.first = (
            [Line(start, step, dict(values)) for start, step, values in state[part]]
            for part in ("pending", "lines", "first")
        )
        self.streaks = {name: Streak(*streak) for name, streak in state["streaks"].items()}
        self.peaks = dict(state["peaks"])
        self.standing = {}
        for key, since in state["standing"].items():
            name, sentence = key.split("|", 1)
            self.standing[name] = Verdict(name, RULES[name].alarm, since, sentence)


def steps_needed(rule: Rule, seen: Seen, length: float, recovers: bool) -> float:
    """For how many steps a rule must hold, or not hold, until its verdict changes."""
    if not rule.scaled:
        return rule.steps
    if recovers or has_differed(seen):
        return rule.steps * min(1.0, length / USUAL_LENGTH)
    late = LATE * min(length, USUAL_LENGTH)
    return min(rule.steps, late) if are_copies(seen) else late


def joined(lines: list[Line]) -> Line:
    """One line for several: of each tag the mean over the lines that have it."""
    tags = {tag for line in lines for tag in line.values}
    found = {tag: [line.values[tag] for line in lines if tag in line.values] for tag in sorted(tags)}
    return Line(lines[0].start, lines[-1].step, {tag: sum(values) / len(values) for tag, values in found.items()})
