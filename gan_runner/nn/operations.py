"""Operations of a computation: those of matrix products and convolutions, a multiply-add counted as two."""

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count
from torch.utils.module_tracker import ModuleTracker


def counting() -> FlopCounterMode:
    """Counts the operations of what is computed within it."""
    return Counter()


class Counter(FlopCounterMode):
    def __init__(self) -> None:
        formulas = {torch.ops.aten.convolution_backward: of_convolution_backward}
        super().__init__(display=False, custom_mapping=formulas)
        self.mod_tracker = Untracked()


class Untracked(ModuleTracker):
    """The counter's tracking of modules, off: its hooks refuse autograd.grad to a leaf, as gradient penalties do it."""

    def __enter__(self) -> "Untracked":
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing was hooked."""


def of_convolution_backward(grad: Any, x: Any, weight: Any, *rest: Any, out_shape: Any) -> int:
    """Each gradient costs a forward. (Torch 2.15 forgets the groups of a convolution in that of the weight.)"""
    *_, transposed, _padding, _groups, wanted = rest
    return int(sum(wanted[:2]) * conv_flop_count(x, weight, grad, transposed))
