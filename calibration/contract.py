"""The accuracy contract: INT8 heads that lose no more AP than a budget allows, or no file."""

from __future__ import annotations

from pathlib import Path

from ssd_edge.calibration.job import Job
from ssd_edge.calibration.outcome import Making, Outcome, finished
from ssd_edge.calibration.quantiser import open_quantiser
from ssd_edge.calibration.search import Contract, search
from ssd_edge.errors import CalibrationError
from ssd_edge.progress import named, no_progress


def calibrate_within(job: Job, output: Path, budget: float, *, deadline: float = float("inf")) -> Outcome:
    """Make an INT8 ONNX file of FP32 heads that keeps a budget.

    Args:
        job: the heads, the images, which corrections may be used, and how AP is measured. Its state is kept if the
            budget does not hold, so that another try is quick.
        output: the file to write if the budget holds; it appears whole or not at all.
        budget: points of AP that may be lost.
        deadline: a time of ``time.monotonic`` for the search.

    Raises:
        CalibrationError: as for ``calibrate_closest``; or the budget does not hold, or the job cannot measure AP.
        DataError: AP is not defined, because the images show no object that the model knows.
    """
    ap = job.measures.ap
    if ap is None:
        raise CalibrationError("a contract needs labelled images to measure AP on: give them")
    before = ap(job.heads, named(job.progress, "AP of FP32"))
    contract = Contract(
        before,
        budget,
        lambda path: ap(path, no_progress),
        bias_correction=job.bias_correction,
        learned_rounding=job.learned_rounding,
        deadline=deadline,
    )
    quantiser = open_quantiser(job, everything=True)
    account = search(quantiser, contract, job.progress)
    if not account.met:
        if job.state is not None:
            job.state.write(quantiser.seen)
        raise CalibrationError(
            f"{account.reason}; no file is written: allow a larger --max-drop or more --minutes, calibrate with other "
            "images, or stay with FP32 or FP16"
        )
    recipe = account.best.recipe
    file = quantiser.write(recipe, output, contract=account.reason)
    return finished(job, file, Making(recipe, quantiser, search=account), before=before)
