"""Health verdicts from the log lines of a run: alarms with suggestions, and notes with explanations.

A verdict begins when its rule has held in every line of PERSISTENCE steps or more, and ends when the rule has held in
no line of as many steps. A few first steps or a single noisy line give no verdict.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from gan_runner.health.facts import Facts
from gan_runner.health.rules import PEAKS, PERSISTENCE, READ, RULES, Rule, Seen, are_copies, has_differed

LEAST_LINES = 3  # lines of a verdict at least, one less if a line covers enough steps: one or two may be chance
USUAL_LENGTH = 5000  # steps of the run that PERSISTENCE was chosen for
LATE = 0.5  # share of a run: if samples do not depend on z by then, they will not, or need more steps
SPACING = 50  # minimum steps of a line; shorter lines are joined, since values of single steps are noisy
FIRST_LINES = 3  # lines that define the beginning of a run


class Line(NamedTuple):
    """Means over the steps after `start` up to `step`."""

    start: int
    step: int
    values: dict[str, float]


@dataclass(frozen=True)
class Verdict:
    """A verdict that begins, or that is over."""

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
    """Consecutive lines in which a rule contradicts the present state of its verdict."""

    start: int
    lines: int


class Health:
    """Judges every log line and returns the verdicts that change. Keeps the lines of the last PERSISTENCE steps."""

    def __init__(self, facts: Facts):
        self.facts = facts
        self.pending: list[Line] = []  # lines that cover fewer than SPACING steps together
        self.lines: list[Line] = []
        self.first: list[Line] = []
        self.streaks: dict[str, Streak] = {}
        self.standing: dict[str, Verdict] = {}
        self.peaks: dict[str, float] = {}

    def judge(self, step: int, values: Mapping[str, float], length: float = USUAL_LENGTH) -> list[Verdict]:
        """Returns the verdicts that begin or end at the log line of this step. length: estimated steps of the run."""
        start = (self.pending or self.lines or [Line(0, 0, {})])[-1].step
        known = {tag: value for tag, value in values.items() if tag.startswith(READ) and math.isfinite(value)}
        self.pending.append(Line(start, step, known))
        line = joined(self.pending)
        if line.step - line.start < SPACING:
            return []
        self.pending = []
        self.first += [line] if len(self.first) < FIRST_LINES else []
        self.peaks |= {tag: max(self.peaks.get(tag, 0.0), line.values[tag]) for tag in PEAKS if tag in line.values}
        seen = self.seen(line)
        changed = [self.decide(name, line, seen, length) for name in RULES]
        self.lines = [kept for kept in [*self.lines, line] if kept.step > step - PERSISTENCE - SPACING]
        return [verdict for verdict in changed if verdict is not None]

    def conclude(self, step: int, values: Mapping[str, float]) -> None:
        """Adds the verdict `collapse` at the end of a run if its rule holds then, for any number of steps and lines."""
        line = Line(step, step, {tag: value for tag, value in values.items() if math.isfinite(value)})
        sentence = RULES["collapse"].check(self.seen(line))
        if sentence is not None and "collapse" not in self.standing:
            self.standing["collapse"] = Verdict("collapse", True, step, sentence)

    def decide(self, name: str, line: Line, seen: Seen, length: float) -> Verdict | None:
        """Applies a rule to one line; returns its verdict if it begins or ends, that is, after a long enough streak."""
        streak = self.streaks.get(name, Streak(line.start, 0))
        seen = seen._replace(steps=line.step - streak.start)
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
        assert standing is not None  # the rule does not hold, so a verdict that is over exists
        del self.standing[name]
        return Verdict(name, standing.alarm, standing.since, standing.sentence, over=True)

    def seen(self, line: Line) -> Seen:
        old = [kept for kept in self.lines if kept.step <= line.step - PERSISTENCE]
        known = self.first if len(self.first) == FIRST_LINES else []
        beginning = {tag: max(first.values.get(tag, 0.0) for first in known) for tag in line.values if known}
        return Seen(line.values, old[-1].values if old else None, beginning, 0, self.facts, self.peaks)

    def verdicts(self) -> list[Verdict]:
        """Returns the verdicts that have begun and are not over."""
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
    """Returns the number of steps for which a rule must hold, or not hold, until its verdict changes."""
    if not rule.scaled:
        return rule.steps
    if recovers or has_differed(seen):
        return rule.steps * min(1.0, length / USUAL_LENGTH)
    late = LATE * min(length, USUAL_LENGTH)
    return min(rule.steps, late) if are_copies(seen) else late


def joined(lines: list[Line]) -> Line:
    """Joins lines into one: the value of each tag is its mean over the lines that have the tag."""
    tags = {tag for line in lines for tag in line.values}
    found = {tag: [line.values[tag] for line in lines if tag in line.values] for tag in sorted(tags)}
    return Line(lines[0].start, lines[-1].step, {tag: sum(values) / len(values) for tag, values in found.items()})
