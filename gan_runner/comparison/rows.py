"""Grouping of runs into rows: by configuration, or by the values of some keys."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import pandas as pd

from gan_runner.comparison.objective import Objective
from gan_runner.comparison.records import Record
from gan_runner.errors import ConfigError
from gan_runner.records.groups import DESCRIBING
from gan_runner.records.identity import show
from gan_runner.records.scores import NETWORKS

COLUMNS = tuple(group for group in DESCRIBING if group != "device")  # groups whose choice is a column
MAX_COLUMNS = 12  # columns of settings, at most; further differences are in a second table


class Spread(NamedTuple):
    """Values of several seeds."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return sum(self.values) / len(self.values)

    @property
    def std(self) -> float | None:
        """Sample standard deviation; None for a single value."""
        if len(self.values) < 2:
            return None
        return math.sqrt(sum((value - self.mean) ** 2 for value in self.values) / (len(self.values) - 1))

    def __str__(self) -> str:
        if not self.values:
            return "-"
        if not self.std:
            return f"{self.mean:.4g}"
        digits = max(0, 1 - math.floor(math.log10(self.std)))
        if digits > 5 or max(abs(self.mean), self.std) >= 1e6:
            return f"{self.mean:.4g} ± {self.std:.2g}"
        return f"{self.mean:.{digits}f} ± {self.std:.{digits}f}"


@dataclass
class Row:
    """One configuration with the runs of its seeds."""

    settings: dict[str, str]  # column -> value, for the columns that distinguish rows
    runs: list[Record]
    counted: list[Record]  # the completed runs, over which means are taken
    values: dict[str, Spread]  # best and last -> values of the objective
    protocol: dict[str, str] | None
    averages: dict[str, Spread]  # half-life in images -> values of the objective, if the runs have several averages
    label: str = ""
    part: int = 0  # rows of one part are ranked together
    rank: int | None = None
    against: str = ""  # the result of the comparison with the best row of the part

    def place(self, part: int, rank: int | None, against: str = "") -> None:
        self.part, self.rank, self.against = part, rank, against

    def best_average(self, better: str | None) -> tuple[str, Spread] | None:
        """Returns the half-life with the best mean, and its values; None if there is none or no direction."""
        if not self.averages or better is None:
            return None
        sign = 1 if better == "high" else -1
        return max(self.averages.items(), key=lambda each: sign * each[1].mean)

    def compare(self, against: str) -> None:
        self.against = against

    def name(self, label: str) -> None:
        self.label = label

    def spread(self, read: Callable[[Record], float | None]) -> Spread:
        return spread_of(self.counted or self.runs, read)

    def statuses(self) -> str:
        counts = Counter(run.status for run in self.runs)
        return ", ".join(f"{count} {status}" if len(self.runs) > 1 else status for status, count in counts.items())


def spread_of(records: Iterable[Record], read: Callable[[Record], float | None]) -> Spread:
    return Spread(tuple(value for value in map(read, records) if value is not None))


def grouped(
    records: Sequence[Record], by: Sequence[str]
) -> tuple[list[str], list[tuple[dict[str, str], list[Record]]]]:
    """Returns the columns, and the groups of runs: by their values of `by`, or else by their configuration."""
    for key in by:
        if all(record.setting(key) is None for record in records):
            raise ConfigError(f"--by {key} is no group and no setting of these runs.")
    read = Record.setting if by else in_column
    columns = list(by) or columns_of(records)
    groups: dict[Any, list[Record]] = defaultdict(list)
    for record in records:
        groups[tuple(map(record.setting, by)) if by else configuration(record)].append(record)
    return columns, [({k: shortened(read(runs[0], k) or "-") for k in columns}, runs) for runs in groups.values()]


def in_column(record: Record, key: str) -> str | None:
    """Returns the cell of a run: for a group its recorded choice, never all of its settings."""
    return show(record.hparams[key]) if key in record.hparams else record.shown.get(key)


def configuration(record: Record) -> str:
    """Returns a key for the configuration without the seed."""
    return str(record.shown)


