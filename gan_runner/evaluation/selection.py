"""The result of an evaluation, and the selection of the best networks so far."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from gan_runner.records.scores import SELECTION, finite

OF_ONE_SPLIT = ("metric/test_error", "metric/validation_error")  # each on its own split, whichever is evaluated


class Evaluation(NamedTuple):
    """The values of one evaluation on one split, with the protocol of each value."""

    split: str
    values: dict[str, float]
    protocols: dict[str, dict[str, Any]]
    pictures: dict[str, tuple[Tensor, int]]  # name -> images and columns of a grid

    def tags(self) -> dict[str, float]:
        """Returns tag -> value for the log; tags of splits other than the validation split contain the split's name."""
        place = "" if self.split == SELECTION else f"{self.split}/"
        plain = {name: f"metric/{name}" for name in self.values}
        return {
            tag if tag in OF_ONE_SPLIT else f"metric/{place}{name}": self.values[name] for name, tag in plain.items()
        }


class Selection:
    """The best evaluation so far by one value, and the number of evaluations since then without improvement."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.by: dict[str, Any] = {}  # the name of the value, and its protocol
        self.best: dict[str, Any] | None = None  # step, and split -> values
        self.evaluated: int | None = None  # the step of the last evaluation
        self.without_gain = 0

    @property
    def step(self) -> int | None:
        return self.best["step"] if self.best is not None else None

    def improves(self, step: int, evaluation: Evaluation, name: str, better: str, counts: bool) -> bool:
        """Adds an evaluation; returns True if it is the best so far.

        better: "low" or "high". counts: True for evaluations at the regular interval, which count towards patience.
        """
        by = {"select_by": name, **evaluation.protocols[name]}
        if by != self.by:  # a value that is not comparable with earlier ones
            self.reset()
            self.by = by
        if step == self.evaluated:  # evaluated again after a resume
            return False
        self.evaluated = step
        sign, split, value = 1 if better == "high" else -1, evaluation.split, evaluation.values[name]
        improved = math.isfinite(value) and (self.best is None or sign * value > sign * self.best[split][name])
        if improved:
            self.best = {"select_by": name, "step": step, split: finite(evaluation.values)}
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
