"""The contract of 0.2 points of AP: whether it is kept on each model, and how many convolutions stay in INT8.

AP is measured on images that were not calibrated with; as in the command, the search uses these same images. Depthwise
convolutions are FP32 by policy unless asked for, so the share counts only the others.

python benchmarks/int8_contract.py     prints the table of docs/int8.md, in Markdown
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import monotonic, perf_counter

from figure import Figure
from int8_models import Case, cases, points

from ssd_edge.calibration.contract import calibrate_within
from ssd_edge.calibration.job import Measures
from ssd_edge.errors import CalibrationError
from ssd_edge.evaluation import Evaluation, evaluate
from ssd_edge.graph.heads import precision_of
from ssd_edge.progress import Progress

BUDGET = 0.2
MINUTES = 10.0
GOAL = 0.90


@dataclass(frozen=True)
class Row:
    """Results of one model.

    Attributes:
        name: name of the model and its images.
        fp32: AP of FP32, in points.
        int8: AP of the INT8 file, in points; None if the budget was not kept.
        share: share of convolutions in INT8, of those that can be.
        of_all: share of convolutions in INT8, of all.
        trials: number of files that were measured.
        seconds: seconds of the search.
        sentence: the command's message.
    """

    name: str
    fp32: float
    int8: float | None
    share: float
    of_all: float
    trials: int
    seconds: float
    sentence: str


def rows() -> Iterator[Row]:
    """Measure the models, and yield each row when it is done.

    Raises:
        FileNotFoundError: the real data is absent.
    """
    with tempfile.TemporaryDirectory() as folder:
        for case in cases(Path(folder)):
            row = _row(case)
            print(f"{row.name}: {row.sentence}", file=sys.stderr, flush=True)
            yield row


def measure() -> Figure:
    """Return the smallest share of INT8 over the models."""
    table = list(rows())
    kept = sum(row.int8 is not None for row in table)
    share = min(row.share for row in table)
    return Figure(
        "int8-contract",
        100 * share,
        f"% of convolutions in INT8 at least, --max-drop {BUDGET}",
        f">= {100 * GOAL:.0f}, the budget kept on every model",
        kept == len(table) and share >= GOAL,
        {row.name: asdict(row) for row in table},
        f"kept on {kept} of {len(table)}; "
        + "; ".join(f"{row.name} {'broken' if row.int8 is None else f'{row.int8 - row.fp32:+.2f}'}" for row in table),
    )


def _row(case: Case) -> Row:
    def ap(heads: Path, progress: Progress) -> Evaluation:
        measured = points(case, heads, precision_of(heads))
        return replace(evaluate([], [], case.spec.labels), ap=measured / 100)

    began = perf_counter()
    job, output = replace(case.job, measures=Measures(ap)), case.heads.with_suffix(".int8.onnx")
    try:
        outcome = calibrate_within(job, output, BUDGET, deadline=monotonic() + 60 * MINUTES)
    except CalibrationError as error:
        fp32 = points(case, case.heads, "FP32")
        return Row(case.name, fp32, None, 0.0, 0.0, 0, perf_counter() - began, str(error))
    seconds, search = perf_counter() - began, outcome.search
    assert search is not None
    assert outcome.after is not None
    candidates = search.trials[0].num_int8  # the first trial leaves in FP32 only what the policy leaves
    return Row(
        case.name,
        search.fp32_ap,
        100 * (outcome.after.ap or 0.0),
        outcome.file.num_quantised / candidates,
        outcome.file.num_quantised / outcome.file.num_convolutions,
        len(search.trials),
        seconds,
        search.reason,
    )


def main() -> None:
    """Print the table in Markdown."""
    print("| | AP FP32 | AP INT8 | in INT8, of those that can be | of all | files measured | seconds |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for row in rows():
        ap = "broken" if row.int8 is None else f"{row.int8:.2f}"
        shares = f"{100 * row.share:.0f} % | {100 * row.of_all:.0f} %"
        print(f"| {row.name} | {row.fp32:.2f} | {ap} | {shares} | {row.trials} | {row.seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
