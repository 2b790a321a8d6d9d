"""exp, softmax and sigmoid in float32 with every rounding fixed, so that a CPU and a GPU give the same bits.

``np.exp`` and CUDA's ``expf`` differ in the last bits, from each other and between processors; so do sums without a
fixed order. A score at the threshold, or two nearly equal scores, would then be decided differently. This module uses
only operations that IEEE 754 rounds in exactly one way (+, −, ×, ÷, rounding to an integer), in a fixed order;
``engines/kernels/kernels.cu`` does the same, compiled without contraction to fused multiply-add.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

LANES = 32
"""Partial sums of a softmax: one for each thread of a warp."""

# Block size that keeps all intermediate results in the cache, which is four times as fast.
_AT_ONCE = 1 << 15
# Above the first, the result is infinite; below the second, it would be subnormal and is 0.
_LARGEST = np.float32(89)
_SMALLEST = np.float32(-87.33654)
_LOG2_E = np.float32(1.44269504)
# ln 2 in two parts; the first has so few digits that its product with an exponent is exact (Cody and Waite).
_LN2_HIGH = np.float32(0.693359375)
_LN2_LOW = np.float32(-2.12194440e-4)
# (exp(r) − 1 − r)/r² for |r| ≤ ln(2)/2, highest power first: Cephes, single/expf.c.
_COEFFICIENTS = tuple(
    np.float32(c)
    for c in (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
)


def exp(x: Floats) -> Floats:
    """Compute eˣ of (…) float32 within one unit in the last place; 0 where it would be subnormal, NaN for NaN."""
    flat = x.ravel()
    if flat.size <= _AT_ONCE:
        return np.asarray(_exp(flat).reshape(x.shape), np.float32)
    result: Floats = np.empty(len(flat), np.float32)
    for start in range(0, len(flat), _AT_ONCE):
        result[start : start + _AT_ONCE] = _exp(flat[start : start + _AT_ONCE])
    return np.asarray(result.reshape(x.shape), np.float32)


def _exp(x: Floats) -> Floats:
    bounded = np.minimum(np.maximum(x, _SMALLEST), _LARGEST)  # as ``np.clip``, whose checks take longer
    exponent = np.rint(bounded * _LOG2_E)
    rest = bounded - exponent * _LN2_HIGH
    rest -= exponent * _LN2_LOW
    result: Floats = rest * _COEFFICIENTS[0]
    result += _COEFFICIENTS[1]
    for coefficient in _COEFFICIENTS[2:]:
        result *= rest
        result += coefficient
    result *= rest * rest
    result += rest
    result += np.float32(1)
    # 2^128 has no float32, so the power of two is multiplied in two halves.
    with np.errstate(invalid="ignore"):  # NaN converts to an arbitrary integer, and NaN times that is still NaN
        power = exponent.astype(np.int32)
    half = power >> 1
    result *= ((half + 127) << 23).view(np.float32)
    with np.errstate(over="ignore"):
        result *= ((power - half + 127) << 23).view(np.float32)
    result[x < _SMALLEST] = 0
    return result


def softmax(logits: Floats) -> Floats:
    """Compute the softmax over the last axis: (R, C) → (R, C). A row that contains NaN or +inf gives NaN.

    The sum has the order of a warp: lane l adds the classes l, l + 32, l + 64, …; then lanes that are 16, 8, 4, 2 and 1
    apart are added in pairs.
    """
    rows, classes = logits.shape
    with np.errstate(invalid="ignore"):  # inf − inf
        exponentials = exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    total = np.zeros((rows, LANES), np.float32)
    for start in range(0, classes, LANES):
        block = exponentials[:, start : start + LANES]
        total[:, : block.shape[1]] += block
    while total.shape[1] > 1:
        half = total.shape[1] // 2
        total = total[:, :half] + total[:, half:]
    with np.errstate(invalid="ignore"):
        return np.asarray(exponentials / total, np.float32)


def sigmoid(logits: Floats) -> Floats:
    """Compute 1 / (1 + e⁻ˣ) of (…) float32."""
    return np.asarray(np.float32(1) / (np.float32(1) + exp(-logits)), np.float32)
