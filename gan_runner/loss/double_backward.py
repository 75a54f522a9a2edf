"""Faster double backward for gradient penalties, without backward passes of zeros.

In the double backward of a piecewise linear activation or a convolution, torch passes zero gradients to the layer
below, which computes a backward pass of them; and it computes the gradient of a convolution's weight by a convolution
whose kernel is as large as the map. The functions here treat both layers as linear, as they are for the second
derivative.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

Geometry = tuple[Any, Any, Any, int]  # stride, padding, dilation, groups


class PiecewiseLinear(torch.autograd.Function):
    """x where x > 0, else slope * x; the slopes are constants in the double backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.slope = slope
        return functional.leaky_relu(x, slope) if slope else torch.relu(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return torch.ops.aten.leaky_relu_backward(gradient, x.detach(), ctx.slope, False), None


class Convolution(torch.autograd.Function):
    """torch.conv2d; its gradient is differentiable as a linear function of the output gradient and of the weight."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry, first: bool) -> Tensor:
        """first: x are the points of the penalty, a leaf that needs no gradient in the second backward pass."""
        ctx.save_for_backward(x, weight)
        ctx.geometry, ctx.first = geometry, first
        return torch.conv2d(x, weight, bias, *geometry)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph: the gradient inside a penalty, only with respect to the images
            return InputGradient.apply(gradient, x.detach(), weight, ctx.geometry), *[None] * 4
        of_x, *of_parameters = ctx.needs_input_grad[:3]
        needed = (of_x and not ctx.first, *of_parameters)
        return *convolution_backward(gradient, x, weight, ctx.geometry, needed), None, None


class InputGradient(torch.autograd.Function):
    """The gradient with respect to a convolution's input x; it depends on the shape of x, not on its values."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(gradient, weight)
        ctx.geometry = geometry
        found, _, _ = convolution_backward(gradient, x, weight, geometry, (True, False, False))
        assert found is not None  # the mask requests it
        return found

    @staticmethod
    def backward(ctx: Any, second: Tensor) -> tuple[Tensor | None, ...]:
        gradient, weight = ctx.saved_tensors
        of_gradient = torch.conv2d(second, weight, None, *ctx.geometry)
        _, of_weight, _ = convolution_backward(gradient, second, weight, ctx.geometry, (False, True, False))
        return of_gradient, None, of_weight, None


def convolution_backward(
    gradient: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, needed: tuple[bool, ...]
) -> tuple[Tensor | None, ...]:
    """Returns the gradients of x, weight and bias that the mask `needed` selects, None for the others."""
    *lengths, groups = geometry
    strides, paddings, dilations = ([one, one] if isinstance(one, int) else list(one) for one in lengths)
    found: tuple[Tensor | None, ...] = torch.ops.aten.convolution_backward(
        gradient, x, weight, [len(weight)], strides, paddings, dilations, False, [0, 0], groups, list(needed)
    )
    return found


class Lean(TorchFunctionMode):
    """While active, replaces torch's relu, leaky_relu and conv2d by those of this module, with autocast's dtypes."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return REPLACED.get(function, function)(*args, **(kwargs or {}))


def relu(x: Tensor, inplace: bool = False) -> Tensor:
    return functional.relu(x, inplace=True) if inplace else piecewise_linear(x, 0.0)


def leaky_relu(x: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    if inplace or negative_slope < 0:
        return functional.leaky_relu(x, negative_slope, inplace)
    return piecewise_linear(x, negative_slope)


def piecewise_linear(x: Tensor, slope: float) -> Tensor:
    y: Tensor = PiecewiseLinear.apply(x, slope)
    return y


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    geometry = (stride, padding, dilation, groups)
    fixed = all(parameter is None or isinstance(parameter, nn.Parameter) for parameter in (weight, bias))
    if not fixed or isinstance(padding, str) or input.dim() != 4:  # not fixed: a weight may depend on the image
        return torch.conv2d(input, weight, bias, *geometry)
    kind, first = input.device.type, input.is_leaf and not isinstance(input, nn.Parameter)
    if torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
        input, weight, bias = input.to(dtype), weight.to(dtype), bias.to(dtype) if bias is not None else None
    y: Tensor = Convolution.apply(input, weight, bias, geometry, first)
    return y


REPLACED: dict[Any, Callable[..., Tensor]] = {
    functional.relu: relu,
    functional.leaky_relu: leaky_relu,
    torch.relu: relu,
    torch.conv2d: conv2d,
}
