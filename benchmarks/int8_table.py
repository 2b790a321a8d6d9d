"""AP lost by INT8, compared with other tools, from the same FP32 heads and the same images.

Each tool uses its own defaults, and gets calibration images that are not measured on. This project's defaults are those
of ``calibrate``, measured on OpenVINO; files of other tools are measured on OpenVINO and ONNX Runtime, and the better
number counts. On a hundred images AP varies by tenths of a point by chance. UltraFace's images have no drawn faces, so
its row is AP75 against the sure detections of FP32.

python benchmarks/int8_table.py     prints the table of docs/int8.md, in Markdown; half an hour, the first time two
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter

import int8_peers
import numpy as np
from figure import Figure
from int8_models import KEPT, Case, cases, kindest, points

from ssd_edge.calibration.closest import calibrate_closest
from ssd_edge.data.images import preprocessed
from ssd_edge.errors import SsdEdgeError

OURS = "ssd-edge"
BUDGET = 0.3


@dataclass
class Row:
    """Results of one model.

    Attributes:
        name: name of the model and its images.
        fp32: AP of FP32, in points.
        lost: points of AP lost, by tool; negative if INT8 is better.
        seconds: seconds that each tool took.
        failed: why a tool made no heads, by tool.
    """

    name: str
    fp32: float
    lost: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def smallest(self) -> bool:
        """Whether ssd-edge loses least."""
        return self.lost[OURS] <= min(self.lost.values())


def rows() -> Iterator[Row]:
    """Measure the models, and yield each row when it is done.

    Raises:
        FileNotFoundError: the real data is absent.
    """
    python = int8_peers.environment(KEPT / "peers")
    with tempfile.TemporaryDirectory() as folder:
        for case in cases(Path(folder)):
            row = Row(case.name, points(case, case.heads, "FP32"))
            for tool in (OURS, *int8_peers.TOOLS):
                began = perf_counter()
                try:
                    output = _ours(case) if tool == OURS else _theirs(case, tool, python)
                    row.seconds[tool] = perf_counter() - began
                    row.lost[tool] = row.fp32 - (
                        points(case, output, "INT8") if tool == OURS else kindest(case, output)
                    )
                except (subprocess.CalledProcessError, SsdEdgeError) as error:
                    said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
                    row.failed[tool] = said[-1] if said else "it died"
                print(f"{case.name}, {tool}: {row.lost.get(tool, row.failed.get(tool))}", file=sys.stderr, flush=True)
            yield row


def measure() -> Figure:
    """Return the most points of AP that ssd-edge loses on a model."""
    table = list(rows())
    worst = max(row.lost[OURS] for row in table)
    smallest = sum(row.smallest for row in table)
    return Figure(
        "int8-table",
        worst,
        "points of AP lost by calibrate's defaults, at most",
        f"<= {BUDGET}, and the smallest loss of every row",
        worst <= BUDGET and smallest == len(table),
        {row.name: asdict(row) for row in table},
        f"smallest loss in {smallest} of {len(table)} rows; " + "; ".join(_beside(row) for row in table),
    )


def _ours(case: Case) -> Path:
    output = case.heads.with_suffix(".ours.onnx")
    calibrate_closest(case.job, output)
    return output


def _theirs(case: Case, tool: str, python: Path) -> Path:
    images = case.heads.with_suffix(".npy")
    np.save(images, np.stack(list(preprocessed(case.images, case.spec))))
    output = case.heads.with_suffix(".xml" if tool == "NNCF" else ".theirs.onnx")
    command = [str(python), int8_peers.__file__, tool, str(case.heads), str(images), str(output)]
    subprocess.run(command, check=True, capture_output=True, text=True, cwd=case.heads.parent)
    return output


def _beside(row: Row) -> str:
    best = min((lost, tool) for tool, lost in row.lost.items() if tool != OURS)
    return f"{row.name} {row.lost[OURS]:.2f} (of the others {best[1]} {best[0]:.2f})"


def main() -> None:
    """Print the table in Markdown."""
    tools = (OURS, *int8_peers.TOOLS)
    print(f"| AP lost, in points | AP FP32 | {' | '.join(tools)} |\n|---|{'---:|' * (len(tools) + 1)}")
    for row in rows():
        cells = [f"{row.lost[tool]:.2f}" if tool in row.lost else "failed" for tool in tools]
        cells = [
            f"**{cell}**" if row.lost.get(tool) == min(row.lost.values()) else cell
            for cell, tool in zip(cells, tools, strict=True)
        ]
        print(f"| {row.name} | {row.fp32:.2f} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