def varying(records: Sequence[Record]) -> list[str]:
    """Returns the settings that differ between the runs' configurations."""
    frame = pd.DataFrame([record.shown for record in records])
    return list(frame.columns[frame.nunique(dropna=False) > 1])


def columns_of(records: Sequence[Record]) -> list[str]:
    """Returns the differing choices of groups, and the differing settings that were typed or vary within equal choices.

    Settings that follow from a choice, as those of a loss, are no columns; they are in the table of differences.
    """
    choices = [group for group in COLUMNS if len({show(record.hparams.get(group, ...)) for record in records}) > 1]
    different, typed = varying(records), {key for record in records for key in record.hparams}
    by_choice: dict[Any, list[Record]] = defaultdict(list)
    for record in records:
        by_choice[tuple(show(record.hparams.get(group)) for group in choices)].append(record)
    within = {key for runs in by_choice.values() for key in varying(runs)}
    return [*choices, *(key for key in different if key in typed or key in within)][:MAX_COLUMNS]


def shortened(value: str) -> str:
    """Returns the name of a class without its modules; other values unchanged."""
    return value.rsplit(".", 1)[-1] if value.startswith(("gan_runner.", "torch.")) else value


def rows_of(settings: dict[str, str], runs: Sequence[Record], objective: Objective | None) -> list[Row]:
    """Returns the row of a group of runs, or several rows if its runs have different protocols."""
    completed = [run for run in runs if run.status == "completed"]
    if objective is None:
        return [Row(settings, list(runs), completed, {}, None, {})]
    parts: dict[Any, list[Record]] = defaultdict(list)
    for run in completed or runs:
        if objective.value(run, "last") is not None or objective.value(run, "best") is not None:
            parts[show(objective.protocol(run))].append(run)
    ordered = sorted(parts.values(), key=len, reverse=True) or [[]]
    rest = [run for run in runs if not any(run in part for part in ordered)]
    rows = []
    for place, part in enumerate(ordered):
        values = {which: spread_of(part, partial(objective.value, which=which)) for which in NETWORKS}
        counted = part if completed else []
        protocol = objective.protocol(part[0]) if part else None
        shown = part + (rest if place == 0 else [])
        rows.append(Row(dict(settings), shown, counted, values, protocol, averages_of(part, objective)))
    return rows


def averages_of(records: Sequence[Record], objective: Objective) -> dict[str, Spread]:
    """Returns half-life -> values of the last networks, for the averages that all of these runs have."""
    spreads: dict[str, Spread] = {}
    for half_life in objective.of_averages(records[0]) if records else ():
        values = [objective.of_averages(record).get(half_life) for record in records]
        known = tuple(value for value in values if value is not None)
        if len(known) == len(records):
            spreads[half_life] = Spread(known)
    return spreads


def name_rows(rows: Sequence[Row], columns: Sequence[str]) -> None:
    """Names rows by the fewest columns that distinguish them, preferring the first; without columns, by the folder."""
    keys = list(columns)
    for key in reversed(columns):
        fewer = [each for each in keys if each != key]
        if fewer and kinds(rows, fewer) == kinds(rows, keys):
            keys = fewer
    short = short_names(columns)
    for row in rows:
        shown = {key: row.settings[key] for key in keys if row.settings[key] != "-"}
        label = " ".join(value if key in COLUMNS else f"{short[key]}={value}" for key, value in shown.items())
        row.name(label or row.runs[0].path.name)
    for label, count in Counter(row.label for row in rows).items():
        if count > 1:
            for place, row in enumerate(row for row in rows if row.label == label):
                row.name(f"{label} #{place + 1}")


def kinds(rows: Sequence[Row], keys: Sequence[str]) -> int:
    """Returns the number of rows that these columns distinguish."""
    return len({tuple(row.settings[key] for key in keys) for row in rows})


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """Returns key -> the shortest end of the dotted key that is unique."""
    ends = {key: [".".join(key.split(".")[-n:]) for n in range(1, key.count(".") + 2)] for key in keys}
    counts = Counter(end for all_ends in ends.values() for end in all_ends)
    return {key: next(end for end in ends[key] if counts[end] == 1 or end == key) for key in keys}
