"""The outcome of a calibration: the file, what it was made with, and what it costs and brings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ssd_edge.calibration.job import Job, OnThisMachine
from ssd_edge.calibration.network.quantise import Int8Heads
from ssd_edge.calibration.quantiser import Quantiser
from ssd_edge.calibration.recipe import Corrections, Recipe
from ssd_edge.calibration.scales.grid import find_scales
from ssd_edge.calibration.search import Search
from ssd_edge.evaluation import Evaluation
from ssd_edge.evaluation.intervals import Change
from ssd_edge.progress import named

GIVEN = "given"
"""The method of scales that were not found here."""


@dataclass(frozen=True)
class Making:
    """What INT8 heads were made with.

    Attributes:
        recipe: the recipe of the file.
        quantiser: the quantiser that made it, and can make others.
        corrections: the corrections that were tried; None after a search, which has its own account.
        search: the search that found the recipe; None without a contract.
    """

    recipe: Recipe
    quantiser: Quantiser
    corrections: Corrections | None = None
    search: Search | None = None


@dataclass(frozen=True)
class Outcome:
    """What a calibration made.

    Attributes:
        file: the INT8 heads.
        making: what they were made with; None if the scales were given.
        before: AP of the FP32 file, computed exactly; None if it was not measured.
        after: AP of the INT8 file, likewise.
        here: the INT8 engine of this machine; None if it was not measured.
        given: the scales that were given, by tensor name; empty if they were found here.
    """

    file: Int8Heads
    making: Making | None = None
    before: Evaluation | None = None
    after: Evaluation | None = None
    here: OnThisMachine | None = None
    given: Mapping[str, float] = field(default_factory=dict)

    def every_scale(self) -> dict[str, float]:
        """Return the scale of every tensor that was observed or given; of those with a pair, it is the file's."""
        if self.making is None:
            return {**self.given, **self.file.scales}
        return {**find_scales(self.making.quantiser.seen.histograms, self.method), **self.file.scales}

    @property
    def method(self) -> str:
        """Name of the method that found the scales; ``GIVEN`` if they were given."""
        return self.making.recipe.method if self.making else GIVEN

    @property
    def num_images(self) -> int:
        """Number of images that the scales come from."""
        return self.making.quantiser.seen.num_images if self.making else 0

    @property
    def corrections(self) -> Corrections | None:
        """The corrections that were tried."""
        return self.making.corrections if self.making else None

    @property
    def search(self) -> Search | None:
        """The search of a contract."""
        return self.making.search if self.making else None

    @property
    def change(self) -> Change | None:
        """The change of AP from FP32 to INT8 with its error; None if it was not measured, or with too few images."""
        return self.after.change_from(self.before) if self.before and self.after else None

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for ``json.dumps``."""
        engine_ap = self.here.ap if self.here else None
        return {
            "onnx": str(self.file.path),
            "method": self.method,
            "images": self.num_images,
            "convolutions": self.file.num_convolutions,
            "quantised": self.file.num_quantised,
            "fp32": self.before.to_json() if self.before else None,
            "int8": self.after.to_json() if self.after else None,
            "change": self.change.to_json() if self.change else None,
            "int8_engine": engine_ap.to_json() if engine_ap else None,
            "corrections": self.corrections.to_json() if self.corrections else None,
            "contract": self.search.to_json() if self.search else None,
            "speed": dict(zip(("fp32", "int8"), self.here.fps, strict=True)) if self.here else None,
        }


def finished(
    job: Job,
    file: Int8Heads,
    making: Making | None = None,
    *,
    before: Evaluation | None = None,
    given: Mapping[str, float] | None = None,
) -> Outcome:
    """Finish a file that is written: store its proof, measure it, and remove the state.

    Args:
        job: how it is measured.
        file: the INT8 heads.
        making: what they were made with.
        before: AP of the FP32 heads, if it is known already.
        given: the scales, if they were given.
    """
    if job.state is not None:
        job.state.remove()
    job.on_written(file.path)
    after = here = None
    if job.measures.ap is not None:
        before = before or job.measures.ap(job.heads, named(job.progress, "AP of FP32"))
        after = job.measures.ap(file.path, named(job.progress, "AP of INT8"))
    if job.measures.on_this_machine is not None:
        here = job.measures.on_this_machine(job.heads, file.path, job.progress)
    return Outcome(file, making, before, after, here, given or {})
