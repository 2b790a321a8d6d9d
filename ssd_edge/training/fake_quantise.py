"""Round to int8 grids in float32, as a pair of QuantizeLinear and DequantizeLinear does, with a gradient.

The grids are those of the exported file: zero point 0; activations −128 … 127, as ONNX defines int8; weights
−127 … 127, with a step for each output channel, their largest magnitude / 127.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

LEAST_STEP = torch.finfo(torch.float32).tiny
"""Smallest step of a grid: values are divided by it."""
_LOW, _HIGH = -128.0, 127.0


class _OnGrid(torch.autograd.Function):
    """Rounds to a grid. The gradient to x is 0 where x is cut, and passes elsewhere; LSQ gives that to the step."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor) -> Tensor:
        ctx.save_for_backward(x, step)
        return (x / step).round_().clamp_(_LOW, _HIGH).mul_(step)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (gradient,) = gradients
        x, step = ctx.saved_tensors
        steps = x / step
        inside = (steps >= _LOW) & (steps <= _HIGH)
        to_step = None
        if ctx.needs_input_grad[1]:
            error = torch.where(inside, steps.round() - steps, steps.clamp(_LOW, _HIGH))
            to_step = (gradient * error).sum() / math.sqrt(x[0].numel() * _HIGH)
        return gradient * inside, to_step


def quantised_activation(x: Tensor, step: Tensor) -> Tensor:
    """Round an activation to its grid.

    The gradient to the step follows S. Esser et al., "Learned Step Size Quantization", arXiv 1902.08153, equation 3,
    scaled by 1/√(values in an image · 127) as in its section 2.2.

    Args:
        x: (B, …), of any floating-point type.
        step: distance of the grid's points, a scalar above 0.

    Returns:
        (B, …) float32.
    """
    return _OnGrid.apply(x.float(), step)  # type: ignore[no-untyped-call, no-any-return]


def quantised_weight(weight: Tensor) -> Tensor:
    """Round a convolution's weight (O, …) float32 to a grid for each output channel; the gradient passes unchanged.

    No value is cut: the grid reaches as far as the largest weight.
    """
    with torch.no_grad():
        largest = weight.abs().flatten(1).amax(dim=1)
        # For a channel of zeros any step works except 0, which would divide.
        step = (torch.where(largest > 0, largest, 1.0) / _HIGH).clamp_(min=LEAST_STEP)
        step = step.view(-1, *[1] * (weight.ndim - 1))
        rounded = (weight / step).round_().clamp_(-_HIGH, _HIGH).mul_(step)
    return rounded + (weight - weight.detach())  # the bracket is 0, but carries the gradient
