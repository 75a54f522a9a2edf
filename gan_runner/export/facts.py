"""What a model card reports of a run: scores with the spread over seeds, and the hash of the data."""

from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

from gan_runner.assembly.objects import make_dataset
from gan_runner.comparison.records import Record, number, read
from gan_runner.comparison.rows import Spread, configuration, spread_of
from gan_runner.errors import ConfigError
from gan_runner.records.identity import show
from gan_runner.records.scores import NETWORKS
from gan_runner.records.weights import Weights

MOST_SEEDS = 100  # run folders beside this one that are read


class Score(NamedTuple):
    """A value of the networks that are exported, and those of the same configuration with other seeds."""

    name: str
    split: str
    value: float
    better: str  # low, high or nothing
    protocol: Mapping[str, Any]
    spread: Spread


def ignore(sentence: str) -> None:
    """Leaves out what cannot be read of other runs."""


def record_of(run: Path) -> Record:
    record = read(run, ignore)
    if record is None:
        raise ConfigError(f"{run} is no run folder: its config.yaml cannot be read.")
    return record


def scores_of(record: Record, step: int) -> list[Score]:
    """Returns the scores of the networks at this step."""
    which = next((which for which in NETWORKS if record.scores.step(which) == step), None)
    if which is None:
        return []
    same = seeds_of(record)
    found = []
    for split, values in sorted(record.scores.splits(which).items()):
        for name in sorted(values):
            value = number(values[name])
            if value is not None and isfinite(value):
                found.append(score(record, same, which, split, name, value))
    return found


def score(record: Record, same: list[Record], which: str, split: str, name: str, value: float) -> Score:
    protocol = record.scores.protocol(split, name)
    counted = [each for each in same if show(each.scores.protocol(split, name)) == show(protocol)]
    spread = spread_of(counted, lambda each: number(each.scores.value(which, split, name)))
    better = record.scores.better(name) or ""
    return Score(name, split, value, better, protocol, spread)


def seeds_of(record: Record) -> list[Record]:
    """Returns the completed runs beside this one that differ in the seed alone, this one included."""
    beside = sorted(path for path in record.path.absolute().parent.iterdir() if (path / "config.yaml").is_file())
    others = [read(path, ignore) for path in beside[:MOST_SEEDS] if path.resolve() != record.path.resolve()]
    ours = configuration(record)
    same = [each for each in others if each and each.status == "completed" and configuration(each) == ours]
    by_seed = {each.seed: each for each in (*same, record)}
    return list(by_seed.values())


def data_hash(weights: Weights) -> str | None:
    """Returns a hash of the training images: the stored one, or that of a fixed dataset if it is on this machine."""
    root = weights.config["dataset"].get("root")
    if weights.data is not None or (root is not None and not Path(root).is_dir()):
        return weights.data
    try:
        dataset = make_dataset(weights.config)
    except ConfigError:  # the data are not here
        return None
    return None if dataset.endless else dataset.split("train").fingerprint
