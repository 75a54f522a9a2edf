"""What runs are sorted by, which way, and by which protocol it came about."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from gan_runner.comparison.records import Record, number
from gan_runner.errors import ConfigError
from gan_runner.records.identity import show
from gan_runner.records.scores import NETWORKS, REPORT, SELECTION

TRAINING_ONLY = ("dataset.labels_per_class", "dataset.flip")  # settings of data that leave the judged images alone


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
        return number(record.scores.value(which, self.split, self.name))

    def protocol(self, record: Record) -> dict[str, str] | None:
        """How the value came about, flat, with the settings of the data unless their hash is known; None: not known."""
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
    """requested: `value`, `value:low` or `value:high`; None: what the runs were trained to select by."""
    name, _, better = (requested or usual(records, notes)).partition(":")
    if better not in ("", "low", "high"):
        raise ConfigError(f"--select {requested} should end in :low or :high, which says what is better.")
    if not name:
        notes.append("no metric was taken: python -m gan_runner.evaluate adds one, --select TAG:low sorts by a tag")
        return None
    if name.startswith("metric/"):  # a metric's tag: metric/fid of the validation split, metric/test/fid
        split = split or (REPORT if name.startswith("metric/test/") else SELECTION)
        name = name.rsplit("/", 1)[-1]
    found = Objective(name, better or direction(name, records), split or reported(name, records))
    if requested and all(found.value(record, which) is None for record in records for which in NETWORKS):
        known = ", ".join(sorted({value for record in records for value in known_values(record)}))
        raise ConfigError(f"--select {name}: no run has it{f' on the {split} split' * bool(split)}; there are {known}.")
    if found.better is None:
        notes.append(f"not ranked: whether {name} is better low or high is not known; say --select {name}:low or :high")
    return found


def usual(records: Sequence[Record], notes: list[str]) -> str:
    """What most runs were trained to select by, else a metric that most of them have."""
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
    """The split whose values are compared: test, where any run has it."""
    return REPORT if any(record.scores.has(REPORT, name) for record in records) else SELECTION


def known_values(record: Record) -> list[str]:
    """Names of metrics, and tags."""
    splits = record.scores.splits("last").values()
    old = {tag.removeprefix("metric/"): 0 for tag in record.last if record.old and tag.startswith("metric/")}
    names = dict.fromkeys(name for values in splits for name in values)
    return [*names, *old, *(tag for tag in record.last if not tag.startswith("metric/"))]


def direction(name: str, records: Sequence[Record]) -> str | None:
    """Low or high, as the metric itself has said."""
    return next((way for record in records if (way := record.scores.better(name))), None)
