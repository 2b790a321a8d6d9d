"""How certain it is that a budget of AP, kept on the images measured on, is kept on other images too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ssd_edge.evaluation.intervals import CONFIDENCE, Change

MORE_IMAGES = 4
"""How many times as many images an outlook is given for."""


@dataclass(frozen=True)
class Certainty:
    """The certainty that a budget is kept.

    Attributes:
        change: the change of AP from FP32 to INT8, as a fraction, paired over the same images.
        budget: points of AP that may be lost.
        trials: number of files that were measured on the same images, from which this one was chosen.
    """

    change: Change
    budget: float
    trials: int

    @property
    def confidence(self) -> float:
        """The confidence, 0 … 1, for a file that was chosen without these images."""
        return self.change.confidence_above(-self.budget / 100)

    @property
    def after_choice(self) -> float:
        """The least confidence after the choice among the trials, of which the luckiest wins (Bonferroni)."""
        return max(0.0, 1 - self.trials * (1 - self.confidence))

    def sentence(self) -> str:
        """Say the loss with its interval, the confidence, and what more images would bring."""
        chosen = f", {_percent(self.after_choice)} or more after the choice among {self.trials} files on these images"
        return (
            f"{loss(self.change)}, so the budget is kept with a confidence of {_percent(self.confidence)}"
            f"{chosen if self.trials > 1 else ''}; {outlook(self.change)}"
        )

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for ``json.dumps``; all in points but the two confidences."""
        low, high = self.change.interval
        return {
            "lost": -100 * self.change.value,
            "interval": [-100 * high, -100 * low],
            "interval_confidence": CONFIDENCE,
            "confidence": self.confidence,
            "confidence_after_choice": self.after_choice,
            "margin_with_four_times_the_images": 100 * self.change.margin_with(MORE_IMAGES),
        }


def loss(change: Change) -> str:
    """Say in points how much AP is lost, with the interval."""
    low, high = change.interval
    return f"{_points(-change.value)} points lost, 95 % interval {_points(-high)} to {_points(-low)}"


def outlook(change: Change) -> str:
    """Say how wide the interval would be with more images."""
    return f"with {MORE_IMAGES} times the images it would be about ± {_points(change.margin_with(MORE_IMAGES))}"


def _points(fraction: float) -> str:
    return f"{round(100 * fraction, 2) + 0.0:.2f}"  # adding 0 turns "-0.00" into "0.00"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share < 0.995 else "over 99 %"
