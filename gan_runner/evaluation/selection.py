"""The result of an evaluation, and the selection of the best networks so far."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from gan_runner.records.averages import named
from gan_runner.records.scores import SELECTION, finite, value_of

OF_ONE_SPLIT = ("test_error", "validation_error")  # each on its own split, whichever is evaluated


class Evaluation(NamedTuple):
    """The values of one evaluation on one split, with the protocol of each value."""

    split: str
    values: dict[str, float]
    protocols: dict[str, dict[str, Any]]
    pictures: dict[str, tuple[Tensor, int]]  # name -> images and columns of a grid
    half_lives: Sequence[str] = ()  # of several averages, the main one first

    def tags(self) -> dict[str, float]:
        """Returns tag -> value for the log; tags of splits other than the validation split contain the split's name."""
        place = "" if self.split == SELECTION else f"{self.split}/"
        return {f"metric/{'' if is_of_one_split(name) else place}{name}": value for name, value in self.values.items()}

    def joined(self, average: str, other: "Evaluation") -> "Evaluation":
        """Returns the values of both; those of `other` are of this average."""
        values = self.values | {named(name, average): value for name, value in other.values.items()}
        protocols = self.protocols | {named(name, average): stamp for name, stamp in other.protocols.items()}
        return self._replace(values=values, protocols=protocols)


def is_of_one_split(name: str) -> bool:
    return name.partition("/")[0] in OF_ONE_SPLIT


class Selection:
    """The best evaluation so far by one value, and the number of evaluations since then without improvement."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.by: dict[str, Any] = {}  # the name of the value, and its protocol
        self.best: dict[str, Any] | None = None  # step, half-life if there are several, and split -> values
        self.evaluated: int | None = None  # the step of the last evaluation
        self.without_gain = 0

    @property
    def step(self) -> int | None:
        return self.best["step"] if self.best is not None else None

    def improves(self, step: int, evaluation: Evaluation, name: str, better: str, counts: bool) -> bool:
        """Adds an evaluation; returns True if it is the best so far, by any of the averages.

        better: "low" or "high". counts: True for evaluations at the regular interval, which count towards patience.
        """
        by = {"select_by": name, **evaluation.protocols[name]}
        if by != self.by:  # a value that is not comparable with earlier ones
            self.reset()
            self.by = by
        if step == self.evaluated:  # evaluated again after a resume
            return False
        self.evaluated = step
        sign, split = 1 if better == "high" else -1, evaluation.split

        def score(networks: Mapping[str, Any]) -> float:
            value = value_of(networks, split, name)
            return -math.inf if value is None else sign * value

        averages = [{"half_life_images": each} for each in evaluation.half_lives] or [{}]
        candidates = [{"select_by": name, "step": step, **each, split: finite(evaluation.values)} for each in averages]
        best = max(candidates, key=score)
        improved = score(best) > (-math.inf if self.best is None else score(self.best))
        if improved:
            self.best = best
            self.without_gain = 0
        else:
            self.without_gain += counts
        return improved

    def state_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state.keys() != vars(self).keys():
            raise KeyError(f"a selection has {sorted(vars(self))}, this one {sorted(state)}")
        vars(self).update(state)
