"""Means of statistics over the steps between two log lines, summed on the device and read once."""

import itertools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gan_runner.protocols import Stats

WAITING = 50  # steps at most whose statistics wait for their addition


class Meter:
    """Sums statistics on the device: one vector of sums per set of tags.

    The additions of several steps are made at once, since after a step its data fill the processor's caches. The
    tensors must not be changed in place meanwhile.
    """

    def __init__(self) -> None:
        self.waiting: list[Stats] = []
        self.sums: dict[tuple[str, ...], Tensor] = {}
        self.counts: dict[tuple[str, ...], int] = {}

    def add(self, stats: Stats) -> None:
        self.waiting.append(stats)
        if len(self.waiting) == WAITING:
            self.sum_up()

    def sum_up(self) -> None:
        """Adds step by step, so that the last bits do not depend on how many steps wait."""
        for tags, group in itertools.groupby(self.waiting, key=tuple):
            values = torch.stack([value for stats in group for value in stats.values()]).float()
            rows = values.view(-1, len(tags)).unbind()
            total = self.sums[tags] + rows[0] if tags in self.sums else rows[0].clone()
            for row in rows[1:]:
                total.add_(row)
            self.sums[tags], self.counts[tags] = total, self.counts.get(tags, 0) + len(rows)
        self.waiting.clear()

    def read(self) -> dict[str, float]:
        """Returns tag -> mean since the last reset. The host waits for the device here."""
        self.sum_up()
        totals: dict[str, float] = {}
        counts: dict[str, int] = {}
        for tags, sums in self.sums.items():
            for tag, value in zip(tags, sums.tolist(), strict=True):
                totals[tag] = totals.get(tag, 0.0) + value
                counts[tag] = counts.get(tag, 0) + self.counts[tags]
        return {tag: total / counts[tag] for tag, total in totals.items()}

    def reset(self) -> None:
        self.waiting.clear()
        self.sums.clear()
        self.counts.clear()

    def state_dict(self) -> dict[str, Any]:
        self.sum_up()
        return {"|".join(tags): [self.counts[tags], sums] for tags, sums in self.sums.items()}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        self.reset()
        for key, (count, sums) in state.items():
            tags = tuple(key.split("|"))
            self.counts[tags], self.sums[tags] = count, sums.to(device)
