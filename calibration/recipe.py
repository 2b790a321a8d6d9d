"""A recipe for INT8 heads, and what each of its corrections brings."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ssd_edge.calibration.scales.methods import DEFAULT_METHOD


@dataclass(frozen=True)
class Recipe:
    """One way to make INT8 heads.

    Attributes:
        method: the calibration method, a name of ``METHODS``.
        bias_correction: whether biases make up for the mean error of quantisation.
        learned_rounding: whether weights are rounded up or down to suit their convolution's output, not to the nearest.
        in_float: names of convolutions left in float, in addition to those that the policy leaves.
    """

    method: str = DEFAULT_METHOD
    bias_correction: bool = True
    learned_rounding: bool = False
    in_float: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gain:
    """The gain of a correction: distances of INT8 heads from FP32, see ``divergence``.

    Attributes:
        without: the distance without the correction.
        applied: the distance with it.
    """

    without: float
    applied: float

    @property
    def closer(self) -> bool:
        """Whether the correction brings the heads closer to FP32."""
        return self.applied < self.without


@dataclass(frozen=True)
class Sensitivity:
    """The contribution of a convolution to the distance from FP32, see ``divergence``.

    Attributes:
        alone: the distance if only this convolution is INT8.
        without: the distance if this convolution goes back to float and all others stay as they are.
    """

    alone: float
    without: float


@dataclass(frozen=True)
class Corrections:
    """The corrections that were tried beyond rounding to the nearest, each with its gain; None if not asked for.

    Attributes:
        equalisation: see ``corrections.equalise``.
        bias_correction: see ``corrections.bias``.
        learned_rounding: see ``corrections.rounding``.
    """

    equalisation: Gain | None = None
    bias_correction: Gain | None = None
    learned_rounding: Gain | None = None

    @property
    def used(self) -> tuple[str, ...]:
        """Names of those that brought the heads closer."""
        return tuple(name for name, gain in vars(self).items() if gain is not None and gain.closer)

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for ``json.dumps``."""
        return {**asdict(self), "used": list(self.used)}
