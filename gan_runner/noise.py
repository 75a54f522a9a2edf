"""Random numbers as a pure function of a key, so that a checkpoint does not store the state of generators."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

Draw = Callable[..., Tensor]  # torch.randn or torch.rand


def seed_of(*key: int | str) -> int:
    """Returns a 63-bit hash of a key. (With a sum such as seed + step, different seeds would share noise.)"""
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest(), "big") >> 1


@dataclass(frozen=True)
class Noise:
    """The random numbers of one update: drawn for the whole batch, then cut, so that splitting does not change them.

    A scope always gives the same draw: every call of `noise.scoped("latent").normal(dim)` returns equal tensors.
    """

    key: tuple[int | str, ...]
    size: int  # samples in the whole batch
    device: torch.device
    part: int = 0  # the index of this part among the equal parts of the batch
    parts: int = 1

    def scoped(self, name: str) -> "Noise":
        return replace(self, key=(*self.key, name))

    def split(self, parts: int) -> "list[Noise]":
        return [replace(self, part=part, parts=parts) for part in range(parts)]

    def rows(self, whole: Tensor) -> Tensor:
        """Returns this part of a tensor that was drawn for the whole batch."""
        return whole.chunk(self.parts)[self.part] if self.parts > 1 else whole

    def generator(self) -> torch.Generator:
        return torch.Generator(device=self.device).manual_seed(seed_of(*self.key))

    def drawn(self, draw: Draw, shape: tuple[int, ...], out: Tensor | None = None) -> Tensor:
        """Draws (size, *shape), for the whole batch; all random numbers are drawn here."""
        device = self.device if out is None else out.device
        return draw(self.size, *shape, generator=self.generator(), device=device, out=out)

    def normal(self, *shape: int) -> Tensor:
        """Returns (rows, *shape) from N(0, 1), float32."""
        return self.rows(self.drawn(torch.randn, shape))

    def uniform(self, *shape: int) -> Tensor:
        """Returns (rows, *shape) from U[0, 1), float32."""
        return self.rows(self.drawn(torch.rand, shape))
