"""The search for a recipe that keeps a budget of AP, with few convolutions in float.

Each recipe is written and measured: on the validation images, with the very file that a device gets. From cheap to
dear:

1. the calibration methods, ordered by how far their heads are from FP32 on a few images, best first;
2. if none keeps the budget: how much each convolution contributes to that distance, found by leaving it alone in float;
3. the worst of them in float, twice as many each time until the budget is kept; then half-way back while it still is;
4. of those, one after the other back in INT8 if the budget can bear it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Any

from ssd_edge.calibration.certainty import Certainty
from ssd_edge.calibration.quantiser import Quantiser
from ssd_edge.calibration.recipe import Gain, Recipe, Sensitivity
from ssd_edge.calibration.scales.methods import METHODS
from ssd_edge.errors import DataError
from ssd_edge.evaluation import Evaluation
from ssd_edge.evaluation.intervals import Change
from ssd_edge.progress import Progress, no_progress

MOST_IN_FLOAT = 0.5
"""The search ends if more than this share of the convolutions would have to stay in float."""

_METHODS_TRIED = 3


@dataclass(frozen=True)
class Contract:
    """What a search has to keep, and what it may use.

    Attributes:
        fp32: the evaluation of the FP32 heads.
        budget: points of AP that may be lost.
        measure: evaluates an INT8 file on the same images.
        bias_correction: whether recipes may use it; those that it brings nothing do not.
        learned_rounding: whether the best method may use it; takes up to a minute for each twenty convolutions.
        methods: the methods to choose from.
        deadline: a time of ``time.monotonic``; once one recipe is measured, nothing new is begun after it.
    """

    fp32: Evaluation
    budget: float
    measure: Callable[[Path], Evaluation]
    bias_correction: bool = True
    learned_rounding: bool = False
    methods: Sequence[str] = tuple(METHODS)
    deadline: float = float("inf")

    @property
    def late(self) -> bool:
        """Whether the time is up."""
        return monotonic() >= self.deadline


@dataclass(frozen=True)
class Trial:
    """A recipe that was measured.

    Attributes:
        recipe: the recipe.
        ap: AP of its heads, in points.
        drop: points of AP below FP32; negative if INT8 is better.
        num_int8: number of convolutions in INT8.
        change: the change of AP, as a fraction, with its error; None with too few images.
    """

    recipe: Recipe
    ap: float
    drop: float
    num_int8: int
    change: Change | None = None


@dataclass
class Search:
    """The account of a search.

    Attributes:
        fp32_ap: AP of the FP32 heads, in points.
        budget: points of AP that may be lost.
        distances: distances from FP32 by method, without and with bias correction.
        equalisation: the gain of equalisation; None if it was not asked for.
        rounding: the gain of learned rounding for the best method; None if it was not asked for.
        sensitivities: sensitivities by convolution; empty if the methods sufficed.
        trials: the trials in their order.
        reason: why the search ended, in a sentence.
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
        """The trial within the budget with most in INT8, then the smallest drop; if none is, the smallest drop."""
        within = [trial for trial in self.trials if trial.drop <= self.budget]
        if within:
            return min(within, key=lambda trial: (-trial.num_int8, trial.drop))
        return min(self.trials, key=lambda trial: trial.drop)

    @property
    def met(self) -> bool:
        """Whether a trial keeps the budget."""
        return any(trial.drop <= self.budget for trial in self.trials)

    @property
    def certainty(self) -> Certainty | None:
        """How certain the best trial keeps the budget on other images too; None with too few images."""
        change = self.best.change
        return Certainty(change, self.budget, len(self.trials)) if change else None

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for ``json.dumps``."""
        certainty = self.certainty.to_json() if self.certainty else None
        return {**asdict(self), "best": asdict(self.best), "met": self.met, "certainty": certainty}


def points(result: Evaluation) -> float:
    """Return the AP of an evaluation in points; DataError if it is undefined."""
    if result.ap is None:
        raise DataError("the images to measure AP on show no object that the model knows: take others for --max-drop")
    return 100 * result.ap


def search(quantiser: Quantiser, contract: Contract, progress: Progress = no_progress) -> Search:
    """Look for a recipe that keeps a contract.

    Args:
        quantiser: makes the heads.
        contract: what is to be kept.
        progress: called with how far each stage is.

    Raises:
        CalibrationError: the heads cannot be quantised.
        DataError: AP is undefined.
    """
    fp32_ap = points(contract.fp32)
    account = Search(fp32_ap, contract.budget, equalisation=quantiser.equalisation)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder) / "int8.onnx"

        def tried(recipe: Recipe) -> Trial:
            heads = quantiser.write(recipe, scratch)
            result = contract.measure(scratch)
            ap, change = points(result), result.change_from(contract.fp32)
            account.trials.append(Trial(recipe, ap, fp32_ap - ap, heads.num_quantised, change))
            return account.trials[-1]

        recipes = _by_distance(quantiser, contract, account, progress)
        for number, recipe in enumerate(recipes[:_METHODS_TRIED]):
            if number and contract.late:
                break
            progress(number, _METHODS_TRIED, "AP of methods")
            if tried(recipe).drop <= contract.budget:
                break
        if not account.met:
            _leave_in_float(quantiser, contract, account, tried, progress)
    account.reason = _reason(account, len(quantiser.candidates), contract.late)
    return account


def _by_distance(quantiser: Quantiser, contract: Contract, account: Search, progress: Progress) -> list[Recipe]:
    """Return a recipe of each method, with the corrections that help it, closest to FP32 first."""
    ranked = []
    for number, method in enumerate(contract.methods):
        progress(number, len(contract.methods), "comparing methods")
        plain = quantiser.divergence(Recipe(method, bias_correction=False))
        better = quantiser.divergence(Recipe(method)) if contract.bias_correction else plain
        account.distances[method] = plain, better
        ranked.append((min(plain, better), Recipe(method, bias_correction=better < plain)))
    recipes = [recipe for _, recipe in sorted(ranked, key=lambda pair: pair[0])]
    if contract.learned_rounding:
        progress(0, 1, "learning to round")
        rounded = replace(recipes[0], learned_rounding=True)
        account.rounding = Gain(quantiser.divergence(recipes[0]), quantiser.divergence(rounded))
        if account.rounding.closer:
            recipes.insert(0, rounded)
    return recipes


def _leave_in_float(
    quantiser: Quantiser, contract: Contract, account: Search, tried: Callable[[Recipe], Trial], progress: Progress
) -> None:
    """Take steps 2 to 4, from the best recipe so far."""
    base = account.best.recipe
    for number, name in enumerate(quantiser.candidates):
        if contract.late:
            return
        progress(number, len(quantiser.candidates), "sensitivity of convolutions")
        account.sensitivities[name] = quantiser.sensitivity(base, name)
    worst_first = sorted(account.sensitivities, key=lambda name: account.sensitivities[name].without)
    most = int(len(worst_first) * MOST_IN_FLOAT)

    def holds(number: int) -> bool:
        progress(number, most, "AP with convolutions in float")
        return tried(replace(base, in_float=tuple(worst_first[:number]))).drop <= contract.budget

    too_few, enough = 0, 1
    while enough <= most and not contract.late and not holds(enough):
        too_few, enough = enough, max(min(2 * enough, most), enough + 1)
    while enough - too_few > 1 and account.met and not contract.late:
        middle = (too_few + enough) // 2
        too_few, enough = (too_few, middle) if holds(middle) else (middle, enough)
    if account.met:
        for name in reversed(account.best.recipe.in_float[:-1]):
            if contract.late:
                return
            kept = tuple(other for other in account.best.recipe.in_float if other != name)
            tried(replace(base, in_float=kept))


def _reason(account: Search, total: int, late: bool) -> str:
    best, certainty = account.best, account.certainty
    what = f"AP goes from {account.fp32_ap:.2f} to {best.ap:.2f} with {best.num_int8} of {total} convolutions in INT8"
    what += f"; {certainty.sentence()}" if certainty else ""
    if account.met:
        return f"the budget of {account.budget:g} points holds: {what}"
    why = "time is up" if late else f"not even with half of the {total} convolutions in float"
    return f"the budget of {account.budget:g} points does not hold, {why}: at best {what}"
