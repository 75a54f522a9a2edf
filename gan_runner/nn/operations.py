"""Counts the operations of matrix products and convolutions; a multiply-add counts as two."""

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count
from torch.utils.module_tracker import ModuleTracker


def counting() -> FlopCounterMode:
    """Returns a context that counts the operations of the computations inside it."""
    return Counter()


class Counter(FlopCounterMode):
    def __init__(self) -> None:
        formulas = {torch.ops.aten.convolution_backward: of_convolution_backward}
        super().__init__(display=False, custom_mapping=formulas)
        self.mod_tracker = Untracked()


class Untracked(ModuleTracker):
    """Switches off module tracking, whose hooks raise in autograd.grad of a leaf, as used by gradient penalties."""

    def __enter__(self) -> "Untracked":
        return self

    def __exit__(self, *error: object) -> None:
        """Does nothing: there are no hooks to remove."""


def of_convolution_backward(grad: Any, x: Any, weight: Any, *rest: Any, out_shape: Any) -> int:
    """Each requested gradient costs one forward. (Torch 2.15 ignores convolution groups for the weight gradient.)"""
    *_, transposed, _padding, _groups, needed = rest
    return int(sum(needed[:2]) * conv_flop_count(x, weight, grad, transposed))
