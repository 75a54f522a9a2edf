"""Self-attention over the positions of a map, and its insertion into a network."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gan_runner.errors import require
from gan_runner.model.layers import glorot


class SelfAttention(nn.Module):
    """x + gamma W_out(softmax(query^T key) value), the softmax over all positions (Zhang et al. 2019, SAGAN).

    1x1 convolutions to C/8 channels (queries, keys) and C/2 (values), and back to C. gamma is learned, initially 0.
    """

    def __init__(self, channels: int):
        super().__init__()
        narrow, half = max(1, channels // 8), max(1, channels // 2)
        self.query = glorot(nn.Conv2d(channels, narrow, 1, bias=False))
        self.key = glorot(nn.Conv2d(channels, narrow, 1, bias=False))
        self.value = glorot(nn.Conv2d(channels, half, 1, bias=False))
        self.out = glorot(nn.Conv2d(half, channels, 1, bias=False))
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (layer(x).flatten(2) for layer in (self.query, self.key, self.value))
        # no fused kernels: these have no second derivative, which gradient penalties need
        shares = torch.softmax(query.transpose(1, 2) @ key, dim=2)  # (B, positions, positions), each row sums to 1
        found = (value @ shares.transpose(1, 2)).unflatten(2, x.shape[2:])
        y: Tensor = x + self.gamma * self.out(found)
        return y


class Stage(NamedTuple):
    """Layers whose output is maps (B, channels, side, side)."""

    side: int
    channels: int
    layers: Sequence[nn.Module]


def in_order(stages: Sequence[Stage], attention: int | None) -> list[nn.Module]:
    """Returns the layers of all stages, with self-attention after the first stage with maps of side `attention`."""
    sides = [stage.side for stage in stages]
    require(
        attention is None or attention in sides,
        f"attention={attention} is the side of no maps of this network; there are "
        f"{', '.join(map(str, sorted(set(sides)))) or 'none'}, and null for no attention",
    )
    layers = [layer for stage in stages for layer in stage.layers]
    if attention is not None:
        before = stages[: sides.index(attention) + 1]
        layers.insert(sum(len(stage.layers) for stage in before), SelfAttention(before[-1].channels))
    return layers
