"""The metric values of a run's networks, with their protocols: `metrics` in summary.json."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from gan_runner.errors import ConfigError
from gan_runner.records.averages import named

SELECTION, REPORT = "validation", "test"  # the splits for the selection of checkpoints, and for reported values
FACTS = ("step", "select_by", "half_life_images")  # of the networks, beside their values by split
NETWORKS = ("best", "last")  # the networks in best.pt, and those at the end of the run


def finite(values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Returns the values for JSON, with None for values that are not finite."""
    return {name: value if value is not None and math.isfinite(value) else None for name, value in values.items()}


def mapping(content: Any) -> dict[str, Any]:
    """Returns `content` if it is a dictionary, else an empty one."""
    return content if isinstance(content, dict) else {}


def value_of(networks: Mapping[str, Any], split: str, name: str) -> Any:
    """Returns a value of the networks, of the average with their half-life if they have one; None: there is none."""
    values = mapping(networks.get(split))
    return values.get(named(name, str(networks.get("half_life_images", ""))), values.get(name))


class Scores:
    """Values of the last and the best networks by split, with the protocol of each value.

    Built from a summary, which may come from an untrusted source: content that should be a mapping and is not counts as
    absent.
    """

    def __init__(self, stored: Any = None):
        # best, last: step, half-life and split -> values; better; protocol: split -> stamps
        self.content = dict(mapping(stored))

    # ---- reading

    def of(self, which: str) -> dict[str, Any]:
        """which: best or last."""
        return mapping(self.content.get(which))

    def step(self, which: str) -> int | None:
        return self.of(which).get("step")

    def splits(self, which: str) -> dict[str, dict[str, Any]]:
        """Returns split -> name -> value."""
        return {split: values for split, values in self.of(which).items() if isinstance(values, dict)}

    def value(self, which: str, split: str, name: str) -> Any:
        """Returns a number, or None if there is no value."""
        return value_of(self.of(which), split, name)

    def has(self, split: str, name: str) -> bool:
        return any(name in mapping(self.of(which).get(split)) for which in NETWORKS)

    def better(self, name: str) -> str | None:
        """Returns "low" or "high", as the metric declares; None if it does not."""
        declared = mapping(self.content.get("better"))
        better = declared.get(name, declared.get(name.partition("/")[0]))
        return better if better in ("low", "high") else None

    def protocols(self) -> dict[str, Any]:
        """Returns split -> name -> protocol."""
        return mapping(self.content.get("protocol"))

    def protocol(self, split: str, name: str) -> dict[str, Any]:
        return mapping(mapping(self.protocols().get(split)).get(name))

    def selected(self) -> Iterator[tuple[str, str, float]]:
        """Yields name, split and value of the metric that selected the best networks, for each split with a value."""
        name = str(self.of("best").get("select_by"))
        for split in (SELECTION, REPORT):
            value = self.value("best", split, name)
            if value is not None:
                yield name, split, value

    def objective(self, name: str, where: object) -> float:
        """Returns the best value of the selection metric on the validation split; where: the run folder."""
        value = self.value("best", SELECTION, name)
        if self.of("best").get("select_by") != name or value is None:
            raise ConfigError(
                f"train.select_by={name} chose nothing in {where}: it was not set when that was trained, or was never "
                f"a number; start it over with train.fresh=true."
            )
        return float(value)

    # ---- writing

    def record(self, which: str, step: int, split: str, values: Mapping[str, float]) -> None:
        """Stores the values of one split; keeps those of other splits if they are of the same step."""
        kept = self.of(which) if self.step(which) == step else {}
        self.content[which] = {**kept, "step": step, split: finite(values)}

    def begin(self, which: str, step: int) -> None:
        """Records that there are networks of `step`, with or without values."""
        self.content[which] = {**self.of(which), "step": step}

    def choose(self, best: Mapping[str, Any] | None) -> None:
        """Sets the best networks, as given by a selection; None: there are none."""
        if best is None:
            self.content.pop("best", None)
        elif self.step("best") != best["step"]:
            self.content["best"] = dict(best)

    def declare(self, better: Mapping[str, str]) -> None:
        self.content["better"] = {**mapping(self.content.get("better")), **better}

    def stamp(self, split: str, protocols: Mapping[str, Any]) -> bool:
        """Adds protocols; returns False if nothing changed."""
        before = mapping(self.protocols().get(split))
        now = {**before, **protocols}
        self.content["protocol"] = {**self.protocols(), split: now}
        return now != before

    def add(self, step: int, split: str, values: Mapping[str, float], protocols: Mapping[str, Any]) -> list[str]:
        """Adds values of the networks at `step`. Returns the names left out because the protocol differs."""
        known = mapping(self.protocols().get(split))
        other = [n for n, stamp in protocols.items() if self.has(split, n) and known.get(n, stamp) != stamp]
        kept = {name: value for name, value in finite(values).items() if name not in other}
        for which in NETWORKS:
            if self.step(which) == step:
                self.content[which] = {**self.of(which), split: {**mapping(self.of(which).get(split)), **kept}}
                self.stamp(split, {name: protocols[name] for name in kept})
        return other
