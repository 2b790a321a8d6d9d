"""What ``ssd-edge eval`` measures beside AP: the change from another model, and what known images add."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ssd_edge.cli.common import progress, say

if TYPE_CHECKING:
    from rich.console import Console

    from ssd_edge.data.report import Report
    from ssd_edge.evaluation import Evaluation
    from ssd_edge.evaluation.leaks import Optimism


@dataclass(frozen=True)
class Beside:
    """Measurements beside an evaluation.

    Attributes:
        result: the evaluation.
        against: the other model; None if it is not compared.
        other: its evaluation on the same images.
        optimism: what images that look like one to learn from add to AP; None if it is not measured.
    """

    result: Evaluation
    against: Path | None
    other: Evaluation | None
    optimism: Optimism | None

    @classmethod
    def measured(cls, result: Evaluation, report: Report, against: Path | None, leaks: bool) -> Beside:
        """Measure what is asked for, on the images of a report."""
        from ssd_edge.evaluation.leaks import Optimism, known_from_training

        other = _evaluated(against, report, result.labels) if against else None
        return cls(result, against, other, Optimism.of(result, known_from_training(report)) if leaks else None)

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for ``json.dumps``."""
        from ssd_edge.evaluation.table import changes

        leaked = {"leaks": self.optimism.to_json()} if self.optimism else {}
        if self.other is None:
            return leaked
        return {
            "against": {"model": str(self.against), **self.other.to_json()},
            **changes(self.result, self.other),
        } | leaked

    def show(self, console: Console, model: Path) -> None:
        """Print a table and a sentence for each."""
        from ssd_edge.evaluation.table import comparison

        if self.other:
            console.print(comparison(self.result, self.other))
            say(f"change from {self.against} to {model}: an interval that holds 0 may be chance")
        if self.optimism:
            say(_leaks(self.optimism, self.result.num_images), "yellow" if self.optimism.known else "")


def _evaluated(model: Path, report: Report, labels: tuple[str, ...]) -> Evaluation:
    from ssd_edge.engines.opening import open_model
    from ssd_edge.evaluation import measure_ap

    with open_model(model, say) as engine, progress("evaluating the other model") as bar:
        if engine.spec.labels != labels:
            raise typer.BadParameter(
                f"--against compares models with the same classes in the same order, but {model} knows "
                f"{', '.join(engine.spec.labels)}, and the first model {', '.join(labels)}"
            )
        return measure_ap(engine.detector(), report.clean, labels, bar, report.scenes)


def _leaks(optimism: Optimism, images: int) -> str:
    """Say how many images show scenes to learn from, and what that adds to AP."""
    sentence = f"{len(optimism.known)} of {images} images look like one of the split for training"
    if not optimism.known or optimism.with_them is None or optimism.without is None:
        return sentence
    sentence += f": AP is {optimism.with_them:.3f} with them and {optimism.without:.3f} without"
    if optimism.change is None:
        return sentence
    low, high = optimism.change.interval
    return f"{sentence}, a difference of {optimism.change.value:.3f} (95 % interval {low:.3f} to {high:.3f})"
