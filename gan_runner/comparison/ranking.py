"""Which configuration is better, and how surely: only where protocols are alike, and by the spread of seeds."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gan_runner.comparison.records import Record, mapping, number
from gan_runner.errors import ConfigError
from gan_runner.folder import show

CHOICES = ("model", "loss", "dataset", "augment", "optimizer", "experiment")  # groups whose choice is a column
BETTER = {
    **dict.fromkeys(("fid", "kid", "mifid", "intra_fid", "reverse_kl", "total_variation"), "low"),
    **dict.fromkeys(("test_error", "validation_error", "discriminator_gap_share"), "low"),
    **dict.fromkeys(("sliced_wasserstein", "sliced_wasserstein_pyramid"), "low"),
    **dict.fromkeys(("inception_score", "score", "precision", "recall", "density", "coverage"), "high"),
    **dict.fromkeys(("parzen", "modes", "high_quality", "conditional_agreement", "linear_probe"), "high"),
}
FEATURES = ("classifier_", "pixel_", "inception_", "vgg16_", "clip_", "dinov2_")  # that a value is named after
TRAINING_ONLY = ("dataset.labels_per_class", "dataset.flip")  # settings of data that leave the judged images alone
SIGNIFICANT = 0.05
MOST_TOLD = 8  # rows in one sentence
FEWEST = 3  # seeds, below which a test says nothing


class Spread(NamedTuple):
    """Values of several seeds."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return sum(self.values) / len(self.values)

    @property
    def std(self) -> float | None:
        """Of a sample; None of a single value."""
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


@dataclass(frozen=True)
class Objective:
    """A value of a metric, or a tag, that runs are sorted by."""

    name: str
    better: str | None  # "low" or "high"; None: not known
    split: str

    @property
    def is_tag(self) -> bool:
        return "/" in self.name

    def value(self, record: Record, which: str) -> float | None:
        """which: best or last."""
        if which == "last" and (self.is_tag or record.old):
            return number(record.last.get(self.name if self.is_tag else f"metric/{self.name}"))
        return number(mapping(mapping(record.judged.get(which)).get(self.split)).get(self.name))

    def protocol(self, record: Record) -> dict[str, str] | None:
        """How the value came about, flat, with the data it was judged on; None where that is not known."""
        data = {k: v for k, v in record.shown.items() if k.startswith("dataset.") and k not in TRAINING_ONLY}
        if self.is_tag:
            return data
        stamp = mapping(mapping(mapping(record.judged.get("protocol")).get(self.split)).get(self.name))
        return {key: show(value) for key, value in stamp.items()} | data if stamp else None

    def __str__(self) -> str:
        return self.name if self.is_tag else f"{self.name} ({self.split})"


@dataclass
class Row:
    """One configuration, its seeds within."""

    settings: dict[str, str]  # the columns that tell it from others
    runs: list[Record]
    counted: list[Record]  # of which means are taken: the completed ones
    values: dict[str, Spread]  # best and last
    protocol: dict[str, str] | None
    label: str = ""
    part: int = 0  # rows of one part are ranked together
    rank: int | None = None
    against: str = ""  # the best of the part

    def spread(self, read: Callable[[Record], float | None]) -> Spread:
        return spread_of(self.counted or self.runs, read)

    def statuses(self) -> str:
        counts = Counter(run.status for run in self.runs)
        return ", ".join(f"{count} {status}" if len(self.runs) > 1 else status for status, count in counts.items())


@dataclass
class Comparison:
    """What the pages show."""

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


def spread_of(records: Iterable[Record], read: Callable[[Record], float | None]) -> Spread:
    return Spread(tuple(value for value in map(read, records) if value is not None))


# ---- what is sorted by


def choose_objective(
    records: Sequence[Record], asked: str | None, split: str | None, notes: list[str]
) -> Objective | None:
    name, _, better = (asked or "").partition(":")
    if better not in ("", "low", "high"):
        raise ConfigError(f"--select {asked} should end in :low or :high, which says what is better.")
    name = name or usual(records, notes)
    if not name:
        notes.append("no metric was taken: python -m gan_runner.evaluate adds one, --select TAG:low sorts by a tag")
        return None
    splits = {
        s for r in records for w in ("best", "last") for s, v in mapping(r.judged.get(w)).items() if name in mapping(v)
    }
    chosen = split or next((each for each in ("test", "validation") if each in splits), "validation")
    found = Objective(name, better or direction(name), chosen)
    if asked and all(found.value(record, which) is None for record in records for which in ("best", "last")):
        known = ", ".join(sorted({value for record in records for value in known_values(record)}))
        raise ConfigError(f"--select {name}: no run has it{f' on the {split} split' * bool(split)}; there are {known}.")
    if found.better is None:
        notes.append(f"not ranked: whether {name} is better low or high is not known; say --select {name}:low or :high")
    return found


