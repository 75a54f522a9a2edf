"""Ranking of rows, with tests of significance by the spread of the seeds, among rows of equal protocols."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from gan_runner.comparison.objective import Objective, choose_objective
from gan_runner.comparison.records import Record
from gan_runner.comparison.rows import Row, Spread, configuration, grouped, name_rows, rows_of, varying
from gan_runner.records.identity import show
from gan_runner.records.scores import NETWORKS

SIGNIFICANT = 0.05
MAX_NAMES = 8  # names, at most, in one sentence
FEWEST = 3  # seeds, at least, for a test


@dataclass
class Comparison:
    """The content of the table and of the page."""

    records: list[Record]
    objective: Objective | None
    columns: list[str]
    rows: list[Row]
    sorted_by: dict[int, str] = field(default_factory=dict)  # part -> best or last
    notes: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        runs, rows = len(self.records), len(self.rows)
        return f"{runs} run{'s' * (runs != 1)} in {rows} row{'s' * (rows != 1)}"

    def parts(self) -> list[list[Row]]:
        return [[row for row in self.rows if row.part == part] for part in sorted({row.part for row in self.rows})]


def compare(
    records: Sequence[Record], by: Sequence[str] = (), select: str | None = None, split: str | None = None
) -> Comparison:
    """Returns the comparison. by: keys whose equal values form a row; none: a row for each configuration, all seeds."""
    notes: list[str] = []
    objective = choose_objective(records, select, split, notes)
    columns, groups = grouped(records, by)
    rows = [row for settings, runs in groups for row in rows_of(settings, runs, objective)]
    found = Comparison(list(records), objective, columns, rows, notes=notes)
    name_rows(rows, columns)
    rank(found)
    note_lengths(found)
    if by:
        note_pools(found)
    return found


def rank(found: Comparison) -> None:
    """Sorts and ranks the rows within each part, a part being the rows with the same protocol."""
    objective = found.objective
    able = [row for row in found.rows if row.counted and row.protocol is not None and objective and objective.better]
    by_protocol: dict[str, list[Row]] = defaultdict(list)
    for row in able:
        by_protocol[show(row.protocol)].append(row)
    parts = sorted(by_protocol.values(), key=lambda rows: -sum(len(row.counted) for row in rows))
    ordered: list[Row] = []
    for part, rows in enumerate(parts):
        which = "best" if all(len(row.values["best"].values) == len(row.counted) for row in rows) else "last"
        rows = [row for row in rows if row.values[which].values]
        if not rows:
            continue
        sign = -1 if objective and objective.better == "high" else 1
        rows.sort(key=lambda row: sign * row.values[which].mean)
        for place, row in enumerate(rows):
            row.place(part, place + 1)
        found.sorted_by[part] = which
        compare_with_first(rows, which)
        ordered += rows
    rest = [row for row in found.rows if row.rank is None]
    for row in rest:
        row.place(len(parts), None, "" if objective is None else reason_not_ranked(row, objective))
    found.rows[:] = ordered + rest


def reason_not_ranked(row: Row, objective: Objective) -> str:
    if not any(run.status == "completed" for run in row.runs):
        return "no run is completed"
    if not any(row.values[which].values for which in NETWORKS):
        return f"has no {objective}"
    if row.protocol is None:
        return "protocol not known"
    return "not ranked"


def compare_with_first(rows: Sequence[Row], which: str) -> None:
    """Compares each row with the first by Welch's t-test, with Holm's correction for the number of comparisons."""
    first, *others = rows
    first.compare("best" if others else "")
    tested: dict[int, float] = {}
    for place, row in enumerate(others):
        fewest = min(len(each.values[which].values) for each in (first, row))
        if fewest < FEWEST:
            row.compare(f"n = {fewest}: no conclusion" if fewest == 1 else f"n = {fewest}: too few to say")
            continue
        found = welch(first.values[which].values, row.values[which].values)
        if found is None:
            row.compare("no spread between seeds: no conclusion")
        else:
            tested[place] = found
    highest = 0.0
    for done, place in enumerate(sorted(tested, key=lambda each: tested[each])):
        highest = min(1.0, max(highest, tested[place] * (len(tested) - done)))
        sure = highest < SIGNIFICANT
        others[place].compare(f"worse (p={p_text(highest)})" if sure else f"within spread (p={p_text(highest)})")


def p_text(p: float) -> str:
    return f"{p:.1g}" if p < 0.01 else f"{p:.2f}"


def welch(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Two-sided p of Welch's t-test (1947); None if neither sample has any spread."""
    from scipy.stats import ttest_ind  # imported here, since it takes half a second

    if not (Spread(tuple(one)).std or Spread(tuple(other)).std):
        return None
    return float(ttest_ind(one, other, equal_var=False).pvalue)


# ---- notes on the table


def all_that_varies(found: Comparison) -> list[str]:
    """Returns all settings that vary; [] if the columns of the table show all of them."""
    keys = varying(found.records)
    return [] if set(keys) <= set(found.columns) else keys


def unlike(found: Comparison) -> list[str]:
    """Returns the keys of the protocol that differ between the parts of the table, with their values."""
    ranked = [rows[0].protocol or {} for rows in found.parts() if rows[0].rank is not None]
    keys = dict.fromkeys(key for protocol in ranked for key in protocol)
    return [
        f"{key}: {', '.join(protocol.get(key, '-') for protocol in ranked)}"
        for key in keys
        if len({protocol.get(key) for protocol in ranked}) > 1
    ]


def note_lengths(found: Comparison) -> None:
    ranked = [row for row in found.rows if row.rank is not None]
    images = [value for row in ranked for value in row.spread(lambda run: run.number("images")).values]
    if images and min(images) < max(images):
        found.notes.append(f"the runs are not of one length: {min(images):,.0f} to {max(images):,.0f} images")


def note_pools(found: Comparison) -> None:
    pooled = {row.label: len({configuration(run) for run in row.runs}) for row in found.rows}
    many = [f"{label} ({count})" for label, count in pooled.items() if count > 1]
    if many:
        found.notes.append(
            f"rows that pool several configurations, whose spread is not of seeds alone: {', '.join(many)}"
        )


def conclusions(found: Comparison) -> list[str]:
    """Returns sentences that summarise the last column."""
    sentences = []
    for first, *others in found.parts():
        if first.rank is None or not others:
            continue
        kinds = ("worse", "within", ("n =", "no spread"))
        worse, within, few = ([row.label for row in others if row.against.startswith(kind)] for kind in kinds)
        if worse:
            sentences.append(f"worse than {first.label} beyond the spread of the seeds: {some(worse)}")
        if within:
            sentences.append(f"the difference from {first.label} is within the spread of the seeds: {some(within)}")
        if few:
            sentences.append(f"too few seeds to judge the difference from {first.label}: {some(few)}")
        if tests := len(worse + within):
            count = f"{tests} comparison{'s' * (tests > 1)}"
            sentences.append(f"by Welch's t-test at {SIGNIFICANT}, with Holm's correction for {count}")
    return sentences


def some(labels: Sequence[str]) -> str:
    rest = len(labels) - MAX_NAMES
    return ", ".join(labels[:MAX_NAMES]) + (f" and {rest} more" if rest > 0 else "")
