"""The accuracy contract: INT8 heads that lose no more AP than a budget allows, with few convolutions in float.

What is searched over is a ``Recipe``. Each is written, and measured by whoever asks: on the validation images, with the
very file that a device gets. From cheap to dear:

1. the calibration methods, ordered by how far their heads are from FP32 on a few images, best first;
2. if none holds the budget: how much each convolution contributes to that distance, found by leaving it alone in float;
3. the worst of them in float, twice as many each time until the budget holds; then half-way back while it still does;
4. of those, one after the other back in INT8 that the budget can bear.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Any

from ssd_edge.calibration.job import Job, open_bench
from ssd_edge.calibration.recipe import Bench, Gain, Made, Recipe, Sensitivity
from ssd_edge.calibration.scales.calibrators import METHODS
from ssd_edge.errors import CalibrationError

MOST_IN_FLOAT = 0.5
"""The search ends where more than this share of the convolutions would have to stay in float."""

_METHODS_TRIED = 3


@dataclass(frozen=True)
class Trial:
    """A recipe that was measured.

    Attributes:
        recipe: the way.
        ap: of its heads, in points.
        drop: points of AP below FP32; negative where INT8 is better.
        num_int8: convolutions in INT8.
    """

    recipe: Recipe
    ap: float
    drop: float
    num_int8: int


@dataclass
class Search:
    """What a search found, and how.

    Attributes:
        fp32_ap: in points.
        budget: points of AP that may be lost.
        distances: from FP32, by method; without and with bias correction.
        equalisation: what it brought; None where it was not asked for.
        rounding: what learning it brought to the best method; None where that was not asked for.
        sensitivities: by convolution; empty where the methods sufficed.
        trials: in their order.
        reason: why it ended, in a sentence.
    """

    fp32_ap: float
    budget: float
    distances: dict[str, tuple[float, float]] = field(default_factory=dict)
    equalisation: Gain | None = None
    rounding: Gain | None = None
    sensitivities: dict[str, Sensitivity] = field(default_factory=dict)
    trials: list[Trial] = field(default_factory=list)
    reason: str = ""

    @property
    def best(self) -> Trial:
        """Of those within the budget the one with most in INT8, then the smallest drop; else the smallest drop."""
        within = [trial for trial in self.trials if trial.drop <= self.budget]
        if within:
            return min(within, key=lambda trial: (-trial.num_int8, trial.drop))
        return min(self.trials, key=lambda trial: trial.drop)

    @property
    def met(self) -> bool:
        """Whether the budget holds."""
        return any(trial.drop <= self.budget for trial in self.trials)

    def to_json(self) -> dict[str, Any]:
        """As plain values for ``json.dumps``."""
        return {**asdict(self), "best": asdict(self.best), "met": self.met}


def calibrate_within(
    job: Job,
    output: Path,
    fp32_ap: float,
    measure: Callable[[Path], float],
    budget: float,
    *,
    deadline: float = float("inf"),
) -> tuple[Made, Search]:
    """Make an INT8 ONNX file of FP32 heads that keeps a budget.

    Args:
        job: the heads, the images, and which corrections may be used. Its state is kept where the budget does not
            hold, so that another try is quick.
        output: the file to write, if the budget holds; it appears whole or not at all.
        fp32_ap: of the FP32 heads, in points.
        measure: AP of an INT8 file, in points.
        budget: points of AP that may be lost.
        deadline: of ``time.monotonic``, for the search.

    Raises:
        CalibrationError: as for ``calibrate``, or the budget does not hold.
    """
    bench = open_bench(job, everything=True)
    found = search(
        bench,
        fp32_ap,
        measure,
        budget,
        bias_correction=job.bias_correction,
        learned_rounding=job.learned_rounding,
        deadline=deadline,
        tell=job.tell,
    )
    if not found.met:
        if job.state is not None:
            job.state.write(bench.seen)
        raise CalibrationError(
            f"{found.reason}; no file is written: allow a larger --max-drop or more --minutes, calibrate with other "
            "images, or stay with FP32 or FP16"
        )
    result = bench.write(found.best.recipe, output, contract=found.reason)
    if job.state is not None:
        job.state.remove()
    return Made(result, found.best.recipe, bench), found


def search(
    bench: Bench,
    fp32_ap: float,
    measure: Callable[[Path], float],
    budget: float,
    *,
    bias_correction: bool = True,
    learned_rounding: bool = False,
    methods: Sequence[str] = tuple(METHODS),
    deadline: float = float("inf"),
    tell: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Search:
    """Look for a recipe within the budget.

    Args:
        bench: makes the heads.
        fp32_ap: of the FP32 heads, in points.
        measure: AP of an INT8 file, in points.
        budget: points of AP that may be lost.
        bias_correction: whether recipes may use it; where it brings nothing, they do not.
        learned_rounding: likewise, of the best method: takes up to a minute for each twenty convolutions.
        methods: to choose from.
        deadline: of ``time.monotonic``; nothing new is begun after it, once one recipe was measured.
        tell: called with what is being done, and how far it is.

    Raises:
        CalibrationError: the heads cannot be quantised.
    """
    found = Search(fp32_ap, budget, equalisation=bench.equalisation)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder) / "int8.onnx"

        def tried(recipe: Recipe) -> Trial:
            result = bench.write(recipe, scratch)
            ap = measure(scratch)
            found.trials.append(Trial(recipe, ap, fp32_ap - ap, result.num_quantised))
            return found.trials[-1]

        recipes = _by_distance(bench, found, methods, bias_correction, tell)
        if learned_rounding:
            tell("learning to round", 0, 1)
            better = replace(recipes[0], learned_rounding=True)
            found.rounding = Gain(bench.divergence(recipes[0]), bench.divergence(better))
            if found.rounding.closer:
                recipes.insert(0, better)
        for number, recipe in enumerate(recipes[:_METHODS_TRIED]):
            if number and monotonic() >= deadline:
                break
            tell("AP of methods", number, _METHODS_TRIED)
            if tried(recipe).drop <= budget:
                break
        if not found.met:
            _leave_in_float(bench, found, tried, deadline, tell)
    found.reason = _reason(found, bench, monotonic() >= deadline)
    return found


def _by_distance(
    bench: Bench,
    found: Search,
    methods: Sequence[str],
    bias_correction: bool,
    tell: Callable[[str, int, int], None],
) -> list[Recipe]:
    """A recipe of each method, with bias correction where that helps, closest to FP32 first."""
    ranked = []
    for number, method in enumerate(methods):
        tell("comparing methods", number, len(methods))
        plain = bench.divergence(Recipe(method, bias_correction=False))
        better = bench.divergence(Recipe(method)) if bias_correction else plain
        found.distances[method] = plain, better
        ranked.append((min(plain, better), Recipe(method, bias_correction=better < plain)))
    return [recipe for _, recipe in sorted(ranked, key=lambda pair: pair[0])]


def _leave_in_float(
    bench: Bench,
    found: Search,
    tried: Callable[[Recipe], Trial],
    deadline: float,
    tell: Callable[[str, int, int], None],
) -> None:
    """Steps 2 to 4, from the best recipe so far."""
    base = found.best.recipe
    for number, name in enumerate(bench.candidates):
        if monotonic() >= deadline:
            return
        tell("sensitivity of convolutions", number, len(bench.candidates))
        found.sensitivities[name] = bench.sensitivity(base, name)
    worst_first = sorted(found.sensitivities, key=lambda name: found.sensitivities[name].without)
    most = int(len(worst_first) * MOST_IN_FLOAT)

    def holds(number: int) -> bool:
        tell("AP with convolutions in float", number, most)
        return tried(replace(base, in_float=tuple(worst_first[:number]))).drop <= found.budget

    too_few, enough = 0, 1
    while enough <= most and monotonic() < deadline and not holds(enough):
        too_few, enough = enough, max(min(2 * enough, most), enough + 1)
    while enough - too_few > 1 and found.met and monotonic() < deadline:
        middle = (too_few + enough) // 2
        too_few, enough = (too_few, middle) if holds(middle) else (middle, enough)
    if found.met:
        for name in reversed(found.best.recipe.in_float[:-1]):
            if monotonic() >= deadline:
                return
            kept = tuple(other for other in found.best.recipe.in_float if other != name)
            tried(replace(base, in_float=kept))


def _reason(found: Search, bench: Bench, late: bool) -> str:
    best, total = found.best, len(bench.candidates)
    what = f"AP goes from {found.fp32_ap:.2f} to {best.ap:.2f} with {best.num_int8} of {total} convolutions in INT8"
    if found.met:
        return f"the budget of {found.budget:g} points holds: {what}"
    why = "time is up" if late else f"not even with half of the {total} convolutions in float"
    return f"the budget of {found.budget:g} points does not hold, {why}: at best {what}"