def usual(records: Sequence[Record], notes: list[str]) -> str:
    """What the runs were trained to select by, else a metric that most of them have."""
    selected = Counter(str(by) for record in records if (by := record.flat.get("train.select_by")))
    if len(selected) > 1:
        notes.append(f"the runs select by {' and '.join(sorted(selected))}; --select chooses what to sort by")
    taken = Counter(v for r in records for v in known_values(r) if direction(v) and "/" not in v)
    if not selected and taken:
        notes.append(
            f"no run selects by a metric; sorted by {max(taken, key=lambda v: taken[v])}, --select chooses another"
        )
    return max(selected or taken, key=lambda value: (selected or taken)[value], default="")


def known_values(record: Record) -> list[str]:
    """Names of metrics, and tags."""
    splits = mapping(record.judged.get("last")).values()
    old = {tag.removeprefix("metric/"): 0 for tag in record.last if record.old and tag.startswith("metric/")}
    names = dict.fromkeys(name for values in splits for name in mapping(values))
    return [*names, *old, *(tag for tag in record.last if not tag.startswith("metric/"))]


def direction(name: str) -> str | None:
    """As the metric itself has it, whatever features it looks at."""
    bare = next((name.removeprefix(features) for features in FEATURES if name.startswith(features)), name)
    return BETTER.get(name) or BETTER.get(bare)


# ---- rows


def compare(
    records: Sequence[Record], by: Sequence[str] = (), select: str | None = None, split: str | None = None
) -> Comparison:
    """by: keys whose values make a row; none: every configuration is one, whatever its seeds."""
    notes: list[str] = []
    objective = choose_objective(records, select, split, notes)
    columns, groups = grouped(records, by)
    rows = [row for settings, runs in groups for row in rows_of(settings, runs, objective)]
    found = Comparison(list(records), objective, columns, rows, notes=notes)
    name_rows(found)
    rank(found)
    note_lengths(found)
    if by:
        note_pools(found)
    return found


def grouped(
    records: Sequence[Record], by: Sequence[str]
) -> tuple[list[str], list[tuple[dict[str, str], list[Record]]]]:
    """Columns, and runs by their values in them."""
    if by:
        keys = list(by)
        groups: dict[Any, list[Record]] = defaultdict(list)
        for record in records:
            groups[tuple(record.setting(key) for key in keys)].append(record)
        for key in keys:
            if all(record.setting(key) is None for record in records):
                raise ConfigError(f"--by {key} is no group and no setting of these runs.")
    else:
        keys = columns_of(records)
        groups = defaultdict(list)
        for record in records:
            groups[configuration(record)].append(record)
    told = [({key: shortened(runs[0].setting(key) or "-") for key in keys}, runs) for runs in groups.values()]
    return keys, told


def shortened(value: str) -> str:
    """A class without its modules."""
    return value.rsplit(".", 1)[-1] if value.startswith(("gan_runner.", "torch.")) else value


def configuration(record: Record) -> str:
    """All but the seed."""
    return str(record.shown)


def varying(records: Sequence[Record]) -> list[str]:
    """Settings that differ between configurations."""
    keys = dict.fromkeys(key for record in records for key in record.shown)
    return [key for key in keys if len({record.shown.get(key) for record in records}) > 1]


def all_that_varies(found: Comparison) -> list[str]:
    """Settings, where the columns of the table are not all of them."""
    keys = varying(found.records)
    return [] if set(keys) <= set(found.columns) else keys


def columns_of(records: Sequence[Record]) -> list[str]:
    """The choices of groups that differ, what was typed, and what differs within equal choices.

    A loss brings other settings with it; what follows from a choice is told where all differences are.
    """
    choices = [group for group in CHOICES if len({show(record.hparams.get(group, ...)) for record in records}) > 1]
    different, typed = varying(records), {key for record in records for key in record.hparams}
    by_choice: dict[Any, list[Record]] = defaultdict(list)
    for record in records:
        by_choice[tuple(show(record.hparams.get(group)) for group in choices)].append(record)
    within = {key for runs in by_choice.values() for key in varying(runs)}
    return choices + [key for key in different if key in typed or key in within]


def rows_of(settings: dict[str, str], runs: Sequence[Record], objective: Objective | None) -> list[Row]:
    """One row; several where seeds were judged by unlike protocols."""
    completed = [run for run in runs if run.status == "completed"]
    if objective is None:
        return [Row(settings, list(runs), completed, {}, None)]
    parts: dict[Any, list[Record]] = defaultdict(list)
    for run in completed or runs:
        if objective.value(run, "last") is not None or objective.value(run, "best") is not None:
            parts[show(objective.protocol(run))].append(run)
    ordered = sorted(parts.values(), key=len, reverse=True) or [[]]
    rest = [run for run in runs if not any(run in part for part in ordered)]
    rows = []
    for number_, part in enumerate(ordered):
        values = {which: spread_of(part, lambda run, w=which: objective.value(run, w)) for which in ("best", "last")}  # type: ignore[misc]
        counted = part if completed else []
        protocol = objective.protocol(part[0]) if part else None
        rows.append(Row(dict(settings), part + (rest if number_ == 0 else []), counted, values, protocol))
    return rows


