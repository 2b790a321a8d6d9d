"""Say how far an AP, or the change of an AP, would be from that of many more images of the same kind.

All comes from the AP of random halves of the images. Its standard deviation is the standard error (the jackknife that
deletes a half: Shao & Wu, A General Theory for Jackknife Variance Estimation, Annals of Statistics 17, 1989); the
interval is Student's t, for an AP on the scale log(AP / (1 − AP)), so that it stays within 0 … 1.

An AP of few images is too high: precision is the best at a recall or beyond it, so chance lifts it. What halves show
above the whole tells what the whole has above many more, if the rate is known: an estimate that follows a monotonous
curve is off by n^(−1/3) where the curve falls, and by n^(−1/2) where it is flat (Groeneboom & Jongbloed, Nonparametric
Estimation under Shape Constraints, 2014). So the bias lies between none and what the slower rate gives, and the
interval is that for every bias between: its upper end is that of the AP itself, its lower end that of the AP without
the most bias (Imbens & Manski, Confidence Intervals for Partially Identified Parameters, Econometrica 72, 2004).

Drawing images with replacement shows too little of both (Sen, Banerjee & Woodroofe, Inconsistency of Bootstrap: The
Grenander Estimator, Annals of Statistics 38, 2010); ``benchmarks/intervals.py`` compares the two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ssd_edge.evaluation.curve import Floats

CONFIDENCE = 0.95
"""Share of the intervals that hold the true value."""

_MOST_BIAS = 1 / (2 ** (1 / 3) - 1)  # as a multiple of what halves show above the whole

_MOST_FREEDOM = 2000  # from here on, t is the normal distribution to three digits


class Interval(NamedTuple):
    """An interval that holds the true value with ``CONFIDENCE``."""

    low: float
    high: float


def ap_interval(value: float | None, halves: Floats, support: int) -> Interval | None:
    """Compute the interval of an AP.

    Args:
        value: the AP, in 0 … 1.
        halves: (R,) the AP of halves of the scenes; NaN where it is undefined.
        support: number of scenes with an object to find.

    Returns:
        None if the AP is undefined, or fewer than two scenes show an object.
    """
    if value is None or support < 2:
        return None
    error = _standard_error(halves)
    if not 0 < value < 1 or error < 1e-9:
        # Nothing varies, as if no further image could: the bound of Clopper and Pearson for n scenes without an event.
        unseen = 1 - ((1 - CONFIDENCE) / 2) ** (1 / support)
        return Interval(max(0.0, value - unseen), min(1.0, value + unseen))
    margin = student_quantile(support - 1) * error
    bias = _MOST_BIAS * max(0.0, float(np.nanmean(halves)) - value)
    least = max(value - bias, value / 2)
    return Interval(_moved(least, -margin), _moved(value, margin))


@dataclass(frozen=True)
class Change:
    """The change of an AP between two evaluations of the same images.

    Attributes:
        value: AP after minus AP before.
        error: standard error of the change.
        support: number of scenes with an object to find.
    """

    value: float
    error: float
    support: int

    @classmethod
    def of(cls, before: float, after: float, differences: Floats, support: int) -> Change | None:
        """Make it of two APs and (R,) the differences in halves; None with fewer than two scenes."""
        return cls(after - before, _standard_error(differences), support) if support > 1 else None

    @property
    def margin(self) -> float:
        """Half the width of the interval."""
        return student_quantile(self.support - 1) * self.error

    @property
    def interval(self) -> Interval:
        """The interval of the change."""
        return Interval(self.value - self.margin, self.value + self.margin)

    def margin_with(self, times: float) -> float:
        """Estimate half the width of the interval with ``times`` as many scenes."""
        return student_quantile(round(self.support * times) - 1) * self.error / math.sqrt(times)

    def confidence_above(self, least: float) -> float:
        """Compute with which confidence, 0 … 1, the true change is ``least`` or more."""
        if self.error < 1e-9:
            return float(self.value >= least)
        return student_share((self.value - least) / self.error, self.support - 1)

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for ``json.dumps``."""
        return {"change": self.value, "interval": list(self.interval), "confidence": CONFIDENCE}


def student_share(t: float, freedom: int) -> float:
    """Compute the share of Student's distribution below ``t``; ``freedom`` is 1 or more."""
    angles, shares = _student(min(freedom, _MOST_FREEDOM))
    return float(np.interp(math.atan(t / math.sqrt(min(freedom, _MOST_FREEDOM))), angles, shares))


def student_quantile(freedom: int) -> float:
    """Compute the t between whose negative and itself lies ``CONFIDENCE`` of Student's distribution."""
    freedom = min(freedom, _MOST_FREEDOM)
    angles, shares = _student(freedom)
    return math.sqrt(freedom) * math.tan(float(np.interp((1 + CONFIDENCE) / 2, shares, angles)))


@lru_cache(maxsize=16)
def _student(freedom: int) -> tuple[Floats, Floats]:
    """Tabulate the distribution over atan(t / √freedom), where its density is cos^(freedom − 1)."""
    angles = np.linspace(-math.pi / 2, math.pi / 2, 20_001)
    density = np.cos(angles) ** (freedom - 1)
    shares = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
    return angles, shares / shares[-1]


def _standard_error(halves: Floats) -> float:
    defined: npt.NDArray[np.float64] = halves[~np.isnan(halves)]
    return float(defined.std(ddof=1)) if len(defined) > 1 else 0.0


def _moved(value: float, margin: float) -> float:
    """Move a value in 0 … 1 by a small margin as it is on the scale log(value / (1 − value)), so it stays within."""
    x = math.log(value / (1 - value)) + margin / (value * (1 - value))
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0
