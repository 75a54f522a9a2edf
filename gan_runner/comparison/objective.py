"""The objective by which runs are sorted: a value, its direction, and its protocol."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from gan_runner.comparison.records import Record, number
from gan_runner.errors import ConfigError
from gan_runner.records.averages import MAIN, named
from gan_runner.records.identity import show
from gan_runner.records.scores import NETWORKS, REPORT, SELECTION

TRAINING_ONLY = ("dataset.labels_per_class", "dataset.flip")  # settings of data that do not change evaluated images


@dataclass(frozen=True)
class Objective:
    """A value of a metric, or a logged tag, by which runs are sorted."""

    name: str
    better: str | None  # "low" or "high"; None: unknown
    split: str
    is_tag: bool  # whether it is a logged tag, and no value of a metric

    def value(self, record: Record, which: str) -> float | None:
        """Returns the value of a run; None if it has none. which: best or last."""
        if which == "last" and (self.is_tag or record.old):
            return number(record.last.get(self.name if self.is_tag else f"metric/{self.name}"))
        return number(record.scores.value(which, self.split, self.name))

    def of_averages(self, record: Record) -> dict[str, float | None]:
        """Returns the value of the last networks for each average, by its half-life in images; {} for a tag."""
        lives = [] if self.is_tag else record.half_lives
        names = [named(self.name, average) for average in (MAIN, *lives[1:])]
        return {
            half_life: number(record.scores.value("last", self.split, name))
            for half_life, name in zip(lives, names, strict=False)
        }

    def protocol(self, record: Record) -> dict[str, str] | None:
        """Returns the value's protocol, flat, with the data's settings unless it has their hash; None: unknown."""
        data = {k: v for k, v in record.shown.items() if k.startswith("dataset.") and k not in TRAINING_ONLY}
        if self.is_tag:
            return data
        stamp = {key: show(value) for key, value in record.scores.protocol(self.split, self.name).items()}
        return stamp | ({} if "real_hash" in stamp else data) if stamp else None

    def __str__(self) -> str:
        return self.name if self.is_tag else f"{self.name} ({self.split})"


def choose_objective(
    records: Sequence[Record], requested: str | None, split: str | None, notes: list[str]
) -> Objective | None:
    """Returns the objective. requested: `value`, `value:low` or `value:high`; None: the runs' `train.select_by`."""
    name, _, better = (requested or usual(records, notes)).partition(":")
    if better not in ("", "low", "high"):
        raise ConfigError(f"--select {requested} should end in :low or :high, which says what is better.")
    if not name:
        notes.append("no metric was taken: python -m gan_runner.evaluate adds one, --select TAG:low sorts by a tag")
        return None
    if name.startswith("metric/"):  # tag of a metric: metric/fid for the validation split, metric/test/fid for test
        split = split or (REPORT if name.startswith("metric/test/") else SELECTION)
        name = name.removeprefix("metric/").removeprefix(f"{REPORT}/")
    splits = (SELECTION, REPORT, *([split] if split else []))
    is_tag = "/" in name and not any(record.scores.has(each, name) for record in records for each in splits)
    found = Objective(name, better or direction(name, records), split or reported(name, records), is_tag)
    if requested and all(found.value(record, which) is None for record in records for which in NETWORKS):
        known = ", ".join(sorted({value for record in records for value in known_values(record)}))
        raise ConfigError(f"--select {name}: no run has it{f' on the {split} split' * bool(split)}; there are {known}.")
    if found.better is None:
        notes.append(f"not ranked: whether {name} is better low or high is not known; say --select {name}:low or :high")
    return found


def usual(records: Sequence[Record], notes: list[str]) -> str:
    """Returns the value that most runs select by, else the metric that most runs have."""
    selected = Counter(str(by) for record in records if (by := record.flat.get("train.select_by")))
    if selected:
        if len(selected) > 1:
            notes.append(f"the runs select by {' and '.join(sorted(selected))}; --select chooses what to sort by")
        return selected.most_common(1)[0][0]
    taken = Counter(value for record in records for value in known_values(record) if direction(value, records))
    if not taken:
        return ""
    name = taken.most_common(1)[0][0]
    notes.append(f"no run selects by a metric; sorted by {name}, --select chooses another")
    return name


def reported(name: str, records: Sequence[Record]) -> str:
    """Returns the split whose values are compared: test if any run has the value on it, else validation."""
    return REPORT if any(record.scores.has(REPORT, name) for record in records) else SELECTION


def known_values(record: Record) -> list[str]:
    """Returns the names of metrics and tags of a run."""
    splits = record.scores.splits("last").values()
    old = {tag.removeprefix("metric/"): 0 for tag in record.last if record.old and tag.startswith("metric/")}
    names = dict.fromkeys(name for values in splits for name in values)
    return [*names, *old, *(tag for tag in record.last if not tag.startswith("metric/"))]


def direction(name: str, records: Sequence[Record]) -> str | None:
    """Returns "low" or "high", as the metric declared in any run; None if unknown."""
    return next((way for record in records if (way := record.scores.better(name))), None)