def name_rows(found: Comparison) -> None:
    """By as few columns as tell rows apart, the first before the last; without columns by the folder."""
    keys = list(found.columns)
    for key in reversed(found.columns):
        fewer = [each for each in keys if each != key]
        if fewer and kinds(found.rows, fewer) == kinds(found.rows, keys):
            keys = fewer
    short = short_names(found.columns)
    for row in found.rows:
        told = {key: row.settings[key] for key in keys if row.settings[key] != "-"}
        row.label = " ".join(value if key in CHOICES else f"{short[key]}={value}" for key, value in told.items())
        row.label = row.label or row.runs[0].path.name
    for label, count in Counter(row.label for row in found.rows).items():
        if count > 1:
            for number_, row in enumerate(row for row in found.rows if row.label == label):
                row.label = f"{label} #{number_ + 1}"


def kinds(rows: Sequence[Row], keys: Sequence[str]) -> int:
    """How many rows these columns tell apart."""
    return len({tuple(row.settings[key] for key in keys) for row in rows})


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """The end of a dotted key that no other key has."""
    ends = {key: [".".join(key.split(".")[-n:]) for n in range(1, key.count(".") + 2)] for key in keys}
    counts = Counter(end for all_ends in ends.values() for end in all_ends)
    return {key: next(end for end in ends[key] if counts[end] == 1 or end == key) for key in keys}


# ---- ranks


def rank(found: Comparison) -> None:
    """Sorts rows, those with the same protocol together."""
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
            row.part, row.rank = part, place + 1
        found.sorted_by[part] = which
        judge(rows, which)
        ordered += rows
    rest = [row for row in found.rows if row.rank is None]
    for row in rest:
        row.part = len(parts)
        row.against = "" if objective is None else why_not(row, objective)
    found.rows = ordered + rest


def why_not(row: Row, objective: Objective) -> str:
    if not any(run.status == "completed" for run in row.runs):
        return "no run is completed"
    if not any(row.values[which].values for which in ("best", "last")):
        return f"has no {objective}"
    if row.protocol is None:
        return "protocol not known"
    return "not ranked"


def judge(rows: Sequence[Row], which: str) -> None:
    """Each row against the first: Welch's t-test, corrected by Holm for the number of comparisons."""
    first, *others = rows
    first.against = "best" if others else ""
    tested: dict[int, float] = {}
    for place, row in enumerate(others):
        fewest = min(len(each.values[which].values) for each in (first, row))
        if fewest < FEWEST:
            row.against = f"n = {fewest}: nothing can be said" if fewest == 1 else f"n = {fewest}: too few to say"
            continue
        found = welch(first.values[which].values, row.values[which].values)
        if found is None:
            row.against = "no spread between seeds: nothing can be said"
        else:
            tested[place] = found
    highest = 0.0
    for done, place in enumerate(sorted(tested, key=lambda each: tested[each])):
        highest = min(1.0, max(highest, tested[place] * (len(tested) - done)))
        sure = highest < SIGNIFICANT
        others[place].against = f"worse (p={p_text(highest)})" if sure else f"within spread (p={p_text(highest)})"


def p_text(p: float) -> str:
    return f"{p:.1g}" if p < 0.01 else f"{p:.2f}"


def welch(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Two-sided p of Welch's t-test (1947); None where neither has any spread."""
    from scipy.special import stdtr

    a, b = Spread(tuple(one)), Spread(tuple(other))
    parts = [(each.std or 0.0) ** 2 / len(each.values) for each in (a, b)]
    error = sum(parts)
    if error == 0:
        return None
    freedom = error**2 / sum(part**2 / (len(each.values) - 1) for part, each in zip(parts, (a, b), strict=True))
    return float(2 * stdtr(freedom, -abs(a.mean - b.mean) / math.sqrt(error)))


# ---- what must be known beside the table


def unlike(found: Comparison) -> list[str]:
    """Why the parts of the table are not ranked together: the keys of the protocol that differ."""
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
    """The last column in words."""
    said = []
    for first, *others in found.parts():
        if first.rank is None or not others:
            continue
        kinds = ("worse", "within", ("n =", "no spread"))
        worse, within, few = ([row.label for row in others if row.against.startswith(kind)] for kind in kinds)
        if worse:
            said.append(f"worse than {first.label} beyond the spread of the seeds: {some(worse)}")
        if within:
            said.append(f"the difference from {first.label} is within the spread of the seeds: {some(within)}")
        if few:
            said.append(f"too few seeds to say anything of the difference from {first.label}: {some(few)}")
        if tests := len(worse + within):
            count = f"{tests} comparison{'s' * (tests > 1)}"
            said.append(f"by Welch's t-test at {SIGNIFICANT}, with Holm's correction for {count}")
    return said


def some(labels: Sequence[str]) -> str:
    rest = len(labels) - MOST_TOLD
    return ", ".join(labels[:MOST_TOLD]) + (f" and {rest} more" if rest > 0 else "")
